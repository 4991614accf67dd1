"""tables: collects every metrics.csv, and networks.csv where there are any, into table1.csv and its twins.

Conventions
-----------
- A measured number is the mean over scenes of the mean over seeds of the mean over evaluation views and frames;
  its standard error is over scenes. Rows never mix provenance: another device, size or anchor source is another row.
- `source` is `measured` or `reported`; reported rows are copied as printed from config/reported/ and never ranked
  together with measured ones.
- `method` is the title of the variant, so that "stag4d (photometric anchors, no SDS)" is called so in every table.
- `fvd_set`, `fid_vid3d` and, if so grouped, `fid_frame` are one distance over all scenes' clips or frames; the rest
  of the networks' metrics are averaged as the others.
- An absent number is empty and its reason stands beside it. Equal inputs give equal bytes, in whatever order they come.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import latex
from stages.lib import reported as papers_reported
from stages.lib.scores import (
    HEADER,
    METRICS,
    OTHER_NETWORKS,
    ROW,
    absent_lines,
    grid_lines,
    heading,
    measured_rows,
    metric_columns,
    network_lines,
    number_text,
    other_network_rows,
    provenance_lines,
    read_all,
    read_csv,
    read_networks,
    scene_scores,
    signed,
    unranked_lines,
    with_sets,
    write_csv,
)
from stages.settings import Run

# What two methods must share to be compared with the floor.
SETTING = ["suite", "scene", "supervision", "anchors", "frames", "size"]
FLOOR = "static"
REPORTED_COLUMNS = ["method", "reference", "suite", "n_scenes", "metric", "value", "source"]
# Tables of papers that stand on table 1's page for reading; those of 4DSTR's ablations are on the pages of ours.
PAPERS = (("4DSTR", "6"), ("Orster", "1"), ("Orster", "2"), ("Orster", "3"))
DIFFERENCES = ("psnr_masked", "psnr", "ssim", "iou", "tof", "dtssd")

# ------------------------------------------------------------------ reading


def read_reported(path: Path) -> pd.DataFrame:
    """Numbers copied from papers, all columns as text; raises StageError on an unknown column or metric."""
    rows = read_csv(path)
    if list(rows.columns) != REPORTED_COLUMNS:
        raise StageError(f"{path} has columns {list(rows.columns)}; expected {REPORTED_COLUMNS}.")
    unknown = sorted(set(rows["metric"]) - set(METRICS))
    if unknown:
        raise StageError(f"{path} names metrics {unknown}; expected some of {list(METRICS)}.")
    repeated = rows[rows.duplicated(["method", "suite", "metric"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise StageError(f"{path} gives {first['metric']} of {first['method']} twice; expected each number once.")
    return rows


def reported_rows(reported: pd.DataFrame) -> list[dict]:
    """One dictionary per method and suite in the file's order, numbers as printed, and `reference`."""
    table = []
    for (method, suite), group in reported.groupby(["method", "suite"], sort=False):
        row = dict.fromkeys(HEADER, "") | {"method": method, "suite": suite, "source": "reported"}
        row |= {"n_scenes": group["n_scenes"].iloc[0], "reference": group["reference"].iloc[0]}
        given = group.set_index("metric")
        for name in METRICS:
            printed = name in given.index
            row[name] = given.at[name, "value"] if printed else ""
            row[f"{name}_reason"] = given.at[name, "source"] if printed else "not reported"
        table.append(row)
    return table


# ------------------------------------------------------------------ Markdown


def _measured_block(rows: list[dict]) -> list[str]:
    """One suite at one length and size: a grid of the metrics that have a value, then why the others have none."""
    shown, cells = metric_columns(rows, METRICS)
    about = ["method", "supervision", "anchors", "n_scenes", "n_seeds", "device"]
    titles = ["method", "supervision", "anchors", "scenes", "seeds", "device"]
    header = titles + [heading(name, METRICS[name]) for name in shown]
    lines = grid_lines(header, [[row[c] for c in about] + line for row, line in zip(rows, cells, strict=True)])
    return [*lines, "", *unranked_lines(rows), *absent_lines(rows, [name for name in METRICS if name not in shown])]


def _networks_block(rows: list[dict]) -> list[str]:
    """What networks say beside the table's columns, of one suite at one length and size."""
    shown, cells = metric_columns(rows, OTHER_NETWORKS)
    header = ["method", "anchors", *(heading(name, OTHER_NETWORKS[name]) for name in shown)]
    lines = [[row["method"], row["anchors"], *line] for row, line in zip(rows, cells, strict=True)]
    absent = absent_lines(rows, [name for name in OTHER_NETWORKS if name not in shown])
    return [*grid_lines(header, lines), "", *unranked_lines(rows), *absent] if shown else absent


def _reported_block(rows: list[dict]) -> list[str]:
    shown = [name for name in METRICS if any(row[name] for row in rows)]
    header = ["method", "published", "suite", "scenes"] + [f"{name} {METRICS[name].arrow}" for name in shown]
    about = ["method", "reference", "suite", "n_scenes"]
    grid = grid_lines(header, [[row[name] for name in about + shown] for row in rows])
    sources = [f"- {name}: {sorted({row[f'{name}_reason'] for row in rows if row[name]})[0]}" for name in shown]
    return [*grid, "", *sources]


# Columns of the table per scene: heading, view kind, metric, statistic of `scene_scores`.
SCENE_COLUMNS = [("psnr_masked, evaluation", "evaluation", "psnr_masked", "mean")] + [
    (f"{metric}, {view}, {title}", view, metric, statistic)
    for view in ("input", "anchor")
    for metric in ("psnr", "psnr_masked")
    for title, statistic in (("mean", "mean"), ("worst frame", "worst"))
]


def _scene_block(scores: pd.DataFrame) -> list[str]:
    """Every scene and method: evaluation views, then the training views with their worst frame."""
    table = scores.pivot_table(
        index=["suite", "scene", *ROW[1:]], columns=["view", "metric"], values=["mean", "worst"], sort=True, dropna=True
    )
    rows = []
    for key, line in table.iterrows():
        named = dict(zip(table.index.names, key, strict=True))
        cells = [
            number_text(line.get((statistic, view, metric)), ".2f") for _, view, metric, statistic in SCENE_COLUMNS
        ]
        rows.append([named["suite"], named["scene"], named["method"], named["anchors"], *cells])
    return grid_lines(["suite", "scene", "method", "anchors"] + [column[0] for column in SCENE_COLUMNS], rows)


def floor_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Score of each method minus the floor's in the same scene and setting; columns ROW, scene, metric, difference.

    metric is a name of DIFFERENCES (evaluation views) or `psnr_masked, input` and `psnr_masked, anchor`.
    """
    named = scores[scores["metric"].isin(DIFFERENCES) & scores["mean"].notna()].copy()
    named = named[(named["view"] == "evaluation") | (named["metric"] == "psnr_masked")]
    training = named["view"] != "evaluation"
    named.loc[training, "metric"] = "psnr_masked, " + named.loc[training, "view"]
    floor = named[named["word"] == FLOOR].groupby([*SETTING, "metric"])["mean"].mean().rename("floor")
    compared = named[named["word"] != FLOOR].join(floor, on=[*SETTING, "metric"], how="inner")
    return compared.assign(difference=compared["mean"] - compared["floor"])[[*ROW, "scene", "metric", "difference"]]


def _floor_block(scores: pd.DataFrame) -> list[str]:
    """Differences to the floor, scene by scene, and their mean over scenes."""
    differences = floor_differences(scores)
    if differences.empty:
        return [f"Nothing to compare: it takes a variant with `method: {FLOOR}` and another one on the same scenes."]
    names = [*DIFFERENCES, "psnr_masked, input", "psnr_masked, anchor"]
    names = [name for name in names if (differences["metric"] == name).any()]
    rows = []
    for key, group in differences.groupby(ROW, sort=True):
        suite, method = key[ROW.index("suite")], key[ROW.index("method")]
        table = group.pivot(index="scene", columns="metric", values="difference").sort_index()
        lines = [(scene, line) for scene, line in table.iterrows()]
        if len(lines) > 1:
            lines.append((f"mean of {len(lines)}", table.mean()))
        rows += [
            [suite, scene, method, *(signed(line.get(name), METRICS[name.split(",")[0]]) for name in names)]
            for scene, line in lines
        ]
    return grid_lines(
        ["suite", "scene", "method"] + [f"{name} {METRICS[name.split(',')[0]].arrow}" for name in names], rows
    )


def blocks_of(measured: list[dict]) -> dict[tuple[str, str, str], list[dict]]:
    """Measured rows that share a suite, a length and a size, which alone are ranked together."""
    blocks: dict[tuple[str, str, str], list[dict]] = {}
    for row in measured:
        blocks.setdefault((row["suite"], row["frames"], row["size"]), []).append(row)
    return blocks


def latex_text(measured: list[dict], reported: list[dict], papers: pd.DataFrame) -> str:
    """The LaTeX twin: a table a measured block, then the reported rows and the papers' tables, without marks."""
    lines = ["% Best measured value of a block in bold, second underlined; reported rows are copied and not ranked."]
    for (suite, frames, size), rows in blocks_of(measured).items():
        shown, cells = metric_columns(rows, METRICS)
        header = ["method", *(heading(name, METRICS[name]) for name in shown)]
        body = [[row["method"], *line] for row, line in zip(rows, cells, strict=True)]
        lines += ["", *(f"% {line}" for line in unranked_lines(rows))]
        lines += latex.table(f"Measured: {suite}, {frames} frames, {size}", header, body)
    if reported:
        shown = [name for name in METRICS if any(row[name] for row in reported)]
        header = ["method", *(heading(name, METRICS[name]) for name in shown)]
        body = [[row["method"], *(row[name] for name in shown)] for row in reported]
        lines += ["", *latex.table("Reported by papers, not measured here", header, body)]
    lines += [line for name in PAPERS for line in papers_reported.latex_lines(papers, *name)]
    return "\n".join(lines) + "\n"


def markdown_text(
    records: list[dict],
    scores: pd.DataFrame,
    measured: list[dict],
    reported: list[dict],
    networks: list[dict],
    others: list[dict],
    papers: pd.DataFrame,
) -> str:
    """The Markdown twin: measured blocks, reported block, per scene, against the floor, provenance.

    networks: records of the networks.csv files; others: measured rows with OTHER_NETWORKS, none without such files.
    """
    lines = ["# Table 1", "", "Best measured value of a block in bold, second underlined."]
    for (suite, frames, size), rows in blocks_of(measured).items():
        lines += ["", f"## Measured: {suite}, {frames} frames, {size}", "", *_measured_block(rows)]
    for (suite, frames, size), rows in blocks_of(others).items():
        lines += ["", f"## Further scores by networks: {suite}, {frames} frames, {size}", ""]
        lines += ["`clip_f`, `clip_o`: our definition of Orster's CLIP-F and CLIP-O, against the input frame.", ""]
        lines += _networks_block(rows)
    if reported:
        lines += ["", "## Reported by papers (not measured here, not comparable with the rows above)", ""]
        lines += _reported_block(reported)
    printed = [line for name in PAPERS for line in papers_reported.markdown_lines(papers, *name)]
    lines += (
        ["", "<details><summary>Other tables of the papers</summary>", "", *printed, "</details>"] if printed else []
    )
    lines += ["", "## Scene by scene, dB", "", "Input and anchors are training views.", "", *_scene_block(scores)]
    lines += ["", f"## Difference to `{FLOOR}`, scene by scene", ""]
    lines += ["Method minus floor; evaluation views unless named. ↑: above 0 is better, ↓: below 0 is.", ""]
    lines += [*_floor_block(scores), "", "## Provenance", "", *provenance_lines(records), *network_lines(networks)]
    return "\n".join(lines) + "\n"


def main(
    metrics: list[Path],
    reported: Path,
    out: Path,
    markdown: Path,
    tex: Path,
    papers: Path,
    settings: Run,
    report: Reporter,
    networks: list[Path] = (),
) -> None:
    """Collect all metrics into the table."""
    records, rows = read_all(metrics)
    report.progress(1, 3)
    scored, network_rows = read_networks(networks, records)
    rows = pd.concat([rows, network_rows], ignore_index=True) if scored else rows
    scores = scene_scores(rows)
    measured = with_sets(measured_rows(rows, scores), networks, records, scored)
    others = other_network_rows(rows, scores, scored) if scored else []
    printed, copied = reported_rows(read_reported(reported)), papers_reported.read(papers)
    report.progress(2, 3)
    write_csv(out, HEADER, measured + printed)
    for path, text in (
        (markdown, markdown_text(records, scores, measured, printed, scored, others, copied)),
        (tex, latex_text(measured, printed, copied)),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    report.progress(3, 3)
    report.say(
        f"wrote {out}: {len(measured)} measured and {len(printed)} reported rows from {len(records)} metrics files"
    )


if __name__ == "__main__":
    cli.run(main, "tables")
