"""canonical, dynamic and bake on the moving ball: they learn, repeat bit for bit, resume, and refuse bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import bake, canonical, dynamic
from stages.cli import StageError
from stages.contracts import ContractError, Gaussians, Sequence, load_tensors
from stages.lib import baking, checkpoint, fit
from stages.lib.device import choose
from stages.lib.drawing import draw_rgba
from stages.lib.fit_files import BEGINNING, COUNT_COLUMNS, CURVE_COLUMNS
from stages.lib.imports import ROOT
from stages.lib.rectification import spread_over
from stages.settings import (
    BakeRun,
    BakeSettings,
    CanonicalRun,
    CanonicalSettings,
    DensifySettings,
    DynamicRun,
    DynamicSettings,
    FieldSettings,
    Run,
    SettingsError,
    TemporalSettings,
)

TINY = CanonicalSettings(steps=60, n_gaussians=200, densify=DensifySettings(rounds=3, start=0.2, stop=0.9))
FIELD = FieldSettings(resolution=4, levels=1, channels=8, width=16)
MOVING = DynamicSettings(
    images=420, anchor_views=6, field=FIELD, densify=DensifySettings(rounds=2, start=0.2, stop=0.9)
)


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


def run_dynamic(folder: Path, report, base: Path, settings=MOVING, name="d", interval=30.0, beginning=()):
    names = {"curve": "", "counts": "_gaussians", "gradients": "_gradients"}
    paths = {key: folder / f"{name}{end}.csv" for key, end in names.items()}
    paths["out"] = folder / f"{name}.safetensors"
    run = DynamicRun(canonical=TINY, dynamic=settings, checkpoint_interval_s=interval)
    inputs = (base, folder / "frames.npz", folder / "anchors.npz")
    paths["checkpoints"] = folder / name / "checkpoints"
    dynamic.main(*inputs, **paths, settings=run, report=report, beginning=beginning)
    return paths["out"]


def run_bake(model: Path, report, between: int = 0) -> Sequence:
    out = model.with_suffix(".sequence.safetensors")
    bake.main(model, out, BakeRun(bake=BakeSettings(between=between)), report)
    return Sequence.load(out)


def input_error(sequence: Sequence, frames) -> float:
    """Mean absolute colour error on white of the input view, 0 to 255."""
    drawn = np.stack([draw_rgba(sequence.frame(i), frames.cameras(0.0, 0.0))[0] for i in range(len(frames.times))])
    drawn, target = ((r[..., :3] * (r[..., 3:] / 255) + 255 - r[..., 3:]).astype(float) for r in (drawn, frames.rgba))
    return float(np.abs(drawn - target).mean())


def test_the_whole_fit_learns_the_motion(files, scene, report):
    base = run_canonical(files, report)
    still = run_bake(run_dynamic(files, report, base, DynamicSettings(method="static"), "static"), report)
    moving = run_bake(run_dynamic(files, report, base, MOVING.model_copy(update={"images": 1050})), report)
    assert input_error(moving, scene[0]) < 0.7 * input_error(still, scene[0])
    # The ball moves 0.3 to the right during the clip.
    weight = 1 / (1 + np.exp(-moving.opacity_logits[0]))
    centre = (moving.means[:, :, 0] * weight).sum(1) / weight.sum()
    assert 0.1 < centre[-1] - centre[0] < 0.4
    slow = run_bake(files / "d.safetensors", report, between=2)
    assert len(slow.times) == 10
    assert np.array_equal(slow.at(scene[0].times).means, moving.means)


def test_static_repeats_the_canonical(files, report):
    base = run_canonical(files, report)
    sequence = run_bake(run_dynamic(files, report, base, DynamicSettings(method="static")), report)
    for frame in range(4):
        assert np.array_equal(sequence.means[frame], Gaussians.load(base).means)
    assert sequence.present.all()


def test_the_static_method_and_what_follows_import_no_torch(files, scene, report):
    scene[2].save(files / "truth.npz")
    run_canonical(files, report)
    program = """
import sys
from pathlib import Path
from stages import anchors, bake, dynamic, frames, metrics, renders, tables
from stages.settings import BakeRun, BakeSettings, CanonicalSettings, DynamicRun, DynamicSettings
from stages.settings import MetricsRun, MetricsSettings, RendersRun, RendersSettings
from tests.conftest import Silent
names = ("frames.npz", "anchors.npz", "truth.npz", "a.ply", "static.safetensors", "sequence.safetensors", "views.npz")
clip, around, truth, base, model, sequence, views = (Path(name) for name in names)
written = [Path(f"{name}.csv") for name in ("curve", "counts", "gradients")]
settings = DynamicRun(canonical=CanonicalSettings(), dynamic=DynamicSettings(method="static"))
dynamic.main(base, clip, around, model, *written, Path("static"), settings, Silent())
bake.main(model, sequence, BakeRun(bake=BakeSettings()), Silent())
renders.main(sequence, clip, around, truth, views, RendersRun(renders=RendersSettings()), Silent())
told = {"suite": "a", "scene": "a", "variant": "static", "title": "static", "method": "static"}
settings = MetricsRun(**told, metrics=MetricsSettings())
metrics.main(views, clip, truth, Path("metrics.csv"), settings, Silent(), [around], [sequence])
assert "torch" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=files, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The same in this process, where torch is.
    again = run_dynamic(files, report, files / "a.ply", DynamicSettings(method="static"), "again")
    assert np.array_equal(Sequence.load(files / "sequence.safetensors").means, run_bake(again, report).means)
    about = load_tensors(files / "static.safetensors")[1]
    assert choose(Run()).describe().items() <= about.items()
    for name, columns in (("curve", CURVE_COLUMNS), ("counts", COUNT_COLUMNS)):
        assert (files / f"{name}.csv").read_text() == ",".join(columns) + "\n"


def test_a_fit_does_not_import_what_torch_compile_needs(files, report):
    run_canonical(files, report)
    program = """
import sys
from pathlib import Path
from stages import bake, dynamic
from stages.settings import BakeRun, BakeSettings, CanonicalSettings, DynamicRun
from tests.conftest import Silent
from tests.stages.test_fits import RECTIFIED
clip, around, base, model, sequence = (
    Path(name) for name in ("frames.npz", "anchors.npz", "a.ply", "dynamic.safetensors", "sequence.safetensors")
)
written = [Path(f"{name}.csv") for name in ("curve", "counts", "gradients")]
settings = DynamicRun(canonical=CanonicalSettings(), dynamic=RECTIFIED)
dynamic.main(base, clip, around, model, *written, Path("checkpoints"), settings, Silent())
bake.main(model, sequence, BakeRun(bake=BakeSettings()), Silent())
assert "torch" in sys.modules
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=files, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_two_fits_are_bitwise_equal_and_seeds_differ(files, report):
    first, second = (run_canonical(files, report, name=name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert run_canonical(files, report, name="c", seed=1).read_bytes() != first.read_bytes()
    assert (
        run_dynamic(files, report, first, name="x").read_bytes()
        == run_dynamic(files, report, first, name="y").read_bytes()
    )


RECTIFIED = MOVING.model_copy(
    update={
        "sub_clip": 2,
        "sub_clip_start": 0.0,
        "anchor_views": 2,
        "temporal": TemporalSettings(encoder="mamba", length=3, width=8, controls=20),
        "densify": DensifySettings(rounds=2, start=0.2, stop=0.9, scope="frame", max_gaussians=260),
    }
)


def test_a_rectified_fit_learns_and_repeats_bit_for_bit(files, scene, report):
    base, longer = run_canonical(files, report), RECTIFIED.model_copy(update={"images": 900})
    first, second = (run_dynamic(files, report, base, longer, name=name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    still = run_bake(run_dynamic(files, report, base, DynamicSettings(method="static"), "static"), report)
    assert input_error(run_bake(first, report), scene[0]) < 0.7 * input_error(still, scene[0])


def test_counts_and_gradients_are_saved_for_every_frame_and_round(files, report):
    base = run_canonical(files, report)
    model = run_dynamic(files, report, base, RECTIFIED, name="d")
    present = load_tensors(model)[0]["present"]
    rows = np.loadtxt(files / "d_gaussians.csv", delimiter=",", skiprows=1)
    steps = 420 // (2 * 3)
    assert sorted(set(rows[:, 0])) == [0, 14, 63, steps]
    assert rows[rows[:, 0] == steps][:, 2].tolist() == present.sum(1).tolist()
    assert present.sum() <= 260 * 4
    assert not present.all()
    gradients = np.loadtxt(files / "d_gradients.csv", delimiter=",", skiprows=1)
    assert sorted(set(gradients[:, 0])) == [14, 63]
    assert sorted(set(gradients[:, 1])) == [0, 1, 2, 3]


def test_equal_images_whatever_the_sub_clip():
    cases = (
        (1, 6, 0.0, 0, 900),
        (3, 2, 0.0, 0, 700),
        (2, 6, 0.0, 0, 450),
        (9, 2, 0.0, 0, 525),
        (3, 2, 0.4, 840, 1260),
        (1, 6, 0.5, 450, 900),
    )
    for sub_clip, anchor_views, start, singles, steps in cases:
        drawn = {"images": 6300, "sub_clip": sub_clip, "anchor_views": anchor_views, "sub_clip_start": start}
        the_plan = dynamic.plan(DynamicRun(canonical=TINY, dynamic=DynamicSettings(**drawn)), 4)
        assert the_plan.sub_clip == min(sub_clip, 4)
        assert the_plan.singles == singles
        assert the_plan.steps == steps
        assert the_plan.seen(the_plan.steps) == 6300 // (1 + anchor_views)
        assert the_plan.progress(0) == 0
        assert the_plan.progress(the_plan.steps) == 1


def test_rounds_come_at_the_same_share_of_images_for_every_plan():
    densify = DensifySettings(rounds=5, start=0.1, stop=0.9)
    for sub_clip, start in ((1, 0.0), (2, 0.0), (2, 0.5), (3, 0.25)):
        drawn = {"images": 1200, "anchor_views": 1, "sub_clip": sub_clip, "sub_clip_start": start, "densify": densify}
        the_plan = dynamic.plan(DynamicRun(canonical=TINY, dynamic=DynamicSettings(**drawn)), 4)
        shares = [the_plan.progress(step) for step in the_plan.rounds()]
        assert shares == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.01)


def longer(scene, n_frames: int):
    """The scene's four frames again and again, as a clip of so many."""
    frames, anchors, truth = scene
    index = np.arange(n_frames) % len(frames.times)
    clip = dataclasses.replace(frames, rgba=frames.rgba[index], times=np.linspace(0, 1, n_frames), key=0)
    return clip, dataclasses.replace(anchors, rgba=anchors.rgba[index], frame=np.arange(n_frames)), truth


def started(scene, run):
    """Device, targets and canonical gaussians of a fit of the scene."""
    frames, anchors, _ = scene
    device = choose(run)
    goal = fit.targets(frames, anchors, device.device)
    start = canonical.initial_state(frames, anchors, goal, CanonicalRun(canonical=TINY), device)
    return device, goal, Gaussians(**{name: value.detach().numpy() for name, value in start.params.items()})


def test_before_sub_clips_begin_a_rectified_fit_is_one_without_the_encoder(files, scene, report):
    found = []
    for temporal in (RECTIFIED.temporal, TemporalSettings()):
        settings = RECTIFIED.model_copy(update={"sub_clip_start": 0.5, "temporal": temporal})
        run = DynamicRun(canonical=TINY, dynamic=settings)
        device, goal, gaussians = started(scene, run)
        state = dynamic.initial_state(gaussians, 4, run, device)
        the_plan = dynamic.plan(run, 4)
        while state.step < the_plan.singles:
            fit._step(state, goal, the_plan, device, Path("none"))
            state.step += 1
        before = {name: value.clone() for name, value in state.params.items()}
        field = {name: value.clone() for name, value in state.motion.field.state_dict().items()}
        found.append(before | field)
        if temporal.encoder != "off":
            untrained = dynamic.initial_state(gaussians, 4, run, device).motion.rectification.state_dict()
            for name, value in state.motion.rectification.state_dict().items():
                assert torch.equal(value, untrained[name])
            assert len(fit.sub_clip(the_plan, state.step, state.generator)) == settings.sub_clip
            fit._step(state, goal, the_plan, device, Path("none"))
            assert any(
                not torch.equal(value, untrained[name])
                for name, value in state.motion.rectification.state_dict().items()
            )
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])


OTHERS = [
    {"encoder": "gru"},
    {"length": 2, "buffer": "attributes"},
    {"controls": 30},
    {"controls": None, "width": 16, "lr": 0.01},
    {"encoder": "off"},
]


@pytest.mark.parametrize(("scope", "others"), [("frame", OTHERS), ("clip", OTHERS[::4])])
def test_fits_share_what_comes_before_their_sub_clips(files, report, scope, others):
    densify = RECTIFIED.densify.model_copy(update={"scope": scope, "rounds": 3})
    owner = RECTIFIED.model_copy(update={"sub_clip_start": 0.5, "densify": densify})
    base, kept = run_canonical(files, report), [files / "beginning.pt"]
    first = run_dynamic(files, report, base, owner, name="owner")
    assert run_dynamic(files, report, base, owner, name="leaves", beginning=kept).read_bytes() == first.read_bytes()
    assert "begins at step" not in report.text
    assert not (files / "leaves" / BEGINNING).exists()
    told = kept[0].read_bytes()
    for index, changed in enumerate(others):
        other = owner.model_copy(update={"temporal": owner.temporal.model_copy(update=changed)})
        alone = run_dynamic(files, report, base, other, name=f"alone{index}")
        shared = run_dynamic(files, report, base, other, name=f"shared{index}", beginning=kept)
        assert report.text.count("begins at step 70, where") == index + 1
        assert shared.read_bytes() == alone.read_bytes() != first.read_bytes()
        for end in ("", "_gaussians", "_gradients"):
            assert (files / f"shared{index}{end}.csv").read_bytes() == (files / f"alone{index}{end}.csv").read_bytes()
        cost = json.loads((files / f"shared{index}" / BEGINNING).read_text())
        assert cost["s"] > 0
    assert kept[0].read_bytes() == told


@pytest.mark.parametrize("sub_clip", [2, 3])
def test_sub_clips_begin_where_single_frames_left_it(files, report, sub_clip):
    densify = RECTIFIED.densify.model_copy(update={"scope": "clip", "rounds": 3, "stop": 0.5})
    plain = {"sub_clip": 1, "sub_clip_start": 0.5, "densify": densify, "temporal": TemporalSettings()}
    owner = RECTIFIED.model_copy(update=plain)
    base, kept = run_canonical(files, report), [files / "beginning.pt"]
    first = run_dynamic(files, report, base, owner, name="owner")
    assert run_dynamic(files, report, base, owner, name="leaves", beginning=kept).read_bytes() == first.read_bytes()
    other = owner.model_copy(update={"sub_clip": sub_clip})
    alone = run_dynamic(files, report, base, other, name="alone")
    shared = run_dynamic(files, report, base, other, name="shared", beginning=kept)
    # 140 frames are seen, 70 of them in sub-clips: 35 pairs, or 23 triples, with which schedules end earlier.
    assert report.text.count("begins at step 70, where") == (sub_clip == 2)
    assert report.text.count("beginning.pt is of other settings") == (sub_clip == 3)
    assert shared.read_bytes() == alone.read_bytes() != first.read_bytes()


def test_the_cost_of_a_shared_beginning_survives_a_kill_and_no_longer(files, report, monkeypatch):
    settings = RECTIFIED.model_copy(update={"sub_clip_start": 0.5})
    base, kept = run_canonical(files, report), [files / "beginning.pt"]
    monkeypatch.setattr(fit._Stopwatch, "_now", staticmethod(lambda: {"s": next(seconds), "cpu_time": 0.0}))
    seconds, saved = iter(range(0, 100_000, 10)), checkpoint.save

    def save_then_die(path, identity, state, about):
        saved(path, identity, state, about)
        if state["step"] == 40:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(Killed):
        run_dynamic(files, report, base, settings, name="owner", interval=1e-9, beginning=kept)
    monkeypatch.setattr(checkpoint, "save", saved)
    run_dynamic(files, report, base, settings, name="owner", beginning=kept)
    # Looks at the watch: before the kill at the start and at steps 20 and 40, after it at the start and step 70.
    assert checkpoint.peek(kept[0])[1]["s"] == 20 + 10
    other = settings.model_copy(update={"temporal": TemporalSettings()})
    run_dynamic(files, report, base, other, name="other", beginning=kept)
    assert json.loads((files / "other" / BEGINNING).read_text())["s"] == 30
    run_dynamic(files, report, base, other.model_copy(update={"sub_clip_start": 0.0}), name="other", beginning=kept)
    assert not (files / "other" / BEGINNING).exists()


def test_a_round_at_the_last_step_leaves_controls(files, report):
    densify = RECTIFIED.densify.model_copy(update={"stop": 1.0})
    settings = RECTIFIED.model_copy(update={"densify": densify})
    model = run_dynamic(files, report, run_canonical(files, report), settings)
    assert (np.loadtxt(files / "d_gradients.csv", delimiter=",", skiprows=1)[:, 0] == 420 // 6).any()
    arrays = load_tensors(model)[0]
    assert len(arrays["spread.rows"]) == 20 and len(arrays["spread.nearest"]) == len(arrays["gaussians.means"])


def test_a_beginning_of_other_settings_is_not_used_but_replaced(files, report):
    owner = RECTIFIED.model_copy(update={"sub_clip_start": 0.5})
    other = owner.model_copy(update={"lr_field": 0.02})
    base, kept = run_canonical(files, report), [files / "beginning.pt"]
    run_dynamic(files, report, base, owner, name="owner", beginning=kept)
    told = kept[0].read_bytes()
    alone = run_dynamic(files, report, base, other, name="alone")
    assert run_dynamic(files, report, base, other, name="other", beginning=kept).read_bytes() == alone.read_bytes()
    assert "beginning.pt is of other settings" in report.text
    assert kept[0].read_bytes() != told


def test_every_frame_is_drawn_about_as_often():
    run = DynamicRun(canonical=TINY, dynamic=DynamicSettings(sub_clip=3, sub_clip_start=0))
    the_plan, generator = dynamic.plan(run, 12), torch.Generator().manual_seed(0)
    drawn = [fit.sub_clip(the_plan, 0, generator) for _ in range(3000)]
    assert all(len(frames) == 3 and frames[0] + 2 == frames[2] for frames in drawn)
    counts = np.bincount([frame for frames in drawn for frame in frames], minlength=12)
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.5 * counts.mean()


def test_memory_of_a_step_depends_on_the_sub_clip_and_not_on_the_clip(scene):
    """Bytes kept for the backward pass, at 16 and at 60 frames."""

    def kept(n_frames: int, sub_clip: int) -> int:
        settings = RECTIFIED.model_copy(update={"sub_clip": sub_clip})
        run = DynamicRun(canonical=TINY, dynamic=settings)
        device, goal, gaussians = started(longer(scene, n_frames), run)
        state = dynamic.initial_state(gaussians, n_frames, run, device)
        state.generator.manual_seed(8)
        sizes: dict[int, int] = {}

        def note(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            fit._step(state, goal, dynamic.plan(run, n_frames), device, Path("none"))
        return sum(sizes.values())

    assert kept(60, 2) < 1.15 * kept(16, 2)
    assert kept(16, 6) > 2 * kept(16, 2)


def test_a_window_longer_than_the_clip_and_a_clip_of_two_frames(files, scene, report):
    frames, anchors, _ = scene
    dataclasses.replace(frames, rgba=frames.rgba[:2], times=np.array([0.0, 1.0]), key=0).save(files / "frames.npz")
    dataclasses.replace(anchors, rgba=anchors.rgba[:2], frame=anchors.frame[:2]).save(files / "anchors.npz")
    base = run_canonical(files, report)
    settings = RECTIFIED.model_copy(
        update={"sub_clip": 5, "temporal": RECTIFIED.temporal.model_copy(update={"length": 10})}
    )
    assert run_bake(run_dynamic(files, report, base, settings), report).means.shape[0] == 2
    assert "70 steps on 2 of 2 frames and 3 views" in report.text


def test_a_gradient_that_is_not_finite_names_its_frame(files, report, monkeypatch):
    base = run_canonical(files, report)
    draw, drawn = fit.draw, []

    def broken(gaussians, *arguments, **options):
        rendered = draw(gaussians, *arguments, **options)
        drawn.append(rendered)
        if len(drawn) == 2:
            rendered.image.register_hook(lambda gradient: gradient * float("nan"))
        return rendered

    monkeypatch.setattr(fit, "draw", broken)
    with pytest.raises(StageError, match=r"the gradient of frame \d became NaN or infinite at step 1 of 70"):
        run_dynamic(files, report, base, RECTIFIED)


def test_match_ends_at_the_other_fits_count(files, report):
    base = run_canonical(files, report)
    other = run_dynamic(files, report, base, RECTIFIED, name="other")
    wanted = round(float(load_tensors(other)[0]["present"].sum(1).mean()))
    densify = DensifySettings(mode="match", match="other", rounds=3, start=0.2, stop=0.9)
    paths = {name: files / f"m_{name}.csv" for name in ("curve", "counts", "gradients")}
    run = DynamicRun(canonical=TINY, dynamic=MOVING.model_copy(update={"densify": densify}))
    dynamic.main(
        base,
        files / "frames.npz",
        files / "anchors.npz",
        files / "m.safetensors",
        **paths,
        checkpoints=files / "m",
        settings=run,
        report=report,
        match=[other],
    )
    assert len(load_tensors(files / "m.safetensors")[0]["gaussians.means"]) == wanted


class Killed(Exception):
    """Stands for a kill at a step; tests/workflow kills real processes."""


@pytest.mark.parametrize(("step", "settings", "steps"), [(20, MOVING, 60), (40, MOVING, 60), (40, RECTIFIED, 70)])
def test_a_killed_fit_ends_bitwise_equal(files, report, step, settings, steps, monkeypatch):
    base = run_canonical(files, report)
    whole = run_dynamic(files, report, base, settings, name="whole")
    saved = checkpoint.save

    def save_then_die(path, identity, state, about):
        saved(path, identity, state, about)
        if state["step"] == step:
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(Killed):
        run_dynamic(files, report, base, settings, name="killed", interval=1e-9)
    assert not (files / "killed.safetensors").exists()
    monkeypatch.setattr(checkpoint, "save", saved)
    resumed = run_dynamic(files, report, base, settings, name="killed", interval=30.0)
    assert f"resumed at step {step} of {steps}" in report.text
    assert resumed.read_bytes() == whole.read_bytes()
    for end in ("", "_gaussians", "_gradients"):
        assert (files / f"killed{end}.csv").read_bytes() == (files / f"whole{end}.csv").read_bytes()


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
    with pytest.raises(SettingsError, match=r"gaussians lie outside the deformation field's bounds of 0\.05"):
        run_dynamic(files, report, base, MOVING.model_copy(update={"field": field}))


def test_the_input_view_is_in_every_step_and_anchors_do_not_repeat():
    generator = torch.Generator().manual_seed(0)
    drawn = [fit._views(7, 3, generator) for _ in range(200)]
    assert all(views[0] == 0 and len(set(views)) == 4 for views in drawn)
    assert {view for views in drawn for view in views} == set(range(7))
    assert fit._views(7, 6, generator) == list(range(7))


def test_schedules_span_the_run(scene, report):
    run = DynamicRun(canonical=TINY, dynamic=MOVING)
    device, _, gaussians = started(scene, run)
    state = dynamic.initial_state(gaussians, 4, run, device)
    the_plan = dynamic.plan(run, 4)
    for progress, factor in ((0.0, 1.0), (0.5, MOVING.lr_decay**0.5), (1.0, MOVING.lr_decay)):
        fit._schedule(state, the_plan, progress)
        rates = {group["name"]: group["lr"] for group in state.motion_adam.param_groups}
        assert rates["planes"] == pytest.approx(MOVING.lr_field * factor)
        assert rates["heads"] == pytest.approx(MOVING.lr_heads * factor)
    means = next(group["lr"] for group in state.adam.param_groups if group["name"] == "means")
    assert means == pytest.approx(MOVING.lr_canonical * TINY.lr_means_final)


LONG = 8


def trained_and_baked(scene, folder: Path, buffer: str, controls: int | None):
    """State, targets and plan of a fit of eight frames after a round of growth, and what its checkpoint bakes to.

    Its rectification is stirred, so that it matters, and gaussians are absent here and there, so that some histories
    have gaps.
    """
    temporal = TemporalSettings(encoder="mamba", length=3, width=8, controls=controls, buffer=buffer)
    run = DynamicRun(canonical=TINY, dynamic=RECTIFIED.model_copy(update={"temporal": temporal}))
    device, goal, gaussians = started(longer(scene, LONG), run)
    state, plan = dynamic.initial_state(gaussians, LONG, run, device), dynamic.plan(run, LONG)
    for _ in range(4):
        fit._step(state, goal, plan, device, Path("none"))
        state.step += 1
    fit._densify(state, goal, plan, 1)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in state.motion.rectification.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
    gaps = torch.rand(state.present.shape, generator=chance) < 0.3
    gaps[:, :60] = False
    state.present &= ~gaps
    state.spread = spread_over(state.places, state.present, temporal)
    checkpoint.save(folder / "dynamic.pt", "any", fit.pack(state), fit.about(plan, goal))
    return state, goal, plan, baking.live(folder / "dynamic.pt", device.device)


def away(baked: Sequence, first: int, rows: torch.Tensor, moved: dict[str, torch.Tensor]) -> np.ndarray:
    """Differences of two frames of some gaussians from the baked sequence, all attributes in one row."""
    here = {name: getattr(baked, name)[first : first + 2][:, rows.numpy()] for name in moved}
    return np.concatenate([(value.detach().numpy() - here[name]).ravel() for name, value in moved.items()])


def seen(state, goal, plan, first: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Gaussians and attributes of two frames as a step of the fit has them, after its warm-up."""
    return fit._moved(state, goal, plan, range(first, first + 2))


@pytest.mark.parametrize("controls", [20, None])
def test_baking_equals_training_wherever_a_sub_clip_starts(scene, tmp_path, controls):
    """With attributes in the buffer a frame's history is its T - 1 = 2 predecessors, so warm-up repeats all of it."""
    state, goal, plan, baked = trained_and_baked(scene, tmp_path, "attributes", controls)
    assert not state.present.all()
    for first in (0, 1, 4, 6):
        assert np.abs(away(baked, first, *seen(state, goal, plan, first))).max() < 1e-5


@pytest.mark.parametrize("controls", [20, None])
def test_baking_equals_training_with_features_while_warm_up_reaches_the_first_frame(scene, tmp_path, controls):
    """A feature holds what was before the buffer began: exact up to frame T - 1, and later nearer than with no past."""
    state, goal, plan, baked = trained_and_baked(scene, tmp_path, "features", controls)
    for first in (0, 1, 2):
        assert np.abs(away(baked, first, *seen(state, goal, plan, first))).max() < 1e-5
    for first in (4, 6):
        rows, moved = seen(state, goal, plan, first)
        times, present = goal.times[first : first + 2], state.present[first : first + 2]
        cold, _ = state.motion(state.params, times, present, state.spread, (), rows)
        late, without = (np.linalg.norm(away(baked, first, rows, found)) for found in (moved, cold))
        assert 1e-5 < late < 0.5 * without


def test_the_baked_sequence_has_the_fits_times_record_and_colours(files, scene, report):
    base = run_canonical(files, report)
    model = run_dynamic(files, report, base)
    sequence = run_bake(model, report)
    arrays, about = load_tensors(model)
    assert np.array_equal(arrays["times"], scene[0].times)
    assert about["supervision"] == "photometric"
    assert (about["device"], about["backend"]) == ("cpu", "numba")
    assert not np.array_equal(sequence.means[0], sequence.means[3])
    assert np.array_equal(sequence.sh, arrays["gaussians.sh"])
