"""curves: loss and number of gaussians over the steps of every fit of a suite, and the gaussians in every frame.

Reads the curve CSVs that canonical and dynamic write and the gaussians.csv of dynamic; writes curves.png and
counts.png, a panel a scene. A method has one colour (Okabe and Ito's, for eyes that do not tell red from green) and one
dash (for print) in all panels of both; canonical fits are black.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.lib.charts import COLOURS, DASHES
from stages.settings import Run

matplotlib.use("Agg")
from matplotlib import pyplot

COLUMNS = 4
# Two panels fill the width of a printed page at 300 dots an inch.
DPI = 160
# One frame a step makes the loss noisy; this many rows of the curve are averaged.
SMOOTH_ROWS = 5


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step, loss and gaussians (M,) of one curve; empty for a fit without steps."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
    rows = np.loadtxt(lines, delimiter=",", ndmin=2) if lines else np.zeros((0, 5))
    return rows[:, 0], rows[:, 1], rows[:, 4]


def smooth(values: np.ndarray) -> np.ndarray:
    """A running mean that shortens at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - SMOOTH_ROWS)
    return (sums[ends] - sums[starts]) / (ends - starts)


def panel_name(path: Path) -> tuple[str, str]:
    """Scene and line label of results/<suite>/<scene>/<variant>/seed<k>/<stage>_curve.csv or gaussians.csv."""
    *_, scene, variant, seed, file = path.parts
    return scene, f"{file.removesuffix('.csv').removesuffix('_curve')} {variant} {seed}"


def read_counts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frame and gaussians (T,) after the last step of a gaussians.csv; empty for a fit without steps."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
    if not lines:
        return np.zeros(0), np.zeros(0)
    rows = np.loadtxt(lines, delimiter=",", ndmin=2)
    last = rows[rows[:, 0] == rows[:, 0].max()]
    return last[:, 1], last[:, 2]


def panels_of(paths: list[Path]) -> dict[str, list[Path]]:
    """The files by scene, both in the order given."""
    panels: dict[str, list[Path]] = {}
    for path in paths:
        panels.setdefault(panel_name(path)[0], []).append(path)
    return panels


def style(index: int) -> dict:
    """A line that is told from its neighbours by colour and, in print without colour, by dash."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.4}


def styles(paths: list[Path]) -> dict[str, dict]:
    """The line of every label: one a method and seed, whatever it shows of it; black ones for canonical fits."""
    labels = list(dict.fromkeys(panel_name(path)[1] for path in paths))
    fits = list(dict.fromkeys(label.split(" ", 1)[1] for label in labels if not label.startswith("canonical")))
    lines = {}
    for label in labels:
        kind, fit = label.split(" ", 1)
        place = [other for other in labels if other.startswith("canonical")].index(label) if kind == "canonical" else 0
        lines[label] = {**style(place), "color": "black"} if kind == "canonical" else style(fits.index(fit))
    return lines


def draw_curves(panels: dict[str, list[Path]]) -> pyplot.Figure:
    """Above the loss, below the number of gaussians over the steps, a column a scene."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (3.6 * columns, 4.2 * rows)
    figure, axes = pyplot.subplots(2 * rows, columns, figsize=size, squeeze=False, layout="constrained")
    drawn = styles([path for paths in panels.values() for path in paths])
    for axis in axes.flat:
        axis.set_visible(False)
    for number, (scene, paths) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        for path in paths:
            step, loss, gaussians = read(path)
            if len(step):
                label = panel_name(path)[1]
                above.semilogy(step, smooth(loss), label=label, **drawn[label])
                below.plot(step, gaussians, **drawn[label])
        above.set(title=scene, ylabel="loss", visible=True)
        below.set(xlabel="step", ylabel="gaussians", visible=True)
        for axis in (above, below):
            axis.grid(color="0.9")
        if above.lines:
            above.legend(fontsize=7)
    return figure


def draw_counts(panels: dict[str, list[Path]]) -> pyplot.Figure:
    """The gaussians present in each frame after the fit, a panel a scene."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (3.6 * columns, 2.6 * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    drawn = styles([path for paths in panels.values() for path in paths])
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (scene, paths) in zip(axes.flat, panels.items(), strict=False):
        highest = 1.0
        for path in paths:
            label = panel_name(path)[1]
            frame, gaussians = read_counts(path)
            axis.plot(frame, gaussians, label=label.removeprefix("gaussians "), **drawn[label])
            highest = max([highest, *gaussians])
        axis.set(title=scene, xlabel="frame", ylabel="gaussians", ylim=(0, 1.08 * highest))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color="0.9")
        axis.legend(fontsize=7)
    return figure


def main(curves: list[Path], counts: list[Path], out: Path, counts_out: Path, settings: Run, report: Reporter) -> None:
    """Draw the curves of a suite, and its gaussians by frame."""
    for path, figure in ((out, draw_curves(panels_of(curves))), (counts_out, draw_counts(panels_of(counts)))):
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
        pyplot.close(figure)
    report.say(f"wrote {out}: {len(curves)} curves, and {counts_out}: {len(counts)} fits")


if __name__ == "__main__":
    cli.run(main, "curves")
