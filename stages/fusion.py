"""Stage fusion: generated anchors by the weight of temporal fusion, held against the truth and against no network.

Reads the likeness.csv of every scene, weight and seed, and of the constant answers; writes anchors.csv, its Markdown
and LaTeX twins and a picture. It tests STAG4D's claim that mixing the first frame's tokens into the self-attention of
the later ones keeps generated views consistent over time.

Vocabulary and conventions
--------------------------
- A *block* is one suite; blocks are never averaged together. An *object* is a scene.
- A *difference* is a weight's score minus that of weight 0, same object and seed; the *margin* is masked PSNR minus
  that of the best constant answer on the same object. The best constant answer is chosen by its mean over a block.
- The *verdict* on the claim is that of `stages.lib.statistics` on the difference of `warp_gap`, lower being better.
- Means are over objects of the mean over seeds; the standard error is over objects, and so are intervals.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import charts, latex
from stages.lib.scores import (
    METRICS,
    Metric,
    check_one_provenance,
    estimate_cell,
    fit_scores,
    grid_lines,
    heading,
    measured_rows,
    metric_columns,
    provenance_lines,
    read_all,
    scene_scores,
    write_csv,
)
from stages.lib.statistics import Estimate, estimate, paired_differences, verdict
from stages.settings import CONSTANT_ANSWERS, GENERATED, FusionBlock, FusionRun, fusion_name

SHOWN = {name: METRICS[name] for name in ("psnr_masked", "iou", "warp_gap")}
SHOWN |= {"warp_signed": Metric("", ".3g"), "tof": METRICS["tof"]}
DRAWN = ("psnr_masked", "iou", "warp_gap")
# By it the best constant answer is chosen, and a prior is held against that one.
RANKED = "psnr_masked"
CLAIMED = "warp_gap"
MARGIN = "margin"
ESTIMATE = ("", "_low", "_high")
HEADER = [
    *("suite", "answer", "source", "fusion", "n_scenes", "n_seeds", "frames", "size", "device"),
    *(name + end for name in SHOWN for end in ("", "_se", "_reason")),
    *(f"{name}_difference{end}" for name in SHOWN for end in ESTIMATE),
    *(MARGIN + end for end in ESTIMATE),
    "verdict",
]

Scores = dict[tuple[str, str, str], dict[tuple[str, str], float]]
"""By suite, variant and metric, then by scene and seed (`scores.fit_scores`)."""
Estimates = dict[tuple[float, str], Estimate | None]
"""By weight and metric; MARGIN is one of these."""


def check_whole(records: list[dict], settings: FusionRun) -> None:
    """Raise StageError unless every file that the settings name is there, no other, and one network drew them."""
    fusions = [(fusion_name(value), seed) for value in settings.fusions for seed in settings.seeds]
    answers = [(answer, 0) for answer in CONSTANT_ANSWERS]
    wanted = {
        (block.suite, scene, *one) for block in settings.blocks for scene in block.scenes for one in fusions + answers
    }
    given = {tuple(about["settings"][name] for name in ("suite", "scene", "variant", "seed")) for about in records}
    for word, others in (("lack", wanted - given), ("hold", given - wanted)):
        if others:
            suite, scene, variant, seed = min(others)
            raise StageError(
                f"the files {word} {variant} of {scene} in {suite}, seed {seed}, and {len(others) - 1} more; expected "
                "those that the settings name. Run the same command again."
            )
    networks = {str(about["weights"]) for about in records if about["settings"]["answer"] == GENERATED}
    if len(networks) > 1:
        raise StageError(
            f"anchors were drawn by {len(networks)} networks ({', '.join(sorted(networks))}); expected one. Delete the "
            "anchors of one and run again."
        )


# ------------------------------------------------------------------ rows


def best_constant(block: FusionBlock, scores: Scores) -> str | None:
    """The constant answer with the highest mean masked PSNR over a block."""
    means = {answer: estimate(scores.get((block.suite, answer, RANKED), {})) for answer in CONSTANT_ANSWERS}
    known = {answer: found.mean for answer, found in means.items() if found}
    return max(known, key=known.__getitem__, default=None)


def margins(own: dict[tuple[str, str], float], constant: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Score minus the constant answer's on the same object, for every object and seed; a constant has no seed."""
    by_object = {scene: value for (scene, _), value in constant.items()}
    return paired_differences(own, {key: by_object[key[0]] for key in own if key[0] in by_object})


def estimates(block: FusionBlock, scores: Scores, settings: FusionRun) -> Estimates:
    """Of every weight the difference to weight 0 by metric, none for 0 itself, and the margin."""
    best, found = best_constant(block, scores), {}
    for value in settings.fusions:
        own, base = (
            {name: scores.get((block.suite, fusion_name(weight), name), {}) for name in SHOWN} for weight in (value, 0)
        )
        found |= {(value, name): estimate(paired_differences(own[name], base[name])) for name in SHOWN if value}
        found[value, MARGIN] = estimate(margins(own[RANKED], scores.get((block.suite, best, RANKED), {})))
    return found


def _columns(prefix: str, found: Estimate | None) -> dict[str, float | None]:
    values = (found.mean, found.low, found.high) if found else (None, None, None)
    return dict(zip((prefix + end for end in ESTIMATE), values, strict=True))


def table_rows(rows: pd.DataFrame, by_block: dict[str, Estimates], settings: FusionRun) -> list[dict]:
    """One dictionary a block and weight or constant answer, with HEADER's columns, numbers as float or None."""
    measured = {(row["suite"], row["variant"]): row for row in measured_rows(rows, scene_scores(rows), SHOWN)}
    empty, table = dict.fromkeys(HEADER) | {"verdict": ""}, []
    for suite, found in by_block.items():
        for value in settings.fusions:
            about = {"answer": GENERATED, "source": settings.source, "fusion": f"{value:g}"}
            row = empty | measured[suite, fusion_name(value)] | about | _columns(MARGIN, found[value, MARGIN])
            if value:
                for name in SHOWN:
                    row |= _columns(f"{name}_difference", found[value, name])
                row["verdict"] = verdict(found[value, CLAIMED], "lower")
            table.append(row)
        for answer in CONSTANT_ANSWERS:
            table.append(empty | measured[suite, answer] | {"answer": answer, "source": "constant", "fusion": ""})
    return table


# ------------------------------------------------------------------ Markdown and LaTeX

NOTES = [
    "- Truth: the same cameras, drawn by the suite's own renderer. psnr_masked, iou: mean over six views and frames. "
    "warp_signed: flow-warp error of each view's clip, by the truth's own flow, minus the truth's error; warp_gap: its "
    "magnitude; 0 = as still as the truth. A frozen clip is not still by this measure where the object moves. tof: "
    "difference of the optical flows, pixels.",
    "- Differences: same object and seed. Intervals: 95 %, over objects, seeds averaged within it; percentile "
    "bootstrap, and Student's t with fewer than six objects; bold = 0 lies outside. With seven objects the bootstrap "
    "covers the true mean in about 87 % of cases.",
    "- Claim (STAG4D): fusion keeps the views consistent over time. It agrees or disagrees where the difference of "
    "warp_gap, lower being better, has an interval without 0. No interval is corrected for the number of weights.",
    "- Constant answers: the input view copied to all six sides, its mirror image, nothing at all, and the mean of "
    "each view over the pictures that the small prior was trained on. A prior that knows the sides beats the best.",
    "- Objects of the families on which the small prior was trained are in no block.",
]


def _label(row: dict) -> str:
    return f"fusion {row['fusion']}" if row["answer"] == GENERATED else row["answer"]


def _means(table: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a block's means, best in bold."""
    shown, cells = metric_columns(table, SHOWN)
    titles = ["answer", "objects", "seeds", *(heading(name, SHOWN[name]) for name in shown)]
    return titles, [[_label(row), row["n_scenes"], row["n_seeds"], *own] for row, own in zip(table, cells, strict=True)]


def _difference_lines(found: Estimates, best: str | None, settings: FusionRun) -> list[str]:
    """One line a weight: differences to weight 0, the verdict, and the margin over the best constant answer."""
    lines = []
    for value in settings.fusions:
        cells = [estimate_cell(found[value, name], metric) if value else "" for name, metric in SHOWN.items()]
        cells.append(verdict(found[value, CLAIMED], "lower") if value else "")
        margin = found[value, MARGIN]
        pairs = str(margin.n_pairs) if margin else "0"
        lines.append([f"fusion {value:g}", pairs, *cells, estimate_cell(margin, SHOWN[RANKED])])
    titles = ["", "pairs", *(heading(name, metric) for name, metric in SHOWN.items()), "claim"]
    return grid_lines([*titles, f"masked PSNR over `{best}`"], lines)


def _reason_lines(table: list[dict]) -> list[str]:
    found = dict.fromkeys((_label(row), row[f"{name}_reason"]) for row in table for name in SHOWN)
    return [f"- {label}: {reason}" for label, reason in found if reason]


def markdown_text(
    table: list[dict], scores: Scores, by_block: dict[str, Estimates], records: list[dict], run: FusionRun, plot: Path
) -> str:
    """The Markdown twin: each block's means and differences, notes and provenance."""
    drawn = next(about for about in records if about["settings"]["answer"] == GENERATED)
    lines = [
        "# Generated anchors by the weight of temporal fusion",
        "",
        f"Anchors by {run.source}, seeds {', '.join(map(str, run.seeds))}; {drawn['frames']} frames, {drawn['size']}, "
        f"drawn on {drawn['device']}. Mean over objects ± standard error; best in bold, second underlined.",
        "",
        f"![masked PSNR, IoU and warp gap by weight]({plot.name})",
    ]
    for block in run.blocks:
        own = [row for row in table if row["suite"] == block.suite]
        lines += ["", f"## Suite {block.suite} ({', '.join(block.scenes)})", "", *grid_lines(*_means(own))]
        reasons = _reason_lines(own)
        lines += ["", *reasons] if reasons else []
        lines += ["", "Difference to fusion 0, and margin over the best constant answer:", ""]
        lines += _difference_lines(by_block[block.suite], best_constant(block, scores), run)
    lines += ["", "## Notes", "", *NOTES, *provenance_lines(records)]
    lines.append(f"- sha256 of the network that drew: {drawn['weights']}")
    return "\n".join(lines) + "\n"


def latex_text(table: list[dict], settings: FusionRun) -> str:
    """The LaTeX twin: one table of means a block."""
    lines = ["% Best in bold, second underlined.", ""]
    for block in settings.blocks:
        titles, body = _means([row for row in table if row["suite"] == block.suite])
        caption = f"Generated anchors ({settings.source}) by the weight of temporal fusion, suite {block.suite}"
        lines += latex.table(caption, titles, body)
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------ picture


def panels(by_scene: pd.DataFrame, scores: Scores, settings: FusionRun) -> list[list[charts.Panel]]:
    """A row of panels a block: each object's score by weight, and the level of the best constant answer.

    by_scene: as `scores.scene_scores` gives it.
    """
    names = [fusion_name(value) for value in settings.fusions]
    rows = []
    for block in settings.blocks:
        best, row = best_constant(block, scores), []
        for metric in DRAWN:
            chosen = by_scene[(by_scene["suite"] == block.suite) & (by_scene["metric"] == metric)]
            table = chosen.pivot(index="variant", columns="scene", values="mean").reindex(columns=block.scenes)
            level = (f"constant: {best}", float(table.loc[best].mean())) if best else None
            values = table.loc[names].set_axis(settings.fusions)
            row.append(charts.Panel(f"{heading(metric, SHOWN[metric])}, {block.suite}", values, level))
        rows.append(row)
    return rows


def main(
    scores: list[Path], out: Path, markdown: Path, tex: Path, plot: Path, settings: FusionRun, report: Reporter
) -> None:
    """Collect the scores of all anchors into one table."""
    records, rows = read_all(sorted(scores))
    check_whole(records, settings)
    # Constant answers are drawn by no device.
    check_one_provenance(rows, {"anchors", "device"})
    check_one_provenance(rows[~rows["variant"].isin(CONSTANT_ANSWERS)])
    found = fit_scores(rows)
    by_block = {block.suite: estimates(block, found, settings) for block in settings.blocks}
    table = table_rows(rows, by_block, settings)
    write_csv(out, HEADER, table)
    text = markdown_text(table, found, by_block, records, settings, plot)
    for path, content in ((markdown, text), (tex, latex_text(table, settings))):
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    drawn = panels(scene_scores(rows), found, settings)
    charts.write_panels(plot, f"Anchors by {settings.source}", drawn, "anchors.fusion")
    report.say(f"wrote {out}: {len(table)} rows from {len(records)} files")


if __name__ == "__main__":
    cli.run(main, "fusion")
