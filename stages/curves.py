"""curves: the loss and the number of gaussians over the steps of every fit of a suite.

Reads the curve CSVs that canonical and dynamic write; writes one PNG, a panel a scene.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import replacing
from stages.settings import Run

matplotlib.use("Agg")
from matplotlib import pyplot

COLUMNS = 4
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
    """Scene and line label of results/<suite>/<scene>/<variant>/seed<k>/<stage>_curve.csv."""
    *_, scene, variant, seed, file = path.parts
    return scene, f"{file.removesuffix('_curve.csv')} {variant} {seed}"


def main(curves: list[Path], out: Path, settings: Run, report: Reporter) -> None:
    """Draw the curves of a suite."""
    panels: dict[str, list[Path]] = {}
    for path in curves:
        panels.setdefault(panel_name(path)[0], []).append(path)
    rows = -(-len(panels) // COLUMNS)
    figure, axes = pyplot.subplots(
        rows, COLUMNS, figsize=(3.6 * COLUMNS, 2.8 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (scene, paths) in zip(axes.flat, panels.items(), strict=False):
        count = axis.twinx()
        for path in paths:
            step, loss, gaussians = read(path)
            if len(step):
                (line,) = axis.semilogy(step, smooth(loss), label=panel_name(path)[1])
                count.plot(step, gaussians, color=line.get_color(), linestyle=":", linewidth=1)
        axis.set(title=scene, xlabel="step", ylabel="loss")
        count.set_ylabel("gaussians (dotted)")
        axis.legend(fontsize=7)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
    report.say(f"wrote {out}: {len(curves)} curves")


if __name__ == "__main__":
    cli.run(main, "curves")
