"""ablations: variants of one method on the same scenes and seeds, as CSV, Markdown and a picture.

Reads the metrics.csv of every fit of a comparison, and beside it gaussians.csv, the fit's benchmark and, where the
comparison asks for it, speed.csv and gradients.csv; writes table2 to table5, the comparison of the methods, the sweep
of sizes, sds or anchor_cost.

Conventions
-----------
- Rows stand in the comparison's own order, one a variant; columns are those of table 1, then `psnr_sudden`,
  `gaussians` (mean per frame), `fit_s`, `fit_cpu_s`, `fit_mb`, and where they apply the encoder's figures and
  `length` (T).
- A difference is a variant's score minus its base's on the same scene and seed.
- Scores are those of evaluation views. A suite without them is compared on the input view and on the anchors, one after
  the other, by what can be scored there; the CSV then has a column `view`.
- All fits share one provenance, else nothing is written. A variant or scene that was not run has its reason.
- `fit_s`, `fit_cpu_s`, `fit_mb` and frame rates are measurements of this machine: they alone differ between equal runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.lib import charts, fit_files, latex, reported
from stages.lib.comparisons import AblationsRun, ComparedVariant, Comparison
from stages.lib.scores import (
    EXTRA_METRICS,
    HEADER,
    METRICS,
    NOT_SCORED,
    SPEED_METRICS,
    Metric,
    absent_lines,
    estimate_cell,
    fit_scores,
    grid_lines,
    heading,
    measured_rows,
    metric_columns,
    network_lines,
    provenance_lines,
    read_compared,
    read_networks,
    scene_scores,
    signed,
    unranked_lines,
    views_compared,
    with_sets,
    write_csv,
)
from stages.lib.statistics import estimate, paired_differences

DIFFERENCES = ("psnr_masked", "ssim", "tof", "dtssd", "warp_gap", "psnr", "psnr_sudden", "iou")
# Of training views, whose clips are not scored.
TRAINING_DIFFERENCES = ("psnr_masked", "ssim", "psnr", "psnr_sudden", "iou")
EVALUATION = "evaluation"
VIEW_TITLES = {EVALUATION: "evaluation views", "input": "input view", "anchor": "anchors"}
NEEDS_TRUTH = "scored on evaluation views only"
# The table of 4DSTR that a comparison repeats.
PAPER_TABLES = {"table2": "2", "table3": "3", "table4": "4", "table5": "5"}
# 4DSTR's own example of a sudden change is a mouth that opens.
COUNTED_SCENE = "mouth"

# ------------------------------------------------------------------ rows


def columns(comparison: Comparison) -> dict[str, Metric]:
    """Every metric of the table, in the header's order."""
    return METRICS | EXTRA_METRICS | (SPEED_METRICS if comparison.speed else {})


def differing(view: str) -> tuple[str, ...]:
    """The metrics whose paired differences are shown."""
    return DIFFERENCES if view == EVALUATION else TRAINING_DIFFERENCES


def header(comparison: Comparison, views: tuple[str, ...] = (EVALUATION,)) -> list[str]:
    """The columns of the CSV file."""
    appended = [name for name in columns(comparison) if name not in METRICS]
    lengths = ["length"] if comparison.axis == "length" else []
    kinds = [] if views == (EVALUATION,) else ["view"]
    return HEADER + [name + end for name in appended for end in ("", "_se", "_reason")] + lengths + kinds


def not_run(comparison: Comparison, variant: str, rows: pd.DataFrame) -> str:
    """Which scenes and seeds of a variant have no metrics; empty when all have."""
    own = rows[rows["variant"] == variant]
    done = set(zip(own["scene"], own["seed"], strict=True))
    if not done:
        return f"not run: no metrics of {variant}"
    missing = []
    for scene in comparison.scenes:
        seeds = [str(seed) for seed in comparison.seeds if (scene, str(seed)) not in done]
        missing += [f"{scene} seed {', '.join(seeds)}"] if seeds else []
    return f"not run: {'; '.join(missing)}" if missing else ""


def table_rows(comparison: Comparison, rows: pd.DataFrame, scores: pd.DataFrame, view: str = EVALUATION) -> list[dict]:
    """One dictionary per variant with `header`'s columns for one kind of view, numbers as float or None."""
    metrics = columns(comparison)
    measured = {row["variant"]: row for row in measured_rows(rows, scores, metrics, (view, "fit"))}
    empty = {name + end: None for name in metrics for end in ("", "_se")} | {f"{name}_reason": "" for name in metrics}
    table = []
    for variant in comparison.variants:
        row = measured.get(variant.name)
        missing = not_run(comparison, variant.name, rows)
        if row is None:
            row = dict.fromkeys(HEADER, "") | empty | {"method": variant.title, "variant": variant.name}
            row |= {"suite": comparison.suite, "source": "measured", "n_scenes": "0", "n_seeds": "0"}
        for name in metrics:
            if view != EVALUATION and row[f"{name}_reason"] == NOT_SCORED:
                row[f"{name}_reason"] = NEEDS_TRUTH
            # A metric that no fit has needs no list of fits.
            if missing and (row[name] is not None or row["n_scenes"] == "0"):
                row[f"{name}_reason"] = "; ".join(filter(None, [row[f"{name}_reason"], missing]))
        table.append(row | {"length": str(variant.length), "view": view})
    return table


# ------------------------------------------------------------------ differences


def differences(
    comparison: Comparison, rows: pd.DataFrame, view: str = EVALUATION
) -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    """Paired differences to its base by variant and metric, then by scene and seed."""
    scores = fit_scores(rows, (view, "fit"))
    found = {}
    for variant in comparison.variants:
        held_against = comparison.base_of(variant)
        for metric in differing(view):
            own, base = (scores.get((comparison.suite, name, metric), {}) for name in (variant.name, held_against))
            if variant.name != held_against:
                found[variant.name, metric] = paired_differences(own, base)
    return found


def _bases(comparison: Comparison) -> list[str]:
    """What variants are held against, in code marks."""
    return [f"`{name}`" for name in dict.fromkeys(map(comparison.base_of, comparison.variants))]


def _difference_label(comparison: Comparison, variant: ComparedVariant) -> str:
    """A variant's name, with its base where there are several."""
    several = len(_bases(comparison)) > 1
    return f"`{variant.name}` to `{comparison.base_of(variant)}`" if several else f"`{variant.name}`"


def _difference_block(comparison: Comparison, found: dict, view: str) -> list[str]:
    """One line a variant: mean over objects and interval of each metric."""
    metrics = METRICS | EXTRA_METRICS
    lines = []
    for variant in comparison.variants:
        if variant.name == comparison.base_of(variant):
            continue
        estimates = {metric: estimate(found[variant.name, metric]) for metric in differing(view)}
        widest = max((one for one in estimates.values() if one), key=lambda one: one.n_pairs, default=None)
        counts = [str(widest.n_objects), str(widest.n_pairs)] if widest else ["0", "0"]
        cells = [estimate_cell(one, metrics[metric]) for metric, one in estimates.items()]
        lines.append([_difference_label(comparison, variant), *counts, *cells])
    titles = ["variant", "objects", "pairs", *(heading(name, metrics[name]) for name in differing(view))]
    return grid_lines(titles, lines)


def _pair_block(comparison: Comparison, found: dict, view: str) -> list[str]:
    """One line a variant, scene and seed."""
    metrics, names = METRICS | EXTRA_METRICS, differing(view)
    lines = []
    for variant in comparison.variants:
        pairs = sorted({pair for metric in names for pair in found.get((variant.name, metric), {})})
        for pair in pairs:
            values = [found[variant.name, name].get(pair) for name in names]
            cells = [signed(value, metrics[name]) for value, name in zip(values, names, strict=True)]
            lines.append([_difference_label(comparison, variant), *pair, *cells])
    return grid_lines(["variant", "scene", "seed", *(heading(name, metrics[name]) for name in names)], lines)


# ------------------------------------------------------------------ Markdown


def _mean_block(comparison: Comparison, rows: pd.DataFrame, table: list[dict]) -> list[str]:
    """One line a variant, then what is missing and why."""
    metrics = columns(comparison)
    shown, cells = metric_columns(table, metrics)
    length = ["length"] if comparison.axis == "length" else []
    titles = ["variant", "method", *(["T"] if length else []), "scenes", "seeds"]
    about = ["method", *length, "n_scenes", "n_seeds"]
    lines = [
        [f"`{row['variant']}`", *(row[name] for name in about), *own] for row, own in zip(table, cells, strict=True)
    ]
    run = [row for row in table if row["n_scenes"] != "0"]
    missing = {variant.name: not_run(comparison, variant.name, rows) for variant in comparison.variants}
    return [
        *grid_lines(titles + [heading(name, metrics[name]) for name in shown], lines),
        "",
        *(f"- `{name}` {reason}" for name, reason in missing.items() if reason),
        *unranked_lines(run),
        *absent_lines(run, [name for name in metrics if name not in shown]),
    ]


NOTES = [
    "- Differences: variant minus its base, same scene and seed, evaluation views; ↑: above 0 is better, ↓: below 0 "
    "is; warp_gap is a distance from the ground truth's own value, so below 0 is nearer to it.",
    "- Intervals: 95 %, over objects, seeds averaged within their object; percentile bootstrap, and Student's t with "
    "fewer than six objects; bold = 0 lies outside. With seven objects the bootstrap covers the true mean in about "
    "87 % of cases.",
    "- psnr_sudden: PSNR over the pixels whose true colour changes by more than 0.1 between two frames, all frames "
    "pooled.",
    "- gaussians: mean per frame at the end of the fit. fit_s, fit_cpu_s, fit_mb: wall time and processor time in "
    "seconds and peak memory in megabytes of the fit's job; a fit that was resumed shows its last part only. Fits that "
    "differ in temporal rectification and sub-clips alone share what comes before them; its time is counted in for "
    "each.",
]
SPEED_NOTE = (
    "- fps_network: renders per second at one view with the network evaluated at every frame, as the paper means it; "
    "fps_baked: the same of the baked sequence."
)
TRAINING_NOTE = (
    "- This suite has no ground truth of other views, so methods are compared on what every fit has seen, the input "
    "view and the anchors, each by itself: how closely a fit follows them, not how it looks from elsewhere."
)


def _view_blocks(comparison: Comparison, rows: pd.DataFrame, table: list[dict], view: str) -> list[str]:
    """Means, differences and pairs of one kind of view."""
    found = differences(comparison, rows, view)
    on = "" if view == EVALUATION else f", {VIEW_TITLES[view]}"
    return [
        f"## Means, {VIEW_TITLES[view]}",
        "",
        *_mean_block(comparison, rows, [row for row in table if row["view"] == view]),
        "",
        f"## Difference to {' and '.join(_bases(comparison))}{on}",
        "",
        *_difference_block(comparison, found, view),
        "",
        "<details><summary>Every scene and seed</summary>",
        "",
        *_pair_block(comparison, found, view),
        "",
        "</details>",
        "",
    ]


def gradient_lines(metrics: list[Path]) -> list[str]:
    """Whether accumulated gradients are log-normal, over all rounds and frames of the fits beside these files."""
    tests = [fit_files.gradient_tests(path.parent) for path in metrics]
    found = np.array([test for fit in tests for test in fit]).reshape(-1, 2)
    if not len(found):
        return []
    rejected, fits = int((found[:, 0] > found[:, 1]).sum()), sum(map(bool, tests))
    return [
        "- 4DSTR says that the gradients which growth accumulates are log-normal. Here that is rejected (Lilliefors, "
        f"5 %) in {rejected} of {len(found)} rounds x frames of {fits} fits; median Kolmogorov-Smirnov distance "
        f"{np.median(found[:, 0]):.3f}, where {np.median(found[:, 1]):.3f} would be the bound."
    ]


def markdown_text(
    comparison: Comparison,
    records: list[dict],
    rows: pd.DataFrame,
    table: list[dict],
    plot: Path,
    papers: pd.DataFrame,
    networks: list[dict],
    gradients: list[str],
) -> str:
    """The Markdown twin: means, differences to the base, every pair, what the paper prints, notes and provenance."""
    printed = reported.markdown_lines(papers, "4DSTR", PAPER_TABLES.get(comparison.name, ""))
    views = tuple(dict.fromkeys(row["view"] for row in table))
    drawn = " and ".join(dict.fromkeys(metric for metric, _ in _drawn(views)))
    first = next(row for row in table if row["frames"])
    anchors, supervision = (
        " and ".join(sorted({row[name] for row in table} - {""})) for name in ("anchors", "supervision")
    )
    setting = f"{first['frames']} frames, {first['size']}, {first['device']}, {anchors} anchors, "
    seeds = ", ".join(map(str, comparison.seeds))
    lines = [
        f"# {comparison.title}",
        "",
        f"Suite {comparison.suite} ({', '.join(comparison.scenes)}), seeds {seeds}: {setting}"
        f"{supervision} supervision. Mean over scenes ± standard error; best in bold, second underlined.",
        "",
        f"![{drawn} of every scene]({plot.name})",
        "",
        *(line for view in views for line in _view_blocks(comparison, rows, table, view)),
        *(["## Reported by the paper (not measured here, not comparable)", "", *printed] if printed else []),
        "## Notes",
        "",
        *NOTES,
        *([SPEED_NOTE] if comparison.speed else []),
        *gradients,
        *([] if views == (EVALUATION,) else [TRAINING_NOTE]),
        *provenance_lines(records),
        *network_lines(networks),
    ]
    return "\n".join(lines) + "\n"


def latex_text(comparison: Comparison, table: list[dict], papers: pd.DataFrame) -> str:
    """The LaTeX twin: the means with best and second best marked, then the paper's own table, without marks."""
    metrics = columns(comparison)
    lines = ["% Best in bold, second underlined among measured rows; reported rows are copied and not ranked.", ""]
    for view in dict.fromkeys(row["view"] for row in table):
        own = [row for row in table if row["view"] == view]
        shown, cells = metric_columns(own, metrics)
        body = [[row["method"], *numbers] for row, numbers in zip(own, cells, strict=True)]
        title = comparison.title if view == EVALUATION else f"{comparison.title}, {VIEW_TITLES[view]}"
        lines += latex.table(title, ["method", *(heading(name, metrics[name]) for name in shown)], body)
    lines += reported.latex_lines(papers, "4DSTR", PAPER_TABLES.get(comparison.name, ""))
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ picture


def _drawn(views: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Metric and view of every panel."""
    return charts.DRAWN if views == (EVALUATION,) else tuple(("psnr_masked", view) for view in views)


def count_lines(comparison: Comparison, records: list[dict], metrics: list[Path]) -> tuple[str, charts.Lines]:
    """Gaussians of every frame of one scene, by variant, mean over seeds; and the panel's title."""
    scene = COUNTED_SCENE if COUNTED_SCENE in comparison.scenes else comparison.scenes[0]
    found: dict[str, list[dict[int, float]]] = {variant.name: [] for variant in comparison.variants}
    named = [(about["settings"], path) for about, path in zip(records, metrics, strict=True)]
    for settings, path in sorted(named, key=lambda one: one[0]["seed"]):
        counts = fit_files.gaussian_counts(path.parent)
        if settings["scene"] == scene and counts:
            found[settings["variant"]].append(counts)
    means = {variant: pd.DataFrame(counts).mean().to_dict() for variant, counts in found.items() if counts}
    return f"gaussians per frame, {scene}", means


def frame_lines(comparison: Comparison, rows: pd.DataFrame, view: str) -> tuple[str, charts.Lines]:
    """psnr_masked of every frame by variant, mean over seeds, then scenes; and the panel's title."""
    chosen = rows[(rows["view"] == view) & (rows["metric"] == "psnr_masked")]
    chosen = chosen.assign(frame=pd.to_numeric(chosen["frame"])).dropna(subset=["frame", "value"])
    scenes = chosen.groupby(["variant", "frame", "scene", "seed"])["value"].mean()
    scenes = scenes.groupby(level=["variant", "frame", "scene"]).mean()
    means = scenes.groupby(level=["variant", "frame"]).mean()
    names = [variant.name for variant in comparison.variants if variant.name in means.index.unique("variant")]
    return "psnr_masked ↑ over the clip", {name: {int(f): v for f, v in means[name].items()} for name in names}


def main(
    metrics: list[Path],
    papers: Path,
    out: Path,
    markdown: Path,
    tex: Path,
    plot: Path,
    settings: AblationsRun,
    report: Reporter,
    networks: list[Path] = (),
) -> None:
    """Collect the fits of one comparison into its table."""
    comparison = settings.comparison
    metrics = sorted(metrics)
    records, rows = read_compared(metrics, [comparison])
    scored, network_rows = read_networks(sorted(networks), records)
    rows = pd.concat([rows, network_rows], ignore_index=True) if scored else rows
    scores = scene_scores(rows)
    views = views_compared(rows) or (EVALUATION,)
    table = [row for view in views for row in table_rows(comparison, rows, scores, view)]
    table = with_sets(table, networks, records, scored)
    copied = reported.read(papers)
    write_csv(out, header(comparison, views), table)
    gradients = gradient_lines(metrics) if comparison.counts else []
    for path, text in (
        (markdown, markdown_text(comparison, records, rows, table, plot, copied, scored, gradients)),
        (tex, latex_text(comparison, table, copied)),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    extra = None
    if comparison.counts:
        extra = count_lines(comparison, records, metrics)
    elif comparison.axis == "frame":
        extra = frame_lines(comparison, rows, views[0])
    charts.write(plot, comparison, scores, extra, _drawn(views))
    report.say(f"wrote {out}: {len(table)} rows from {len(records)} fits")


if __name__ == "__main__":
    cli.run(main, "ablations")
