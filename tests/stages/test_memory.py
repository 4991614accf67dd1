"""Peak memory over a clip's length: ten times as many frames cost the scoring stages a tenth more at most, 60 frames
cost the fit hardly more than 16 do, and generated anchors cost what their own pixels take.

Each length runs in a process of its own, since a process never gives its peak back. `pytest -s` shows the figures.
Stages are imported where they run: torch would hide what `metrics` needs.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.cli import Reporter
from stages.contracts import Anchors, Frames, Gaussians, Sequence, Truth, Views
from stages.lib import weights
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG
from stages.settings import AnchorsRun, DynamicRun, MetricsRun, MetricsSettings, NetworksRun, NetworksSettings
from tests.memory import PEAK, STATUS, resident_mb

ROOT = Path(__file__).resolve().parents[2]
SHORT, LONG = 60, 600
# 600 frames of four clips are 39 MB, their gaussians 41 MB: held whole, either would show.
SIDE, N = 64, 1500
# A side at which the anchors of eight frames are already more than what saving them holds beside them (16 MB).
ANCHOR_SIDE = 384
NAMED = {"suite": "toys", "scene": "square", "variant": "stag4d", "title": "stag4d", "method": "stag4d"}


def write(folder: Path, count: int) -> None:
    """A square that goes round, with one ground-truth view and a cloud of gaussians that turns."""
    rgba = np.zeros((count, SIDE, SIDE, 4), np.uint8)
    for t in range(count):
        left = t % 30
        rgba[t, 20:40, left : left + 20] = (200, 90 + left, 40, 255)
    times = np.linspace(0, 1, count)
    angles = np.zeros((2, count)) + np.array([[0.0], [15.0]])
    darker = rgba // np.array([2, 2, 2, 1], np.uint8)
    Views(np.stack([darker, darker]), np.array(["input", "truth"]), angles, np.zeros_like(angles)).save(
        folder / "views.npz"
    )
    Frames(rgba, times, 0, 49.1, 2.0, 0.0).save(folder / "frames.npz")
    Truth(rgba[None], angles[1:], np.zeros((1, count))).save(folder / "truth.npz")
    none = np.zeros(0)
    Anchors(np.zeros((0, 0, SIDE, SIDE, 4), np.uint8), none.astype(np.int64), none, none, "rendered").save(
        folder / "anchors.npz"
    )
    rng = np.random.default_rng(0)
    means = np.repeat(rng.normal(0, 0.2, (1, N, 3)).astype(np.float32), count, axis=0)
    means[..., 0] += np.sin(np.arange(count, dtype=np.float32))[:, None] / 10
    Sequence(
        means,
        np.ones((count, N, 4), np.float32),
        np.full((count, N, 3), -4, np.float32),
        np.zeros((count, N), np.float32),
        np.zeros((N, 1, 3), np.float32),
        np.ones((count, N), bool),
        times,
    ).save(folder / "sequence.safetensors")


def score_metrics(folder: Path, report: Reporter) -> None:
    from stages import metrics

    run = MetricsRun(**NAMED, metrics=MetricsSettings())
    metrics.main(**inputs(folder), anchors=[folder / "anchors.npz"], out=folder / "m.csv", settings=run, report=report)


def score_networks(folder: Path, report: Reporter) -> None:
    """With stand-ins for all but I3D, which takes a clip whole by definition."""
    import torch

    from stages import networks
    from stages.lib.networks import Absent, Loaded, Networks, features, inception, resnet3d
    from tests.stages.test_networks import stand_in

    def without_i3d(name: str, device: torch.device) -> Loaded:
        if name == "i3d_kinetics":
            raise Absent("takes a clip whole")
        return stand_in(name, device)

    torch.set_num_threads(1)
    # Stand-ins look at nothing closely; what grows with a clip's length does not depend on these sides.
    networks.ORBIT_VIEWS = 1
    features.PROTOCOL_SIDE = features.CLIP_SIDE = inception.SIDE = resnet3d.SIDE = 24
    Networks.__init__.__defaults__ = (without_i3d,)
    run = NetworksRun(**NAMED, device="cpu", networks=NetworksSettings(batch=8))
    networks.main(**inputs(folder), out=folder / "n.csv", features=folder / "features.npz", settings=run, report=report)


def inputs(folder: Path) -> dict:
    """The files that both stages read, by the names of their parameters."""
    paths = {name: folder / f"{name}.npz" for name in ("views", "frames", "truth")}
    return paths | {"sequence": [folder / "sequence.safetensors"]}


def write_fit(folder: Path, count: int) -> None:
    """A disc that wanders, the same from all sides, and a cloud of gaussians as its canonical; of the embedded suite's
    size."""
    side, n = 128, 4500
    row, column = np.mgrid[:side, :side]
    rgba = np.zeros((count, side, side, 4), np.uint8)
    for t in range(count):
        rgba[t][np.hypot(row - 64, column - 60 - 8 * t / count) < 34] = (200, 90, 40, 255)
    Frames(rgba, np.linspace(0, 1, count), 0, 49.1, 2.0, 0.0).save(folder / "frames.npz")
    azimuth, elevation = np.array(ZERO123PP_V11_AZIMUTH_DEG), np.array(ZERO123PP_V11_ELEVATION_DEG)
    six = np.repeat(rgba[:, None], 6, axis=1)
    Anchors(six, np.arange(count), azimuth, elevation, "rendered").save(folder / "anchors.npz")
    rng = np.random.default_rng(0)
    Gaussians(
        rng.normal(0, 0.2, (n, 3)).astype(np.float32),
        rng.normal(0, 1, (n, 4)).astype(np.float32),
        np.full((n, 3), -4, np.float32),
        np.full(n, 2, np.float32),
        np.zeros((n, 1, 3), np.float32),
    ).save(folder / "canonical.ply")


def fit(folder: Path, report: Reporter) -> None:
    """4dstr's fit with a tenth of its images, but all rounds of growth, and sub-clips."""
    from stages import dynamic
    from stages.experiment import Experiment

    settings = Experiment({"dynamic": {"images": 360}, "device": "cpu"}).dynamic_json("4dstr", 0)
    paths = {name: folder / f"{name}.csv" for name in ("curve", "counts", "gradients")}
    paths |= {name: folder / f"{name}.npz" for name in ("frames", "anchors")}
    paths |= {"canonical": folder / "canonical.ply", "out": folder / "dynamic.safetensors"}
    paths |= {"checkpoints": folder / "checkpoints"}
    dynamic.main(**paths, settings=DynamicRun.model_validate_json(settings), report=report)


def write_clip(folder: Path, count: int) -> None:
    from tests.objects import frames_of

    frames_of("mouth", count, ANCHOR_SIDE).save(folder / "frames.npz")


def generate(folder: Path, report: Reporter) -> None:
    """Six views of every frame by the committed network, eight frames a batch; two steps hold what eight do."""
    from stages import anchors
    from stages.experiment import Experiment

    config = {"anchors": {"source": "micro", "micro": {"steps": 2, "frames_per_batch": 8}}, "device": "cpu"}
    told = Experiment(config | {"frames": {"size": ANCHOR_SIDE}}).anchors_json("embedded", "mouth", "micro", 0)
    receipt = ROOT / "resources" / "priors" / weights.MICRO / weights.RECEIPT
    run = AnchorsRun.model_validate_json(told)
    anchors.main(folder / "frames.npz", folder / "anchors.npz", run, report, [receipt])


def run(stage: str, folder: Path) -> None:
    """Run one stage on the files of a folder and print the peak memory of this process in MB."""
    report = Reporter(stage, "", io.StringIO(), io.StringIO())
    mains = {"metrics": score_metrics, "networks": score_networks, "dynamic": fit, "anchors": generate}
    mains[stage](folder, report)
    print(resident_mb(PEAK))


def peaks(stage: str, prepare: Callable[[Path, int], None], counts: tuple[int, int], folder: Path) -> dict[int, float]:
    """The peak memory in MB of one stage on files of so many frames, each in a process of its own."""
    found = {}
    for count in counts:
        place = folder / str(count)
        place.mkdir()
        prepare(place, count)
        program = (
            f"from pathlib import Path; from tests.stages import test_memory; test_memory.run({stage!r}, "
            f"Path({str(place)!r}))"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found[count] = float(done.stdout)
    print(f"{stage}: " + ", ".join(f"{count} frames {peak:.0f} MB" for count, peak in found.items()))
    return found


linux = pytest.mark.skipif(not STATUS.exists(), reason="peak memory is read from Linux' /proc")


@linux
@pytest.mark.parametrize("stage", ["metrics", "networks"])
def test_ten_times_as_many_frames_take_a_tenth_more_at_most(stage, tmp_path):
    found = peaks(stage, write, (SHORT, LONG), tmp_path)
    assert found[LONG] <= 1.10 * found[SHORT], found


@linux
def test_a_fit_of_60_frames_takes_little_more_than_one_of_16(tmp_path):
    found = peaks("dynamic", write_fit, (16, 60), tmp_path)
    # 1.15 is promised; measured here 1.09, on the embedded suite 1.10. With the pictures held twice it was 1.14 here.
    assert found[60] <= 1.12 * found[16], found


@linux
def test_generated_anchors_of_more_frames_take_the_frames_and_the_anchors_more(tmp_path):
    found = peaks("anchors", write_clip, (8, 24), tmp_path)
    seven_views = (24 - 8) * 7 * ANCHOR_SIDE**2 * 4 / 2**20
    # Measured here 67 to 69 MB for 63; held three times, as the pictures once were, it is 174.
    assert found[24] - found[8] <= seven_views + 12, found
