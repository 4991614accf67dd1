"""Numbers copied from papers (config/reported/papers.csv): 4DSTR's Tables 2 to 6 and Orster's Tables 1 to 3.

They are printed as the papers print them, in blocks of their own, without a rank and never beside a measured number.
4DSTR's Table 1 is in config/reported/table1.csv, since its rows stand in results/table1.csv as well.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages.cli import StageError
from stages.lib import latex
from stages.lib.scores import METRICS, SPEED_METRICS, grid_lines, read_csv

COLUMNS = ["paper", "table", "setting", "method", "printed", "metric", "value", "source"]
# What the papers print and no metric of ours is sure to be: Orster says neither LPIPS' backbone nor which FVD.
OTHERS = {
    "clip_f": "↑",
    "clip_o": "↑",
    "lpips": "↓",
    "fvd": "↓",
    "user_quality": "↑",
    "user_consistency": "↑",
    "user_alignment": "↑",
}
ARROWS = {name: metric.arrow for name, metric in (METRICS | SPEED_METRICS).items()} | OTHERS


def read(path: Path) -> pd.DataFrame:
    """All rows as text; raises StageError on unknown columns or metrics, on a number given twice or without source."""
    rows = read_csv(path)
    if list(rows.columns) != COLUMNS:
        raise StageError(f"{path} has columns {list(rows.columns)}; expected {COLUMNS}.")
    unknown = sorted(set(rows["metric"]) - set(ARROWS))
    if unknown:
        raise StageError(f"{path} names metrics {unknown}; expected some of {list(ARROWS)}.")
    repeated = rows[rows.duplicated(["paper", "table", "setting", "method", "metric"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise StageError(
            f"{path} gives {first['metric']} of {first['method']} twice in {first['paper']} Table {first['table']}; "
            "expected each number once."
        )
    if (rows["source"] == "").any():
        raise StageError(f"{path} has numbers without a source; expected one in every line.")
    return rows


def _grid(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    metrics = list(dict.fromkeys(rows["metric"]))
    printed = dict(zip(rows["metric"], rows["printed"], strict=True))
    settings = (rows["setting"] != "").any()
    header = [*(["setting"] if settings else []), "method"]
    header += [f"{printed[name]} {ARROWS[name]}".rstrip() for name in metrics]
    body = []
    for (setting, method), line in rows.groupby(["setting", "method"], sort=False):
        values = dict(zip(line["metric"], line["value"], strict=True))
        body.append([*([setting] if settings else []), method, *(values.get(name, "") for name in metrics)])
    return header, body


def _chosen(rows: pd.DataFrame, paper: str, table: str) -> pd.DataFrame:
    return rows[(rows["paper"] == paper) & (rows["table"] == table)]


def markdown_lines(rows: pd.DataFrame, paper: str, table: str) -> list[str]:
    """One table of a paper with its title and what is known of its numbers; empty when it is not in the file."""
    chosen = _chosen(rows, paper, table)
    if chosen.empty:
        return []
    notes = dict.fromkeys(source.split("; ", 1)[1] for source in chosen["source"] if "; " in source)
    return [f"{paper} Table {table}, as printed:", "", *grid_lines(*_grid(chosen)), "", *(f"- {n}" for n in notes), ""]


def latex_lines(rows: pd.DataFrame, paper: str, table: str) -> list[str]:
    """The same as LaTeX."""
    chosen = _chosen(rows, paper, table)
    if chosen.empty:
        return []
    header, body = _grid(chosen)
    return ["", *latex.table(f"Reported: {paper} Table {table}", header, body, header.index("method") + 1)]
