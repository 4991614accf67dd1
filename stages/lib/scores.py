"""Reading metrics.csv files, averaging them and printing them: what all tables share.

Vocabulary and conventions
--------------------------
- *Record*: the first line of a metrics.csv, as JSON. *Rows*: its numbers, one line each, provenance as columns.
- *Provenance*: supervision, anchors, frames, size and device. A mean is never taken over two of them.
- A *score* is the mean over evaluation views and frames, then over seeds, of one scene; a table's number is the mean
  over scenes, its standard error too. Where a suite has no evaluation views, those of a training view stand for them.
- `view` is `input`, `anchor` or `evaluation` as in metrics.csv, or `fit` for what belongs to the fit itself.
- An absent number is NaN (None in a table) and its reason stands beside it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from stages.cli import StageError
from stages.contracts import Features, replacing
from stages.lib import fit_files, frechet
from stages.lib.comparisons import Comparison
from stages.lib.statistics import NO_PAIR, ONE_OBJECT, Estimate


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
# Beside table 1's columns, in the tables that compare variants: what is measured on the fit itself is not ranked.
EXTRA_METRICS = {
    "psnr_sudden": Metric("↑", ".2f"),
    "gaussians": Metric("", ".0f"),
    "fit_s": Metric("", ".0f"),
    "fit_cpu_s": Metric("", ".0f"),
    "fit_mb": Metric("", ".0f"),
}
SPEED_METRICS = {
    "encoder_parameters": Metric("", ".0f"),
    "fps_network": Metric("↑", ".3g"),
    "fps_baked": Metric("↑", ".3g"),
}
# What networks say beside table 1's columns, by the view of its rows in networks.csv.
OTHER_NETWORKS = {
    "clip_f": Metric("↑", ".3f", network=True),
    "clip_o": Metric("↑", ".3f", network=True),
    "lpips_alex": Metric("↓", ".3f", network=True),
    "lpips_squeeze": Metric("↓", ".3f", network=True),
}
OTHER_VIEWS = {"clip_f": "input", "clip_o": "orbit", "lpips_alex": "evaluation", "lpips_squeeze": "evaluation"}
IDENTITY = ["method", "variant", "suite", "source", "supervision", "anchors"]
COUNTS = ["n_scenes", "n_seeds"]
MACHINE = ["frames", "size", "device"]
HEADER = IDENTITY + COUNTS + MACHINE + [name + end for name in METRICS for end in ("", "_se", "_reason")]

# What makes a measured row, in sorting order.
ROW = ["suite", "variant", "method", "supervision", "anchors", "frames", "size", "device"]
# What all fits of a suite must share to be compared.
PROVENANCE = ["supervision", "anchors", "frames", "size", "device"]
# Length of the vectors that fid_frame compares (Inception-v3's last pool).
INCEPTION_FEATURES = 2048
NOT_COMPUTED = "needs network weights; not computed"
NOT_ASKED = "not in networks.lpips"
NOT_SCORED = "not in the metrics files"
ONE_SCENE = "one scene: no standard error"
METRICS_COLUMNS = ["suite", "scene", "variant", "seed", "view", "azimuth_deg", "frame", "metric", "value", "reason"]
# Views whose scores compare methods: those that no fit has seen, and the fit's own figures.
COMPARED_VIEWS = ("evaluation", "fit")
# What is compared where there are none, one by one.
TRAINING_VIEWS = ("input", "anchor")

# ------------------------------------------------------------------ reading


def read_csv(path: Path, skiprows: int = 0) -> pd.DataFrame:
    """All cells as text; raises StageError on a file that is no table."""
    try:
        return pd.read_csv(path, skiprows=skiprows, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StageError(
            f"{path} cannot be read as a table ({error}). Delete it and run the same command again."
        ) from None


def _provenance(about: dict) -> dict[str, str]:
    """The columns that a record adds to its rows."""
    return {
        "method": about["settings"]["title"],
        "word": about["settings"]["method"],
        "device": f"{about['device']} ({about['backend']})",
        **{name: str(about[name]) for name in ("frames", "size", "anchors", "supervision")},
    }


def read_metrics(path: Path) -> tuple[dict, pd.DataFrame]:
    """Record and rows of one metrics.csv, provenance added as columns; raises StageError on another file."""
    try:
        with open(path, encoding="utf-8") as file:
            first = file.readline()
        about = json.loads(first.removeprefix("# "))
        provenance = _provenance(about)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(
            f"{path} does not open with the record of a metrics.csv ({error!r}); expected `# {{...}}` as written "
            "by the metrics stage. Delete it and run the same command again."
        ) from None
    rows = read_csv(path, skiprows=1)
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


def _fit(about: dict) -> tuple:
    """What names a fit: suite, scene, variant, seed."""
    return tuple(about["settings"][name] for name in ("suite", "scene", "variant", "seed"))


def read_networks(paths: Iterable[Path], records: list[dict]) -> tuple[list[dict], pd.DataFrame]:
    """Records and rows of networks.csv files, each row with the provenance of its fit's metrics.csv.

    Raises StageError when a file is of no fit of `records`, or when two were scored with other networks or settings.
    """
    fits = {_fit(about): about for about in records}
    found, tables = [], []
    for path in paths:
        about, rows = read_metrics(path)
        if _fit(about) not in fits:
            raise StageError(f"{path} is of a fit whose metrics.csv was not given; expected one. Leave it out.")
        for name, what in (("networks", about["networks"]), ("settings", about["settings"]["networks"])):
            first = found and (found[0]["networks"] if name == "networks" else found[0]["settings"]["networks"])
            if found and what != first:
                raise StageError(
                    f"{path} was scored with {name} {what}, others with {first}; expected one for all. "
                    "Delete the networks.csv files and run the same command again."
                )
        found.append(about)
        tables.append(rows.assign(**_provenance(fits[_fit(about)])))
    return found, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def set_scores(
    networks: list[Path], records: list[dict], grouping: str
) -> dict[tuple, dict[str, tuple[float, str, int]]]:
    """Distances between sets over all scenes of a row of the table: by ROW's values, then metric: as `_distances`.

    The set is every clip (`fvd_set`, `fid_vid3d`), or with grouping `all` every frame (`fid_frame`), of every scene
    and evaluation view; seeds are averaged. `networks`: networks.csv files, features.npz lies beside each.
    """
    fits = {_fit(about): {**about["settings"], **_provenance(about)} for about in records}
    sets: dict[tuple, dict[int, list[Features]]] = {}
    for path in sorted(networks):
        features = Features.load(path.parent / "features.npz")
        about = fits[_fit(features.record)]
        sets.setdefault(tuple(str(about[name]) for name in ROW), {}).setdefault(about["seed"], []).append(features)
    return {key: _distances(list(seeds.values()), grouping) for key, seeds in sets.items()}


def _distances(seeds: list[list[Features]], grouping: str) -> dict[str, tuple[float, str, int]]:
    """Value, reason and count of vectors of each set distance, mean over seeds; one without features is left out."""
    kinds = {"fvd_set": "i3d", "fid_vid3d": "resnet3d"} | ({"fid_frame": "inception"} if grouping == "all" else {})
    found = {}
    for metric, kind in kinds.items():
        sides = []
        for scenes in seeds:
            arrays = [getattr(features, kind) for features in scenes]
            # Not -1: NumPy cannot tell how many vectors of length 0 there are.
            flat = [array.reshape(2, math.prod(array.shape[1:-1]), array.shape[-1]) for array in arrays]
            sides.append([np.concatenate([array[side] for array in flat]) for side in (0, 1)])
        count, dimensions = sides[0][0].shape
        if not dimensions or count < 2:
            continue
        value = float(np.mean([frechet.set_distance(*pair) for pair in sides]))
        what = "frames" if metric == "fid_frame" else "clips"
        reason = f"one set of {count} {what} in {dimensions} dimensions: no standard error"
        if count <= dimensions:
            share = frechet.small_sample_bias(count, dimensions) / (2 * dimensions)
            reason += f"; biased upward (by {share:.0%} of the variance if isotropic), compare equal counts only"
        found[metric] = value, reason, count
    return found


def figure_rows(about: dict, figures: dict[str, fit_files.Figure]) -> pd.DataFrame:
    """Rows of view `fit` for figures of the fit that this record describes."""
    settings = about["settings"]
    named = {name: str(settings[name]) for name in ("suite", "scene", "variant", "seed")}
    given = {"view": "fit", "azimuth_deg": "", "frame": "", **_provenance(about)}
    return pd.DataFrame(
        [
            {**named, **given, "metric": name, "value": math.nan if value is None else value, "reason": reason}
            for name, (value, reason) in figures.items()
        ]
    )


def read_compared(paths: list[Path], comparisons: Iterable[Comparison]) -> tuple[list[dict], pd.DataFrame]:
    """Records and rows of the fits that comparisons ask for, with the figures of each fit.

    Raises StageError on a fit that none asks for, and on fits that do not share their provenance.
    """
    records, rows = read_all(paths)
    asked: dict[tuple, bool] = {}
    for comparison in comparisons:
        asked |= {fit: comparison.speed or asked.get(fit, False) for fit in comparison.fits()}
    figures = []
    for path, about in zip(paths, records, strict=True):
        key = tuple(about["settings"][name] for name in ("suite", "scene", "variant", "seed"))
        if key not in asked:
            raise StageError(
                f"{path} is of suite {key[0]}, scene {key[1]}, variant {key[2]}, seed {key[3]}, which the settings do "
                "not name; expected only fits of the comparison. Leave it out."
            )
        found = fit_files.gaussian_figures(path.parent) | fit_files.benchmark_figures(path.parent)
        found |= fit_files.speed_figures(path.parent) if asked[key] else {}
        figures.append(figure_rows(about, found))
    rows = pd.concat([rows, *figures], ignore_index=True)
    check_one_provenance(rows, {name for comparison in comparisons for name in comparison.differ})
    return records, rows


def check_one_provenance(rows: pd.DataFrame, free: Collection[str] = ()) -> None:
    """Raise StageError unless all fits of a suite share their provenance but for `free`, and each variant its title."""
    for suite, group in rows.groupby("suite", sort=True):
        for name in (name for name in PROVENANCE if name not in free):
            values = sorted(set(group[name]))
            if len(values) > 1:
                raise StageError(
                    f"the fits of suite {suite} were made with {name} {' and '.join(values)}; expected one {name}, "
                    "since their differences would not be the methods'. Delete the results of one and run again."
                )
        for variant, titles in group.groupby("variant", sort=True)["method"]:
            if titles.nunique() > 1:
                raise StageError(
                    f"variant {variant} is titled {' and '.join(sorted(set(titles)))}; expected one title. "
                    "Run the metrics stage again."
                )


# ------------------------------------------------------------------ averaging


def views_compared(rows: pd.DataFrame) -> tuple[str, ...]:
    """The views that methods are compared on: `evaluation`, or what every fit has seen where the suite has none of it.

    The training views stand apart from each other: `input`, then `anchor`, those of them that have a score.
    """
    scored = set(rows.loc[rows["value"].notna(), "view"])
    return ("evaluation",) if "evaluation" in scored else tuple(view for view in TRAINING_VIEWS if view in scored)


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


def _summary(scores: pd.DataFrame, metric: Metric) -> tuple[float | None, float | None, str]:
    """Mean, standard error and reason over the scenes (one line each) of one metric."""
    if scores.empty:
        return None, None, NOT_COMPUTED if metric.network else NOT_SCORED
    values = scores["mean"].dropna().sort_values()
    why = "; ".join(sorted(set(scores.loc[scores["mean"].isna(), "reason"]) - {""}))
    if values.empty:
        return None, None, why
    n = len(values)
    partly = scores[scores["mean"].notna() & (scores["reason"] != "")]
    reasons = [f"{len(partly)} scenes in part: {'; '.join(sorted(set(partly['reason'])))}"] if len(partly) else []
    reasons += [f"{n} of {len(scores)} scenes: {why}"] if n < len(scores) else []
    if n == 1:
        return float(values.iloc[0]), None, "; ".join([*reasons, ONE_SCENE])
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(n)), "; ".join(reasons)


def _n_seeds(rows: pd.DataFrame) -> str:
    counts = rows.groupby("scene")["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def measured_rows(
    rows: pd.DataFrame,
    scores: pd.DataFrame,
    metrics: dict[str, Metric] = METRICS,
    views: Collection[str] = COMPARED_VIEWS,
) -> list[dict]:
    """One dictionary per fit group: HEADER's columns with these metrics of `views`, numbers as float or None; and
    `scenes`."""
    compared = scores[scores["view"].isin(views)]
    groups = {key: group for key, group in compared.groupby(ROW, sort=True)}
    table = []
    for key, group_rows in rows.groupby(ROW, sort=True):
        group = groups.get(key, compared.iloc[:0])
        row = {**dict(zip(ROW, key, strict=True)), "source": "measured"}
        row |= {"n_scenes": str(group_rows["scene"].nunique()), "n_seeds": _n_seeds(group_rows)}
        row["scenes"] = frozenset(group_rows["scene"])
        for name, metric in metrics.items():
            mean, error, reason = _summary(group[group["metric"] == name], metric)
            row |= {name: mean, f"{name}_se": error, f"{name}_reason": reason}
        table.append(row)
    return table


def other_network_rows(rows: pd.DataFrame, scores: pd.DataFrame, records: list[dict]) -> list[dict]:
    """Measured rows with OTHER_NETWORKS instead of the table's columns; `records`: of the networks.csv files."""
    chosen = scores[scores["view"] == scores["metric"].map(OTHER_VIEWS)].assign(view="evaluation")
    return [_with_unasked(row, records) for row in measured_rows(rows, chosen, OTHER_NETWORKS)]


def _with_unasked(row: dict, records: list[dict]) -> dict:
    """A measured row whose LPIPS backbones that nobody asked for say so; `records`: of the networks.csv files."""
    asked = {f"lpips_{backbone}" for backbone in records[0]["settings"]["networks"]["lpips"]}
    unasked = [name for name in METRICS | OTHER_NETWORKS if name.startswith("lpips_") and name not in asked]
    return row | {f"{name}_reason": NOT_ASKED for name in unasked if name in row and row[name] is None}


def with_sets(measured: list[dict], networks: list[Path], records: list[dict], scored: list[dict]) -> list[dict]:
    """Measured rows with the distances between sets that are theirs; `scored`: records of the networks.csv files.

    LPIPS backbones that were not asked for say so.
    """
    if not scored:
        return measured
    sets = set_scores(networks, records, scored[0]["settings"]["networks"]["fid_grouping"])
    filled = []
    for row in measured:
        row = _with_unasked(row, scored)
        for metric, (value, reason, count) in sets.get(tuple(str(row[name]) for name in ROW), {}).items():
            row |= {metric: value, f"{metric}_se": None, f"{metric}_reason": reason, f"{metric}_count": count}
        filled.append(row)
    return filled


def fit_scores(
    rows: pd.DataFrame, views: Collection[str] = COMPARED_VIEWS
) -> dict[tuple[str, str, str], dict[tuple[str, str], float]]:
    """Score of every fit on `views`: by suite, variant and metric, then by scene and seed; undefined ones left out."""
    compared = rows[rows["view"].isin(views)]
    means = compared.groupby(["suite", "variant", "metric", "scene", "seed"], sort=True)["value"].mean().dropna()
    scores: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
    for (suite, variant, metric, scene, seed), value in means.items():
        scores.setdefault((suite, variant, metric), {})[scene, seed] = float(value)
    return scores


# ------------------------------------------------------------------ writing


def write_csv(out: Path, header: list[str], table: list[dict]) -> None:
    """Write the rows under the header, numbers with 6 significant digits."""
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in table:
            writer.writerow([number_text(row[name], ".6g") for name in header])


def number_text(value: float | str | None, digits: str) -> str:
    """A table cell; empty when there is no number."""
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(value) else format(value, digits)


def grid_lines(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table; an empty cell is a dash."""
    escaped = [[cell.replace("|", "\\|") or "–" for cell in row] for row in rows]
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *escaped)]


def ranked(values: list[float | None], metric: Metric, among: list[bool] | None = None) -> list[str]:
    """Printed values with the best in bold and the second underlined; what prints alike ranks alike.

    among: which of them are ranked at all; None = all.
    """
    texts = [number_text(value, metric.digits) for value in values]
    among = [True] * len(texts) if among is None else among
    kept = [cell for cell, one in zip(texts, among, strict=True) if cell and one]
    ladder = sorted({float(cell) for cell in kept}, reverse=metric.arrow == "↑")
    if not metric.arrow or len(ladder) < 2:
        return texts
    marks = {ladder[0]: "**{}**", ladder[1]: "<u>{}</u>"}
    return [
        marks.get(float(cell), "{}").format(cell) if cell and one else cell
        for cell, one in zip(texts, among, strict=True)
    ]


def complete(rows: list[dict]) -> list[bool]:
    """Which rows have every scene that some row has: means over other objects are not ranked against each other."""
    scenes = [row.get("scenes", frozenset()) for row in rows]
    return [own == frozenset().union(*scenes) for own in scenes]


def unranked_lines(rows: list[dict]) -> list[str]:
    """A Markdown line that names the rows of fewer scenes, which carry no mark; none when all have the same."""
    total = len(frozenset().union(*(row.get("scenes", frozenset()) for row in rows)))
    partial = [
        f"{row['method']} ({row['n_scenes']} of {total})"
        for row, one in zip(rows, complete(rows), strict=True)
        if not one and row.get("scenes")
    ]
    return [f"- not ranked, since of other scenes than the rest: {', '.join(partial)}"] if partial else []


def metric_columns(rows: list[dict], metrics: dict[str, Metric]) -> tuple[list[str], list[list[str]]]:
    """Names of the metrics that some row has, and their cells by row: mean, standard error, rank.

    Ranked are rows with all scenes, and distances between sets with the largest N alone, since their bias falls with N.
    """
    shown = [name for name in metrics if any(row[name] is not None for row in rows)]
    columns, whole = [], complete(rows)
    for name in shown:
        counts = [row.get(f"{name}_count", 0) for row in rows]
        among = [one and count == max(counts) for one, count in zip(whole, counts, strict=True)]
        cells = ranked([row[name] for row in rows], metrics[name], among)
        errors = [number_text(row[f"{name}_se"], metrics[name].digits) for row in rows]
        columns.append([f"{cell} ± {error}" if error else cell for cell, error in zip(cells, errors, strict=True)])
    return shown, [list(cells) for cells in zip(*columns, strict=True)] or [[] for _ in rows]


def heading(name: str, metric: Metric) -> str:
    """A column's title: which direction is better, or that a score is not ranked."""
    mark = metric.arrow or ("(diagnostic)" if name in METRICS else "")
    return f"{name} {mark}".rstrip()


def absent_lines(rows: list[dict], names: Iterable[str]) -> list[str]:
    """A Markdown list of the metrics that no row has, by reason."""
    absent: dict[str, list[str]] = {}
    for name in names:
        for reason in sorted({row[f"{name}_reason"] for row in rows}):
            absent.setdefault(reason, []).append(name)
    return [f"- without a value: {', '.join(names)}: {why}" for why, names in absent.items()]


def network_lines(records: list[dict]) -> list[str]:
    """Which networks scored, by the sha256 of their weights, and which settings they had; none without networks."""
    if not records:
        return []
    digests = [f"{name} {digest}" for name, digest in sorted(records[0]["networks"].items())]
    settings = records[0]["settings"]["networks"]
    return [
        f"- networks (sha256 of the weights): {', '.join(digests) or 'none'}; scored on {records[0]['scored_on']}",
        f"- fid_frame: one FID per {settings['fid_grouping']}, resize {settings['fid_resize']}{_fid_bias(records)}; "
        "fvd_clip: one clip against one clip (the number that Consistent4D's script prints), not comparable with "
        "fvd_set",
    ]


def _fid_bias(records: list[dict]) -> str:
    """N and bias of the FIDs that are averaged; of one over all scenes its own reason says both."""
    grouping = records[0]["settings"]["networks"]["fid_grouping"]
    shortest = min(int(about["frames"]) for about in records)
    if grouping == "all" or shortest < 2:
        return ""
    counts = " or ".join(str(count) for count in sorted({int(about["frames"]) for about in records}))
    share = frechet.small_sample_bias(shortest, INCEPTION_FEATURES) / (2 * INCEPTION_FEATURES)
    return (
        f", each of {counts} frames {'a view ' if grouping == 'object' else ''}in {INCEPTION_FEATURES} dimensions, "
        f"which biases it upward (by up to {share:.0%} of the variance if isotropic): compare equal N only"
    )


def signed(value: float | None, metric: Metric) -> str:
    """A difference with its sign; what rounds to nothing prints as +0, not as -0."""
    return number_text(value, "+z" + metric.digits)


def estimate_cell(found: Estimate | None, metric: Metric) -> str:
    """Mean and interval of a difference, in bold when the interval does not cover 0."""
    if found is None:
        return NO_PAIR
    mean = signed(found.mean, metric)
    if found.low is None:
        return f"{mean}, {ONE_OBJECT}"
    cell = f"{mean} [{signed(found.low, metric)}, {signed(found.high, metric)}]"
    return f"**{cell}**" if found.significant else cell


def provenance_lines(records: list[dict]) -> list[str]:
    """What the numbers rest on: files, machine, versions, and how each metric is taken."""

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
