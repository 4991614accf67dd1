"""After `stages.kernels` no stage compiles anything."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from stages import anchors, assets, bake, canonical, dynamic, frames, kernels, mesh, metrics, renders, speed
from stages.experiment import ROOT, Experiment
from stages.settings import (
    AnchorsRun,
    AssetsRun,
    BakeRun,
    CanonicalRun,
    DynamicRun,
    ExportsRun,
    FramesRun,
    MetricsRun,
    RendersRun,
    Run,
)
from tests.conftest import Silent

SMALL = {
    "frames": {"size": 48, "last": 3},
    "canonical": {"steps": 12, "n_gaussians": 300, "densify": {"rounds": 2}},
    "dynamic": {"images": 200, "densify": {"rounds": 2}},
    "renders": {"size": 32, "orbit_frames": 4, "sheet_times": 2},
    "exports": {"mesh_resolution": 16},
}
# Also variants that the module itself leaves out.
VARIANTS = ("static", "stag4d", "4dstr", "controls_all", "gru_attributes", "attention", "layers3", "T2")


def signatures() -> set[tuple[str, str]]:
    """Every compiled signature of every kernel in the modules imported so far."""
    from numba.core.dispatcher import Dispatcher

    modules = [module for name, module in list(sys.modules.items()) if name.startswith("stages.")]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}
    return {
        (f"{kernel.py_func.__module__}.{kernel.__name__}", str(signature))
        for kernel in found
        for signature in kernel.signatures
    }


def run_stages(folder: Path) -> None:
    """All stages that call kernels on a drawn object, with other sizes and lengths than the module's."""
    experiment, report = Experiment(SMALL), Silent()

    def asked(model: type[Run], text: str) -> Run:
        return model.model_validate(json.loads(text))

    clip, truth, drawn = (folder / f"{name}.npz" for name in ("frames", "truth", "anchors"))
    frames.main(clip, truth, asked(FramesRun, experiment.frames_json("embedded", "walk")), report)
    for source in ("inflated", "rendered"):
        settings = asked(AnchorsRun, experiment.anchors_json("embedded", "walk", source, 0))
        anchors.main(clip, drawn, settings, report)
    base, curve = folder / "canonical.ply", folder / "curve.csv"
    canonical.main(
        clip, drawn, base, curve, folder, asked(CanonicalRun, experiment.canonical_json("stag4d", 0)), report
    )
    for variant in VARIANTS:
        place = folder / variant
        place.mkdir()
        model, counts, gradients = place / "model.safetensors", place / "counts.csv", place / "gradients.csv"
        settings = asked(DynamicRun, experiment.dynamic_json(variant, 0))
        dynamic.main(base, clip, drawn, model, curve, counts, gradients, place, settings, report)
        speed.main(model, clip, place / "speed.csv", asked(Run, experiment.speed_json(variant)), report)
        sequence, views = place / "sequence.safetensors", place / "views.npz"
        bake.main(model, sequence, asked(BakeRun, experiment.bake_json(variant, 0)), report)
        renders.main(sequence, clip, drawn, truth, views, asked(RendersRun, experiment.renders_json(variant)), report)
        settings = asked(MetricsRun, experiment.metrics_json("embedded", "walk", variant, 0))
        metrics.main(views, clip, truth, place / "metrics.csv", settings, report, [drawn], [sequence])
    settings = asked(AssetsRun, experiment.assets_json("4dstr", 0))
    made = (folder / name for name in ("orbit.mp4", "input.mp4", "sheet.png", "ply"))
    assets.main(sequence, clip, *made, settings, report)
    settings = asked(ExportsRun, experiment.exports_json("4dstr", 0))
    mesh.main(sequence, clip, folder / "mesh", folder / "animated.glb", settings, report)


def count_and_compare() -> None:
    """Print how many signatures there are before and after the module's parts, and which the stages then add."""
    counts = [len(signatures())]
    for part in range(len(kernels.PARTS)):
        kernels.run_part(part)
    before = signatures()
    with tempfile.TemporaryDirectory() as folder:
        run_stages(Path(folder))
    print(json.dumps([*counts, len(before), sorted(signatures() - before)]))


def test_the_stages_compile_nothing_afterwards():
    # A process of its own: kernels that other tests compiled would count as known.
    program = "from tests.stages.test_kernels import count_and_compare; count_and_compare()"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    at_start, compiled, new = json.loads(done.stdout.splitlines()[-1])
    assert new == []
    # Else kernels that are compiled at import, or none that were found, would pass.
    assert at_start == 0
    assert compiled >= 10


def test_help_says_what_it_does():
    command = [sys.executable, "-m", "stages.kernels", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Compile every Numba kernel" in done.stdout
