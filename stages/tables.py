"""tables: collects every metrics.csv into table1.csv and its Markdown twin.

Conventions
-----------
- A measured number is the mean over scenes of the mean over seeds of the mean over evaluation views and frames;
  its standard error is over scenes. Rows never mix provenance: another device, size or anchor source is another row.
- `source` is `measured` or `reported`; reported rows are copied as printed from config/reported/ and never ranked
  together with measured ones.
- `method` is the title of the variant, so that "stag4d (photometric anchors, no SDS)" is called so in every table.
- An absent number is empty and its reason stands beside it.
- `record` is the first line of a metrics.csv. Equal inputs give equal bytes, in whatever order they come.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.settings import Run


@dataclass(frozen=True)
class Metric:
    """How a column is read: which direction is better ("" = a diagnostic, not ranked), and how it is printed."""

    arrow: str
    digits: str
    network: bool = False


METRICS = {
    "psnr": Metric("↑", ".2f"),
    "psnr_masked": Metric("↑", ".2f"),
    "ssim": Metric("↑", ".4f"),
    "iou": Metric("↑", ".4f"),
    "tof": Metric("↓", ".4f"),
    "dtssd": Metric("↓", ".3g"),
    "warp_gap": Metric("", ".3g"),
    "flicker_gap": Metric("", ".3g"),
    "clip": Metric("↑", ".3f", network=True),
    "lpips_vgg": Metric("↓", ".3f", network=True),
    "fvd_clip": Metric("↓", ".1f", network=True),
    "fvd_set": Metric("↓", ".1f", network=True),
    "fid_frame": Metric("↓", ".2f", network=True),
    "fid_vid3d": Metric("↓", ".2f", network=True),
}
IDENTITY = ["method", "variant", "suite", "source", "supervision", "anchors"]
COUNTS = ["n_scenes", "n_seeds"]
MACHINE = ["frames", "size", "device"]
HEADER = IDENTITY + COUNTS + MACHINE + [name + end for name in METRICS for end in ("", "_se", "_reason")]

# What makes a measured row, in sorting order.
ROW = ["suite", "variant", "method", "supervision", "anchors", "frames", "size", "device"]
# What two methods must share to be compared with the floor.
SETTING = ["suite", "scene", "supervision", "anchors", "frames", "size"]
FLOOR = "static"
NOT_COMPUTED = "needs network weights; not computed"
NOT_SCORED = "not in the metrics files"
ONE_SCENE = "one scene: no standard error"
METRICS_COLUMNS = ["suite", "scene", "variant", "seed", "view", "azimuth_deg", "frame", "metric", "value", "reason"]
REPORTED_COLUMNS = ["method", "reference", "suite", "n_scenes", "metric", "value", "source"]
DIFFERENCES = ("psnr_masked", "psnr", "ssim", "iou", "tof", "dtssd")

# ------------------------------------------------------------------ reading


def _read_csv(path: Path, skiprows: int = 0) -> pd.DataFrame:
    try:
        return pd.read_csv(path, skiprows=skiprows, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StageError(
            f"{path} cannot be read as a table ({error}). Delete it and run the same command again."
        ) from None


def read_metrics(path: Path) -> tuple[dict, pd.DataFrame]:
    """Record and rows of one metrics.csv, provenance added as columns; raises StageError on another file."""
    try:
        with open(path, encoding="utf-8") as file:
            first = file.readline()
        about = json.loads(first.removeprefix("# "))
        settings = about["settings"]
        provenance = {
            "method": settings["title"],
            "word": settings["method"],
            "device": f"{about['device']} ({about['backend']})",
            **{name: str(about[name]) for name in ("frames", "size", "anchors", "supervision")},
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(
            f"{path} does not open with the record of a metrics.csv ({error!r}); expected `# {{...}}` as written "
            "by the metrics stage. Delete it and run the same command again."
        ) from None
    rows = _read_csv(path, skiprows=1)
    if list(rows.columns) != METRICS_COLUMNS:
        raise StageError(
            f"{path} has columns {list(rows.columns)}; expected {METRICS_COLUMNS}. Delete it and run again."
        )
    return about, rows.assign(**provenance, value=pd.to_numeric(rows["value"]))


def read_all(paths: Iterable[Path]) -> tuple[list[dict], pd.DataFrame]:
    """Records and rows of all metrics files; raises StageError when two describe one fit or were scored unlike."""
    seen: dict[tuple, Path] = {}
    records, tables = [], []
    for path in paths:
        about, rows = read_metrics(path)
        settings = about["settings"]
        named = (settings[name] for name in ("suite", "scene", "variant", "seed"))
        identity = (*named, about["anchors"], about["frames"], about["size"], about["device"], about["backend"])
        if identity in seen:
            raise StageError(
                f"{path} and {seen[identity]} describe the same fit; expected each once. Name one of them."
            )
        if records and settings["metrics"] != records[0]["settings"]["metrics"]:
            raise StageError(
                f"{path} was scored with {settings['metrics']}, others with {records[0]['settings']['metrics']}; "
                "expected one `metrics` section for all. Run the metrics stage again with the settings you want."
            )
        seen[identity] = path
        records.append(about)
        tables.append(rows)
    if not tables:
        raise StageError("no metrics.csv was given; expected at least one after --metrics.")
    return records, pd.concat(tables, ignore_index=True)


def read_reported(path: Path) -> pd.DataFrame:
    """Numbers copied from papers, all columns as text; raises StageError on an unknown column or metric."""
    rows = _read_csv(path)
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


# ------------------------------------------------------------------ averaging


def scene_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per fit group, scene, view kind and metric: mean and worst (lowest) frame, averaged over seeds.

    Columns: ROW, word, scene, view, metric, mean, worst, reason. NaN where a metric is undefined.
    """
    named = rows[rows["view"] != ""]
    group = [*ROW, "word", "scene", "view", "metric"]
    seeds = named.groupby([*group, "seed"], sort=True)["value"].agg(["mean", "min"]).reset_index()
    scenes = seeds.groupby(group, sort=True)[["mean", "min"]].mean()
    reasons = named.groupby(group, sort=True)["reason"].agg(lambda texts: "; ".join(sorted(set(texts) - {""})))
    return scenes.rename(columns={"min": "worst"}).join(reasons).reset_index()


def _summary(scores: pd.DataFrame, name: str) -> tuple[float | None, float | None, str]:
    """Mean, standard error and reason over the scenes (one line each) of one metric."""
    if scores.empty:
        return None, None, NOT_COMPUTED if METRICS[name].network else NOT_SCORED
    values = scores["mean"].dropna().sort_values()
    why = "; ".join(sorted(set(scores.loc[scores["mean"].isna(), "reason"]) - {""}))
    if values.empty:
        return None, None, why
    n = len(values)
    reasons = [f"{n} of {len(scores)} scenes: {why}"] if n < len(scores) else []
    if n == 1:
        return float(values.iloc[0]), None, "; ".join([*reasons, ONE_SCENE])
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)), "; ".join(reasons)


def _n_seeds(rows: pd.DataFrame) -> str:
    counts = rows.groupby("scene")["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def measured_rows(rows: pd.DataFrame, scores: pd.DataFrame) -> list[dict]:
    """One dictionary per fit group: HEADER's columns, numbers as float or None."""
    evaluation = scores[scores["view"] == "evaluation"]
    groups = {key: group for key, group in evaluation.groupby(ROW, sort=True)}
    table = []
    for key, group_rows in rows.groupby(ROW, sort=True):
        group = groups.get(key, evaluation.iloc[:0])
        row = {**dict(zip(ROW, key, strict=True)), "source": "measured"}
        row |= {"n_scenes": str(group_rows["scene"].nunique()), "n_seeds": _n_seeds(group_rows)}
        for name in METRICS:
            mean, error, reason = _summary(group[group["metric"] == name], name)
            row |= {name: mean, f"{name}_se": error, f"{name}_reason": reason}
        table.append(row)
    return table


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


def write_csv(out: Path, table: list[dict]) -> None:
    """Write the rows under HEADER, numbers with 6 significant digits."""
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row in table:
            writer.writerow([_text(row[name], ".6g") for name in HEADER])


# ------------------------------------------------------------------ Markdown


def _text(value: float | str | None, digits: str) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(value) else format(value, digits)


def _grid(header: list[str], rows: list[list[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") or "–" for cell in row] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *escaped)]


def _ranked(values: list[float | None], metric: Metric) -> list[str]:
    """Printed values with the best in bold and the second underlined; what prints alike ranks alike."""
    texts = [_text(value, metric.digits) for value in values]
    ladder = sorted({float(text) for text in texts if text}, reverse=metric.arrow == "↑")
    if not metric.arrow or len(ladder) < 2:
        return texts
    marks = {ladder[0]: "**{}**", ladder[1]: "<u>{}</u>"}
    return [marks.get(float(text), "{}").format(text) if text else "" for text in texts]


def _measured_block(rows: list[dict]) -> list[str]:
    """One suite at one length and size: a grid of the metrics that have a value, then why the others have none."""
    shown = [name for name in METRICS if any(row[name] is not None for row in rows)]
    columns = []
    for name in shown:
        texts = _ranked([row[name] for row in rows], METRICS[name])
        errors = [_text(row[f"{name}_se"], METRICS[name].digits) for row in rows]
        columns.append([f"{text} ± {error}" if error else text for text, error in zip(texts, errors, strict=True)])
    about = ["method", "supervision", "anchors", "n_scenes", "n_seeds", "device"]
    titles = ["method", "supervision", "anchors", "scenes", "seeds", "device"]
    header = titles + [f"{name} {METRICS[name].arrow or '(diagnostic)'}" for name in shown]
    lines = _grid(header, [[row[c] for c in about] + list(cells) for row, *cells in zip(rows, *columns, strict=True)])
    absent: dict[str, list[str]] = {}
    for name in METRICS:
        if name not in shown:
            for reason in sorted({row[f"{name}_reason"] for row in rows}):
                absent.setdefault(reason, []).append(name)
    return lines + [""] + [f"- without a value: {', '.join(names)}: {why}" for why, names in absent.items()]


def _reported_block(rows: list[dict]) -> list[str]:
    shown = [name for name in METRICS if any(row[name] for row in rows)]
    header = ["method", "published", "suite", "scenes"] + [f"{name} {METRICS[name].arrow}" for name in shown]
    about = ["method", "reference", "suite", "n_scenes"]
    grid = _grid(header, [[row[name] for name in about + shown] for row in rows])
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
        cells = [_text(line.get((statistic, view, metric)), ".2f") for _, view, metric, statistic in SCENE_COLUMNS]
        rows.append([named["suite"], named["scene"], named["method"], named["anchors"], *cells])
    return _grid(["suite", "scene", "method", "anchors"] + [column[0] for column in SCENE_COLUMNS], rows)


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


def _difference_cell(value: float | None, name: str) -> str:
    # z prints a difference that rounds to nothing as +0, not as -0.
    return _text(value, "+z" + METRICS[name.split(",")[0]].digits)


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
            [suite, scene, method, *(_difference_cell(line.get(name), name) for name in names)] for scene, line in lines
        ]
    return _grid(["suite", "scene", "method"] + [f"{name} {METRICS[name.split(',')[0]].arrow}" for name in names], rows)


def _provenance(records: list[dict]) -> list[str]:
    def listed(values: Iterable[object]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    versions = {f"{name} {version}" for about in records for name, version in about["versions"].items()}
    versions |= {f"opencv {about['opencv']}" for about in records} | {f"python {about['python']}" for about in records}
    scoring = records[0]["settings"]["metrics"]
    return [
        f"- {len(records)} metrics files; suites {listed(about['settings']['suite'] for about in records)}; "
        f"seeds {listed(about['settings']['seed'] for about in records)}; "
        f"machine {listed(about['machine'] for about in records)}; {', '.join(sorted(versions))}",
        "- value: mean over scenes of the mean over seeds of the mean over evaluation views and frames; "
        "± standard error over scenes",
        f"- pictures on white, data range 1; PSNR capped at 100 dB; object where alpha > {scoring['mask_threshold']}; "
        "masked: error over the union of both objects per pixel of the true one",
        f"- tof: Farneback flow, pixels, {scoring['skip_ends']} frames left out at both ends "
        "(fewer in a clip too short for it); dtssd: squared, values in [0, 1]",
        "- warp_gap and flicker_gap: distance of the clip's own value from the ground truth's; diagnostics, not ranked",
    ]


def markdown_text(records: list[dict], scores: pd.DataFrame, measured: list[dict], reported: list[dict]) -> str:
    """The Markdown twin: measured blocks, reported block, per scene, against the floor, provenance."""
    lines = ["# Table 1", "", "Best measured value of a block in bold, second underlined."]
    blocks: dict[tuple[str, ...], list[dict]] = {}
    for row in measured:
        blocks.setdefault((row["suite"], row["frames"], row["size"]), []).append(row)
    for (suite, frames, size), rows in blocks.items():
        lines += ["", f"## Measured: {suite}, {frames} frames, {size}", "", *_measured_block(rows)]
    if reported:
        lines += ["", "## Reported by papers (not measured here, not comparable with the rows above)", ""]
        lines += _reported_block(reported)
    lines += ["", "## Scene by scene, dB", "", "Input and anchors are training views.", "", *_scene_block(scores)]
    lines += ["", f"## Difference to `{FLOOR}`, scene by scene", ""]
    lines += ["Method minus floor; evaluation views unless named. ↑: above 0 is better, ↓: below 0 is.", ""]
    lines += [*_floor_block(scores), "", "## Provenance", "", *_provenance(records)]
    return "\n".join(lines) + "\n"


def main(metrics: list[Path], reported: Path, out: Path, markdown: Path, settings: Run, report: Reporter) -> None:
    """Collect all metrics into the table."""
    records, rows = read_all(metrics)
    scores = scene_scores(rows)
    measured, printed = measured_rows(rows, scores), reported_rows(read_reported(reported))
    write_csv(out, measured + printed)
    with replacing(markdown) as temporary:
        temporary.write_text(markdown_text(records, scores, measured, printed), encoding="utf-8")
    report.say(
        f"wrote {out}: {len(measured)} measured and {len(printed)} reported rows from {len(records)} metrics files"
    )


if __name__ == "__main__":
    cli.run(main, "tables")
