"""The pictures of the ablation tables: one dot a scene, a black bar for their mean.

Conventions
-----------
- Colours are Okabe and Ito's, told apart by people who do not see red and green alike; each also has its own marker
  or dash, for print without colour.
- A dot is the mean over seeds of one scene. Equal inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd

from stages.contracts import replacing
from stages.lib.comparisons import Comparison
from stages.lib.scores import METRICS, heading

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

# Yellow comes last: it is faint on paper.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
# Metric and view.
DRAWN = (("psnr_masked", "evaluation"), ("tof", "evaluation"))
# Lines of fewer points show them.
MARKED_POINTS = 10

Lines = Mapping[str, Mapping[int, float]]
"""Value at every frame, by variant."""


@dataclass(frozen=True)
class Panel:
    """One metric of one suite over a quantity."""

    title: str
    values: pd.DataFrame
    """index: the quantity, columns: objects"""
    level: tuple[str, float] | None
    """name and height of a line to compare with"""


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _points(axis: Axes, table: pd.DataFrame, places: Sequence[float]) -> None:
    """Draw a table, one place a row and one line a column, with a black bar for the mean of each row."""
    for index, scene in enumerate(table.columns):
        colour, marker = _style(index)
        style = {"color": colour, "marker": marker, "markeredgecolor": "0.2", "markeredgewidth": 0.5}
        axis.plot(places, table[scene], linewidth=0.8, alpha=0.9, label=scene, **style)
    width = 0.22 * (max(places) - min(places)) / max(len(places) - 1, 1) or 0.22
    for place, mean in zip(places, table.mean(axis=1), strict=True):
        axis.hlines(mean, place - width, place + width, color="black", linewidth=2.2, zorder=3)
    axis.margins(x=0.12)
    axis.grid(axis="y", color="0.9")


def dots(axis: Axes, comparison: Comparison, scores: pd.DataFrame, metric: str, view: str = "evaluation") -> None:
    """Draw one metric of every variant on one kind of view; scores as `scene_scores` gives them."""
    chosen = scores[(scores["view"] == view) & (scores["metric"] == metric)]
    table = chosen.pivot_table(index="variant", columns="scene", values="mean")
    over_length = comparison.axis == "length"
    names = [variant.name for variant in comparison.variants]
    places = [variant.length if over_length else index for index, variant in enumerate(comparison.variants)]
    table = table.reindex(index=names, columns=comparison.scenes)
    _points(axis, table, places)
    where = "" if view == "evaluation" else f", {view}"
    axis.set_title(f"{heading(metric, METRICS[metric])}{where}", fontsize=10)
    if over_length:
        axis.set_xticks(places)
        axis.set_xlabel("T, frames the encoder sees")
    else:
        axis.set_xticks(places, names, rotation=25, ha="right")


def lines(axis: Axes, values: Lines, title: str, label: str = "frame") -> None:
    """Draw one line a variant over whole numbers, the frames of the clip unless `label` says otherwise."""
    for index, (variant, by_frame) in enumerate(values.items()):
        frames = sorted(by_frame)
        dash = DASHES[index % len(DASHES)]
        marks = {"marker": _style(index)[1]} if len(frames) < MARKED_POINTS else {}
        axis.plot(
            frames,
            [by_frame[frame] for frame in frames],
            color=_style(index)[0],
            linestyle=dash,
            **marks,
            label=variant,
        )
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(label)
    axis.grid(axis="y", color="0.9")
    if values:
        axis.legend(fontsize=7)


def write(
    out: Path,
    comparison: Comparison,
    scores: pd.DataFrame,
    extra: tuple[str, Lines] | None,
    drawn: Sequence[tuple[str, str]] = DRAWN,
) -> None:
    """Write the picture of a table: a panel for every metric and view of `drawn`.

    `extra` is the title and the values of a panel over the frames.
    """
    panels = len(drawn) + (extra is not None)
    figure, axes = pyplot.subplots(1, panels, figsize=(4.4 * panels, 3.8), layout="constrained", squeeze=False)
    axes = axes[0]
    for axis, (metric, view) in zip(axes, drawn, strict=False):
        dots(axis, comparison, scores, metric, view)
    if extra is not None:
        lines(axes[-1], extra[1], extra[0])
    figure.suptitle(f"{comparison.title}; suite {comparison.suite}", fontsize=11)
    handles, labels = axes[0].get_legend_handles_labels()
    mean = pyplot.Line2D([], [], color="black", linewidth=2.2)
    place = {"loc": "outside lower center", "ncols": min(len(labels) + 1, 8)}
    figure.legend([*handles, mean], [*labels, "mean of scenes"], fontsize=8, **place)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
    pyplot.close(figure)


def write_lines(out: Path, title: str, panels: Mapping[str, Lines], label: str, from_zero: Container[str] = ()) -> None:
    """Write a picture of several panels side by side, by title, over the same whole numbers; amounts begin at zero."""
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.4 * len(panels), 3.4), layout="constrained", squeeze=False
    )
    for axis, (name, values) in zip(axes[0], panels.items(), strict=True):
        lines(axis, values, name, label)
        axis.margins(x=0.12)
        if name in from_zero:
            axis.set_ylim(0, 1.06 * axis.dataLim.ymax)
    figure.suptitle(title, fontsize=11)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
    pyplot.close(figure)


def write_panels(out: Path, title: str, rows: Sequence[Sequence[Panel]], label: str) -> None:
    """Write a picture of rows of panels, one dot an object; `label` names what the horizontal axis counts."""
    wide, high = max(map(len, rows)), len(rows)
    figure, axes = pyplot.subplots(high, wide, figsize=(4.4 * wide, 3.6 * high), layout="constrained", squeeze=False)
    for row, drawn in zip(rows, axes, strict=True):
        for panel, axis in zip(row, drawn, strict=True):
            places = list(panel.values.index)
            _points(axis, panel.values, places)
            if panel.level:
                axis.axhline(panel.level[1], color="0.35", linestyle="--", linewidth=1.2, label=panel.level[0])
            axis.set_title(panel.title, fontsize=10)
            axis.set_xticks(places)
            axis.set_xlabel(label)
        # Outside, where it hides no object's points.
        drawn[-1].legend(*drawn[0].get_legend_handles_labels(), fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(f"{title}; black: mean of the objects", fontsize=11)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
    pyplot.close(figure)
