"""canonical, dynamic and bake on the moving ball: they learn, repeat bit for bit, resume, and refuse bad input."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import bake, canonical, dynamic
from stages.cli import StageError
from stages.contracts import ContractError, Gaussians, Sequence, load_tensors
from stages.lib import checkpoint, fit
from stages.lib.device import choose
from stages.lib.drawing import draw_rgba
from stages.settings import (
    BakeRun,
    CanonicalRun,
    CanonicalSettings,
    DensifySettings,
    DynamicRun,
    DynamicSettings,
    FieldSettings,
    SettingsError,
)

TINY = CanonicalSettings(steps=60, n_gaussians=200, densify=DensifySettings(interval=20, start=0.2, stop=0.9))
FIELD = FieldSettings(resolution=4, levels=1, channels=4, width=16)
MOVING = DynamicSettings(steps=60, field=FIELD, densify=DensifySettings(interval=25, start=0.2, stop=0.9))


@pytest.fixture
def files(tmp_path, scene):
    frames, anchors, _ = scene
    frames.save(tmp_path / "frames.npz")
    anchors.save(tmp_path / "anchors.npz")
    return tmp_path


def run_canonical(folder: Path, report, settings=TINY, name="a", seed=0):
    paths = {
        "out": folder / f"{name}.ply",
        "curve": folder / f"{name}.csv",
        "checkpoints": folder / f"{name}_checkpoints",
    }
    run = CanonicalRun(seed=seed, canonical=settings)
    canonical.main(folder / "frames.npz", folder / "anchors.npz", **paths, settings=run, report=report)
    return paths["out"]


def run_dynamic(folder: Path, report, base: Path, settings=MOVING, name="d", interval=30.0):
    paths = {"out": folder / f"{name}.safetensors", "curve": folder / f"{name}.csv"}
    run = DynamicRun(canonical=TINY, dynamic=settings, checkpoint_interval_s=interval)
    inputs = (base, folder / "frames.npz", folder / "anchors.npz")
    dynamic.main(*inputs, **paths, checkpoints=folder / f"{name}_checkpoints", settings=run, report=report)
    return paths["out"]


def run_bake(model: Path, report) -> Sequence:
    out = model.with_suffix(".sequence.safetensors")
    bake.main(model, out, BakeRun(), report)
    return Sequence.load(out)


def input_error(sequence: Sequence, frames) -> float:
    """Mean absolute colour error on white of the input view, 0 to 255."""
    drawn = np.stack([draw_rgba(sequence.frame(i), frames.cameras(0.0, 0.0))[0] for i in range(len(frames.times))])
    drawn, target = ((r[..., :3] * (r[..., 3:] / 255) + 255 - r[..., 3:]).astype(float) for r in (drawn, frames.rgba))
    return float(np.abs(drawn - target).mean())


def test_the_whole_fit_learns_the_motion(files, scene, report):
    base = run_canonical(files, report)
    still = run_bake(run_dynamic(files, report, base, DynamicSettings(method="static"), "static"), report)
    moving = run_bake(run_dynamic(files, report, base, MOVING.model_copy(update={"steps": 150})), report)
    assert input_error(moving, scene[0]) < 0.7 * input_error(still, scene[0])
    # The ball moves 0.3 to the right during the clip.
    weight = 1 / (1 + np.exp(-moving.opacity_logits[0]))
    centre = (moving.means[:, :, 0] * weight).sum(1) / weight.sum()
    assert 0.1 < centre[-1] - centre[0] < 0.4


def test_static_repeats_the_canonical(files, report):
    base = run_canonical(files, report)
    sequence = run_bake(run_dynamic(files, report, base, DynamicSettings(method="static")), report)
    for frame in range(4):
        assert np.array_equal(sequence.means[frame], Gaussians.load(base).means)
    assert sequence.present.all()


def test_two_fits_are_bitwise_equal_and_seeds_differ(files, report):
    first, second = (run_canonical(files, report, name=name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert run_canonical(files, report, name="c", seed=1).read_bytes() != first.read_bytes()
    assert (
        run_dynamic(files, report, first, name="x").read_bytes()
        == run_dynamic(files, report, first, name="y").read_bytes()
    )


class Killed(Exception):
    """Stands for a kill at a step; tests/workflow kills real processes."""


@pytest.mark.parametrize("step", [20, 40])
def test_a_killed_fit_ends_bitwise_equal(files, report, step, monkeypatch):
    base = run_canonical(files, report)
    whole = run_dynamic(files, report, base, name="whole")
    saved = checkpoint.save

    def save_then_die(path, identity, state):
        saved(path, identity, state)
        if state["step"] == step:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(Killed):
        run_dynamic(files, report, base, name="killed", interval=1e-9)
    assert not (files / "killed.safetensors").exists()
    monkeypatch.setattr(checkpoint, "save", saved)
    resumed = run_dynamic(files, report, base, name="killed", interval=30.0)
    assert f"resumed at step {step} of 60" in report.text
    assert resumed.read_bytes() == whole.read_bytes()
    assert (files / "killed.csv").read_bytes() == (files / "whole.csv").read_bytes()


def test_a_checkpoint_of_other_settings_is_not_used(files, report):
    run_canonical(files, report)
    run_canonical(files, report, TINY.model_copy(update={"steps": 61}))
    assert "is of other settings, inputs or code; starting from the first step" in report.text


def test_a_truncated_checkpoint_is_not_used(files, report):
    out = run_canonical(files, report)
    expected = out.read_bytes()
    path = files / "a_checkpoints" / "canonical.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert run_canonical(files, report).read_bytes() == expected
    assert "cannot be read" in report.text


def test_nan_in_a_checkpoint_is_refused(files, report):
    run_canonical(files, report)
    path = files / "a_checkpoints" / "canonical.pt"
    content = torch.load(path, weights_only=True)
    content["state"]["params"]["quats"][0, 0] = float("nan")
    torch.save(content, path)
    with pytest.raises(StageError, match=r"holds NaN or infinity in state.params.quats; .* Type `rm .*canonical.pt`"):
        run_canonical(files, report)


def test_a_loss_that_is_not_finite_stops_the_fit(files, report):
    settings = TINY.model_copy(update={"lr_means": 1e30, "lr_means_final": 1e30, "lr_log_scales": 1e30})
    with pytest.raises(StageError, match=r"became NaN or infinite by step \d+ of 60|every gaussian would be pruned"):
        run_canonical(files, report, settings)
    assert not (files / "a.ply").exists()


def test_an_anchor_missing_for_a_frame(files, scene, report):
    anchors = scene[1]
    dataclasses.replace(anchors, rgba=anchors.rgba[1:], frame=anchors.frame[1:]).save(files / "anchors.npz")
    with pytest.raises(ContractError, match="anchors of frame 0 are missing; expected anchors for all 4 frames"):
        run_canonical(files, report)


def test_bounds_that_do_not_contain_the_means(files, report):
    base = run_canonical(files, report)
    field = FIELD.model_copy(update={"bounds": 0.05})
    with pytest.raises(SettingsError, match="outside the deformation field's bounds"):
        run_dynamic(files, report, base, MOVING.model_copy(update={"field": field}))


def test_the_input_view_is_in_every_step_and_anchors_do_not_repeat():
    generator = torch.Generator().manual_seed(0)
    drawn = [fit._views(7, 3, generator) for _ in range(200)]
    assert all(views[0] == 0 and len(set(views)) == 4 for views in drawn)
    assert {view for views in drawn for view in views} == set(range(7))
    assert fit._views(7, 6, generator) == list(range(7))


def test_schedules_span_the_run(scene, report):
    frames, anchors, _ = scene
    run = DynamicRun(canonical=TINY, dynamic=MOVING)
    device = choose(run)
    goal = fit.targets(frames, anchors, device.device)
    start = canonical.initial_state(frames, anchors, goal, CanonicalRun(canonical=TINY), device)
    gaussians = Gaussians(**{name: value.detach().numpy() for name, value in start.params.items()})
    state = dynamic.initial_state(gaussians, 4, run, device)
    the_plan = dynamic.plan(run, 4)
    for progress, factor in ((0.0, 1.0), (0.5, MOVING.lr_decay**0.5), (1.0, MOVING.lr_decay)):
        fit._schedule(state, the_plan, progress)
        rates = {group["name"]: group["lr"] for group in state.field_adam.param_groups}
        assert rates["planes"] == pytest.approx(MOVING.lr_field * factor)
        assert rates["heads"] == pytest.approx(MOVING.lr_heads * factor)
    means = next(group["lr"] for group in state.adam.param_groups if group["name"] == "means")
    assert means == pytest.approx(MOVING.lr_canonical * TINY.lr_means_final)


def test_bake_equals_training_at_a_frame(files, scene, report):
    base = run_canonical(files, report)
    model = run_dynamic(files, report, base)
    sequence = run_bake(model, report)
    arrays, about = load_tensors(model)
    assert np.array_equal(arrays["times"], scene[0].times)
    assert about["supervision"] == "photometric"
    assert (about["device"], about["backend"]) == ("cpu", "numba")
    assert not np.array_equal(sequence.means[0], sequence.means[3])
    assert np.array_equal(sequence.sh, arrays["gaussians.sh"])
