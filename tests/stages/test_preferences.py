"""Table 6 from known answers: shares, intervals, reported rows apart, and nothing written when a file is bad."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages import preferences
from stages.cli import StageError
from stages.lib.statistics import share_interval
from stages.settings import Run
from tests.studies import SCENES, filled, made, write

PAPERS = Path(__file__).resolve().parents[2] / "config" / "reported" / "papers.csv"


def prefer(quality: str, consistency: str, alignment: str) -> dict[str, str]:
    return {"quality": quality, "consistency": consistency, "alignment": alignment}


@pytest.fixture
def toy(tmp_path, scene, report):
    """The key of a study and a function that makes its table from answers."""
    _, key = made(tmp_path / "toys", scene[0], report)

    def table(contents: list[dict]) -> list[dict]:
        paths = [write(tmp_path / "answers", content) for content in contents]
        out = {name: tmp_path / f"table6.{end}" for name, end in (("out", "csv"), ("markdown", "md"), ("tex", "tex"))}
        key_path = tmp_path / "toys" / "study_key.json"
        preferences.main(paths, key_path, PAPERS, **out, settings=Run(), report=report)
        with open(out["out"], newline="") as file:
            return list(csv.DictReader(file))

    return key, table, tmp_path


def test_shares_of_known_answers(toy):
    key, table, _ = toy
    everyone = [
        prefer("4dstr", "stag4d", "4dstr"),
        prefer("4dstr", "4dstr", "theirs"),
        prefer("4dstr", "stag4d", "stag4d"),
    ]
    rows = table([filled(key, seed, one) for seed, one in enumerate(everyone, 1)])
    measured = {row["variant"]: row for row in rows if row["source"] == "measured"}
    assert list(measured) == ["4dstr", "stag4d", "theirs"]
    assert measured["4dstr"]["method"] == "Strmethod, ours"
    assert {(row["n_scenes"], row["n_participants"], row["n_answers"]) for row in measured.values()} == {
        ("3", "3", "9")
    }
    assert [float(measured[name]["user_quality"]) for name in measured] == [100, 0, 0]
    assert [float(measured[name]["user_consistency"]) for name in measured] == pytest.approx(
        [100 / 3, 200 / 3, 0], abs=1e-3
    )
    assert [float(measured[name]["user_alignment"]) for name in measured] == pytest.approx([100 / 3] * 3, abs=1e-3)
    assert "rule of three" in measured["4dstr"]["user_quality_reason"]
    assert measured["4dstr"]["user_consistency_reason"] == ""


def test_shares_are_by_scene_and_by_participant(toy):
    key, table, folder = toy
    content = filled(key, 3, prefer("stag4d", "stag4d", "stag4d"))
    # One of three scenes goes to the other method.
    changed = content["answers"][0]
    names = {scene.id: {clip.variant: clip.id for clip in scene.clips} for scene in key.scenes}
    changed["quality"] = names[changed["scene"]]["theirs"]
    rows = {row["variant"]: row for row in table([content, filled(key, 4, prefer(*["stag4d"] * 3))])}
    assert float(rows["stag4d"]["user_quality"]) == pytest.approx(100 * (2 / 3 + 1) / 2, abs=1e-3)
    assert float(rows["theirs"]["user_quality"]) == pytest.approx(100 / 6, abs=1e-3)
    low, high = share_interval(np.array([2 / 3, 1]))
    assert [float(rows["stag4d"][f"user_quality{end}"]) for end in ("_low", "_high")] == pytest.approx(
        [100 * low, 100 * high], abs=1e-3
    )
    by_scene = next(scene.scene for scene in key.scenes if scene.id == changed["scene"])
    text = (folder / "table6.md").read_text()
    assert f"| {by_scene} | Theirmethod (2025) | 50 | 0 | 0 |" in text
    other = next(name for name in SCENES if name != by_scene)
    assert f"| {other} | Stagmethod (photometric) | 100 | 100 | 100 |" in text


def test_reported_rows_are_copied_and_stand_apart(toy):
    key, table, folder = toy
    rows = table([filled(key, 1, prefer("4dstr", "4dstr", "4dstr"))])
    reported = [row for row in rows if row["source"] == "reported"]
    assert [row["method"] for row in reported] == ["Consistent4D", "STAG4D", "4DSTR"]
    assert [reported[2][f"user_{name}"] for name in ("quality", "consistency", "alignment")] == ["53.3", "50.0", "46.7"]
    assert {row["setting"] for row in reported} == {"text-to-4D, 14 scenes, 30 raters"}
    assert all(row["user_quality_reason"].startswith("4DSTR Table 6") for row in reported)
    measured, printed = (folder / "table6.md").read_text().split("## Reported by the paper")
    assert "53.3%" in printed and "53.3" not in measured
    assert "one participant" not in printed and rows[0]["user_quality_low"] == ""
    assert rows[0]["user_quality_reason"] == "one participant: no interval"
    tex = (folder / "table6.tex").read_text()
    assert r"\textbf{100.0}" in tex and "User study, measured: toys, 3 scenes, 1 participant, percent" in tex
    assert "**53.3" not in printed and r"\textbf{53.3" not in tex


def test_the_papers_shares_are_thirtieths():
    papers = pd.read_csv(PAPERS, dtype=str, keep_default_na=False)
    printed = papers[(papers["paper"] == "4DSTR") & (papers["table"] == "6")]
    thirtieths = printed["value"].str.removesuffix("%").astype(float) * 30 / 100
    assert ((thirtieths - thirtieths.round()).abs() <= 0.05 * 30 / 100).all()
    assert (thirtieths.round().groupby(printed["metric"]).sum() == 30).all()


def test_equal_answers_give_equal_bytes_in_any_order(toy):
    key, table, folder = toy
    contents = [filled(key, seed, prefer(*["4dstr", "stag4d", "theirs"])) for seed in (1, 2, 3)]
    table(contents)
    first = [(folder / f"table6.{end}").read_bytes() for end in ("csv", "md", "tex")]
    table(contents[::-1])
    assert [(folder / f"table6.{end}").read_bytes() for end in ("csv", "md", "tex")] == first


def test_a_bad_file_among_good_ones_leaves_no_table(toy):
    key, table, folder = toy
    good = [filled(key, seed, prefer(*["4dstr"] * 3)) for seed in (1, 2)]
    bad = json.loads(json.dumps(good[0])) | {"study": "f" * 16, "participant": "e" * 16}
    with pytest.raises(StageError, match=r"eeeeeeeeeeeeeeee.json answers study ffffffffffffffff"):
        table([*good, bad])
    assert not list(folder.glob("table6*"))
