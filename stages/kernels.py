"""Compile every Numba kernel that a run needs: `python -m stages.kernels`, once after an installation.

Numba compiles a kernel at its first call and keeps it in `__pycache__` (or NUMBA_CACHE_DIR). Left to the first jobs,
two that run at once would compile the same kernels. So this runs the stages themselves on a toy, with the settings of
the default configuration: whatever they call is compiled with the types and memory layouts that jobs have. It leaves
nothing but Numba's cache.

Vocabulary: the *toy* is a still ball, which looks the same from all cameras; a *part* is what one process compiles.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from stages.cli import Reporter
from stages.contracts import Anchors, Frames, Truth
from stages.experiment import Experiment
from stages.lib.cameras import EVALUATION_AZIMUTH_DEG, ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG
from stages.settings import AnchorsRun, BakeRun, CanonicalRun, DynamicRun, FramesRun, RendersRun, Run, parse

SIZE = 32
FRAMES = 4
# Few and small, but all that a fit does once: growth, and descents on single frames as well as on sub-clips. On the
# CPU also where there is a GPU: pictures of baked sequences are drawn by the same kernels there.
SMALL = {
    "device": "cpu",
    "frames": {"size": SIZE, "last": 1},
    "canonical": {"steps": 4, "n_gaussians": 64, "densify": {"rounds": 1}},
    "dynamic": {"images": 60, "densify": {"rounds": 1}},
}
# Every encoder; `layers3` has the kernels of encoders with more than one layer. The other variants add none.
VARIANTS = ("stag4d", "4dstr", "gru", "attention", "layers3")


def toy() -> tuple[Frames, Anchors, Truth]:
    """FRAMES pictures of a grey ball of radius 0.3 (a disc in every view), its anchors and evaluation views."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    inside = np.hypot(rows - SIZE / 2, columns - SIZE / 2) < 0.33 * SIZE / 2
    picture = np.where(inside[..., None], np.array([128, 128, 128, 255]), 0).astype(np.uint8)
    elevation, azimuth = np.array(ZERO123PP_V11_ELEVATION_DEG), np.array(ZERO123PP_V11_AZIMUTH_DEG)

    def repeated(*shape: int) -> np.ndarray:
        return np.tile(picture, (*shape, 1, 1, 1))

    angles = np.repeat(np.array(EVALUATION_AZIMUTH_DEG)[:, None], FRAMES, axis=1)
    return (
        Frames(repeated(FRAMES), np.linspace(0, 1, FRAMES), FRAMES // 2, 49.1, 2.0, 0.0),
        Anchors(repeated(FRAMES, len(azimuth)), np.arange(FRAMES), azimuth, elevation, "rendered"),
        Truth(repeated(len(angles), FRAMES), angles, np.zeros_like(angles)),
    )


def compile_suite(folder: Path) -> None:
    """What the embedded suite calls: two frames of one object, their evaluation views and anchors."""
    # Each part imports its own stages, since torch takes two seconds and drawing the suite needs none of it.
    from stages import anchors, frames

    experiment = Experiment(SMALL)
    frames.main(
        folder / "drawn.npz",
        folder / "drawn_truth.npz",
        _parsed(FramesRun, experiment.frames_json("embedded", "mouth")),
        _silent(),
    )
    anchors.main(
        folder / "drawn.npz",
        folder / "drawn_anchors.npz",
        _parsed(AnchorsRun, experiment.anchors_json("embedded", "mouth", "rendered", 0)),
        _silent(),
    )


def compile_fits(folder: Path) -> None:
    """What the fits of VARIANTS, their baked sequences and the pictures of these call."""
    from stages import bake, canonical, dynamic, renders

    experiment = Experiment(SMALL)
    frames, anchors, truth = (folder / f"{name}.npz" for name in ("frames", "anchors", "truth"))
    for content, path in zip(toy(), (frames, anchors, truth), strict=True):
        content.save(path)
    base, curve = folder / "canonical.ply", folder / "curve.csv"
    settings = _parsed(CanonicalRun, experiment.canonical_json("stag4d", 0))
    canonical.main(frames, anchors, base, curve, folder, settings, _silent())
    for variant in VARIANTS:
        settings = _parsed(DynamicRun, experiment.dynamic_json(variant, 0))
        model, counts, gradients = (folder / f"{variant}.{name}" for name in ("safetensors", "counts", "gradients"))
        checkpoints = folder / variant
        dynamic.main(base, frames, anchors, model, curve, counts, gradients, checkpoints, settings, _silent())
        sequence, views = folder / f"{variant}_sequence.safetensors", folder / f"{variant}.npz"
        bake.main(model, sequence, _parsed(BakeRun, experiment.bake_json(variant, 0)), _silent())
        settings = _parsed(RendersRun, experiment.renders_json(variant))
        renders.main(sequence, frames, anchors, truth, views, settings, _silent())


PARTS = (compile_fits, compile_suite)


def run_part(part: int) -> None:
    """Compile one of PARTS in this process, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        PARTS[part](Path(folder))


def main() -> None:
    """Compile all parts, each in a process of its own."""
    argparse.ArgumentParser(prog="python -m stages.kernels", description=__doc__.split("\n")[0]).parse_args()
    print("compiling the kernels (one to two minutes the first time)", file=sys.stderr)
    # Fresh processes, since a forked copy of torch's and Numba's threads hangs.
    with ProcessPoolExecutor(len(PARTS), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(run_part, range(len(PARTS))))


def _parsed(model: type[Run], text: str) -> Run:
    return parse(model, json.loads(text), "the toy's settings")


def _silent() -> Reporter:
    return Reporter("kernels", "", io.StringIO(), io.StringIO())


if __name__ == "__main__":
    main()
