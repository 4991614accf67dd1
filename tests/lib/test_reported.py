"""Numbers copied from papers: complete, with a source each, and refused when a line is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.cli import StageError
from stages.lib import latex, reported

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "reported" / "papers.csv"


def test_every_table_is_there_with_a_source_each():
    rows = reported.read(SHIPPED)
    found = rows.groupby(["paper", "table"]).size().to_dict()
    assert found == {
        ("4DSTR", "2"): 16, ("4DSTR", "3"): 8, ("4DSTR", "4"): 15, ("4DSTR", "5"): 16, ("4DSTR", "6"): 9,
        ("Orster", "1"): 60, ("Orster", "2"): 30, ("Orster", "3"): 50,
    }  # fmt: skip
    assert all(row["source"].startswith(f"{row['paper']} Table {row['table']}") for _, row in rows.iterrows())


def test_numbers_repeated_in_other_tables_agree():
    rows = reported.read(SHIPPED)
    full = {(t, m): rows[(rows["table"] == t) & (rows["method"] == m)] for t, m in (("2", "both"), ("4", "Mamba"))}
    values = [dict(zip(line["metric"], line["value"], strict=True)) for line in full.values()]
    assert all(values[0][name] == values[1][name] for name in values[0])
    orster = rows[(rows["paper"] == "Orster") & (rows["method"] == "Orster (complete)")]
    assert orster.groupby("metric")["value"].nunique().max() == 1


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("4DSTR,2,,both,FVD,fvdd,1,4DSTR Table 2", "names metrics ..fvdd..; expected"),
        ("4DSTR,2,,both,FVD,fvd,1,", "numbers without a source"),
        ("4DSTR,2,,both,FVD,fvd,1,x\n4DSTR,2,,both,FVD,fvd,2,x", "gives fvd of both twice in 4DSTR Table 2"),
    ],
)
def test_wrong_lines_are_refused(tmp_path, line, text):
    (tmp_path / "papers.csv").write_text(",".join(reported.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(StageError, match=text):
        reported.read(tmp_path / "papers.csv")


def test_latex_escapes_and_marks():
    assert latex.marked("**21.0** ± 0.1") == r"\textbf{21.0} $\pm$ 0.1"
    assert latex.marked("<u>a_b</u>") == r"\underline{a\_b}"
    lines = latex.table("50 %", ["m", "x ↑"], [["a&b", ""]])
    assert r"a\&b & -- \\" in lines and r"m & x $\uparrow$ \\" in lines
