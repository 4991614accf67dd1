"""speed: counts what is there and measures both rates, with and without a model of motion."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from stages import speed
from stages.contracts import save_tensors
from stages.lib.motion import Motion
from stages.settings import CanonicalSettings, DynamicRun, DynamicSettings, FieldSettings, Run, TemporalSettings

FIELD = FieldSettings(resolution=4, levels=1, channels=8, width=16)
TEMPORAL = TemporalSettings(encoder="gru", length=3, width=8, controls=None)


def measured(folder, scene, report, settings):
    frames = scene[0]
    frames.save(folder / "frames.npz")
    chance, count = np.random.default_rng(0), 40
    arrays = {
        "gaussians.means": chance.normal(0, 0.2, (count, 3)),
        "gaussians.quats": np.tile([1.0, 0, 0, 0], (count, 1)),
        "gaussians.log_scales": np.full((count, 3), -3.0),
        "gaussians.opacity_logits": np.zeros(count),
        "gaussians.sh": np.zeros((count, 1, 3)),
    }
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    present = np.ones((len(frames.times), count), bool)
    present[0, :20] = False
    motion = Motion(settings, len(frames.times), torch.Generator())
    if settings.method != "static":
        arrays |= {f"motion.{name}": value.numpy() for name, value in motion.state_dict().items()}
    run = DynamicRun(canonical=CanonicalSettings(), dynamic=settings)
    arrays |= {"present": present, "times": frames.times}
    save_tensors(folder / "dynamic.safetensors", arrays, {"settings": run.model_dump(mode="json")})
    speed.main(folder / "dynamic.safetensors", folder / "frames.npz", folder / "speed.csv", Run(), report)
    with open(folder / "speed.csv", newline="") as file:
        return {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}, motion


@pytest.mark.parametrize("temporal", [TEMPORAL, TemporalSettings()])
def test_parameters_counts_and_rates(tmp_path, scene, report, temporal):
    settings = DynamicSettings(field=FIELD, temporal=temporal)
    found, motion = measured(tmp_path, scene, report, settings)
    assert found["model_parameters"] == sum(p.numel() for p in motion.parameters())
    rest = 0 if motion.rectification is None else sum(p.numel() for p in motion.rectification.parameters())
    assert found["encoder_parameters"] == rest
    assert found["gaussians_per_frame"] == 35
    # Evaluating the model can only cost time.
    assert found["fps_baked"] > found["fps_network"] > 0


def test_static_has_no_model(tmp_path, scene, report):
    found, _ = measured(tmp_path, scene, report, DynamicSettings(method="static", field=FIELD))
    assert found["model_parameters"] == found["encoder_parameters"] == 0
