"""canonical and dynamic under score distillation by tiny random networks: on, off, killed, and with bad input."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny_zero123 as tiny

from stages import canonical, dynamic, weights
from stages.cli import Reporter, StageError
from stages.contracts import Gaussians, load_tensors
from stages.lib import checkpoint, fit
from stages.lib import guidance as sds
from stages.lib import weights as lib
from stages.lib.device import choose
from stages.lib.diffusion import distillation, zero123
from stages.lib.diffusion.distillation import Conditions, Guidance, LinearEncoder
from stages.lib.diffusion.zero123 import Zero123
from stages.lib.diffusion.zero123plus import Preprocessor
from stages.lib.drawing import draw_rgba, white
from stages.lib.gaussians import from_tensors, to_tensors
from stages.settings import (
    CanonicalRun,
    CanonicalSettings,
    DensifySettings,
    DynamicRun,
    DynamicSettings,
    FieldSettings,
    GuidanceSettings,
    PhotometricSettings,
    WeightsRun,
    WeightsSettings,
)

OFF = DensifySettings(mode="off")
STILL = CanonicalSettings(steps=12, n_gaussians=80, densify=OFF)
MOVING = DynamicSettings(
    images=36, anchor_views=2, field=FieldSettings(resolution=4, levels=1, channels=4, width=8), densify=OFF
)
GUIDED = GuidanceSettings(model="zero123_xl", weight=0.1)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A folder of networks and their manifest."""
    torch.set_num_threads(1)
    return tiny.manifest(tmp_path_factory.mktemp("networks")).parent


@pytest.fixture
def files(tmp_path, scene, networks, monkeypatch) -> Path:
    """frames.npz, anchors.npz, and the networks linked by stage weights."""
    monkeypatch.setattr(lib, "MANIFEST", networks / "weights.yaml")
    scene[0].save(tmp_path / "frames.npz")
    scene[1].save(tmp_path / "anchors.npz")
    for name in ("zero123_xl", "stable_zero123"):
        log = io.StringIO()
        settings = WeightsRun(name=name, weights=WeightsSettings(folder=str(networks)))
        weights.main(tmp_path / "weights" / name / "receipt.json", settings, Reporter("weights", name, log, log))
    return tmp_path


def receipt(folder: Path, guidance: GuidanceSettings | None) -> list[Path]:
    return [] if guidance is None else [folder / "weights" / guidance.model / "receipt.json"]


def run_canonical(folder: Path, report, guidance=None, name="a", settings=STILL, weights_at=None) -> Path:
    paths = {"out": folder / f"{name}.ply", "curve": folder / f"{name}.csv", "checkpoints": folder / f"{name}_kept"}
    run = CanonicalRun(canonical=settings, guidance=guidance)
    inputs = folder / "frames.npz", folder / "anchors.npz"
    given = weights_at or receipt(folder, guidance)
    canonical.main(*inputs, **paths, settings=run, report=report, weights=given)
    return paths["out"]


def run_dynamic(
    folder: Path, report, base: Path, guidance=None, name="d", settings=MOVING, interval=30.0, weights_at=None
) -> Path:
    paths = {key: folder / f"{name}_{key}.csv" for key in ("curve", "counts", "gradients")}
    run = DynamicRun(canonical=STILL, dynamic=settings, guidance=guidance, checkpoint_interval_s=interval)
    out = folder / f"{name}.safetensors"
    inputs = base, folder / "frames.npz", folder / "anchors.npz", out
    dynamic.main(
        *inputs,
        **paths,
        checkpoints=folder / f"{name}_kept",
        settings=run,
        report=report,
        weights=weights_at or receipt(folder, guidance),
    )
    return out


def opened(files, clip, anchors, settings, report, frames=range(2, 4), span=(0.0, 1.0)) -> Guidance:
    device = choose(CanonicalRun(canonical=STILL))
    return sds.open_guidance(settings, receipt(files, settings), clip, anchors, frames, span, device, report)


def equal(first: Path, second: Path) -> bool:
    """Whether two fits ended with the same numbers, whatever their records say."""
    if first.suffix == ".ply":
        one, two = vars(Gaussians.load(first)), vars(Gaussians.load(second))
    else:
        one, two = load_tensors(first)[0], load_tensors(second)[0]
    return all(np.array_equal(one[name], two[name]) for name in one if isinstance(one[name], np.ndarray))


@pytest.fixture
def base(files, report) -> Path:
    return run_canonical(files, report)


def test_a_term_of_weight_0_is_bitwise_no_term(files, report, base):
    """So a fit without guidance is untouched by the code around it, and one with it draws the same numbers."""
    nothing = GUIDED.model_copy(update={"weight": 0.0})
    assert equal(base, run_canonical(files, report, nothing, "zero"))
    clip = MOVING.model_copy(update={"sub_clip": 2})
    for settings in (MOVING, clip):
        plain = run_dynamic(files, report, base, None, "plain", settings)
        assert equal(plain, run_dynamic(files, report, base, nothing, "zero", settings))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"model": "stable_zero123"},
        {"conditions": "random"},
        {"encoder": "linear"},
        {"encode_size": 8},
        {"views": 3},
    ],
)
def test_guidance_changes_the_fit_and_repeats_bit_for_bit(files, report, base, changed):
    guided = GUIDED.model_copy(update=changed)
    first, second = (run_canonical(files, report, guided, name) for name in "xy")
    assert first.read_bytes() == second.read_bytes() and not equal(first, base)
    assert ("the linear encoder explains" in report.text) == (guided.encoder == "linear")


def test_both_fits_say_what_guided_them(files, report, base):
    still, moving = run_canonical(files, report, GUIDED, "g"), run_dynamic(files, report, base, GUIDED)
    about = load_tensors(moving)[1]
    digest = lib.digest("zero123_xl", files / "weights")
    assert (about["supervision"], about["guidance_weights"]) == ("both", digest)
    assert digest.encode() in still.read_bytes()
    rows = (files / "d_curve.csv").read_text().splitlines()
    assert rows[0] == "step,loss,rgb,mask,gaussians,sds" and float(rows[-1].split(",")[-1]) > 0
    assert (files / "a.csv").read_text().splitlines()[0] == "step,loss,rgb,mask,gaussians"


def test_only_a_guided_fit_says_its_gpu_memory(files, report, base, monkeypatch):
    asked = []
    for stage in (canonical, dynamic):
        monkeypatch.setattr(stage, "say_peak", lambda device, report: asked.append(device.type))
    run_canonical(files, report)
    run_dynamic(files, report, base)
    assert not asked
    run_canonical(files, report, GUIDED)
    run_dynamic(files, report, base, GUIDED)
    assert asked == ["cpu", "cpu"]


def test_supervision_is_sds_without_photometric_weights(files, report, base):
    settings = MOVING.model_copy(update={"photometric": PhotometricSettings(rgb=0, mask=0)})
    assert load_tensors(run_dynamic(files, report, base, GUIDED, settings=settings))[1]["supervision"] == "sds"


def test_one_window_falls_over_canonical_and_dynamic(files, report, monkeypatch):
    asked, real = [], distillation.window
    monkeypatch.setattr(distillation, "window", lambda settings, whole: asked.append(whole) or real(settings, whole))
    still = run_canonical(files, report, GUIDED)
    assert asked == pytest.approx(700 / 8000 * np.arange(STILL.steps) / STILL.steps)
    run_dynamic(files, report, still, GUIDED)
    assert asked[STILL.steps] == 700 / 8000
    assert (np.diff(asked) > 0).all() and 0.9 < asked[-1] < 1


def test_a_guidance_is_opened_for_the_part_of_the_run_that_is_said(files, scene, report):
    assert sds.CANONICAL_SPAN == (0, 700 / 8000) and sds.DYNAMIC_SPAN == (700 / 8000, 1)
    for span in (sds.CANONICAL_SPAN, sds.DYNAMIC_SPAN):
        guided = opened(files, *scene[:2], GUIDED, report, range(1, 3), span)
        assert (guided.span, guided.frames) == (span, range(1, 3))


def test_random_views_count_for_densification(files, report, base):
    densify = DensifySettings(rounds=1, start=0.5, stop=0.5, prune_max_scale=1.0, prune_screen_fraction=2.0)
    settings = MOVING.model_copy(update={"densify": densify, "sub_clip": 2})
    for scope in ("clip", "frame"):
        settings = settings.model_copy(update={"densify": densify.model_copy(update={"scope": scope})})
        present = load_tensors(run_dynamic(files, report, base, GUIDED, scope, settings))[0]["present"]
        assert present.shape[1] > 80


class Killed(Exception):
    """Stands for a kill at a step."""


def test_a_killed_guided_fit_ends_bitwise_equal(files, report, base, monkeypatch):
    guided = GUIDED.model_copy(update={"conditions": "random", "every": 2})
    settings = MOVING.model_copy(update={"images": 120})
    whole = run_dynamic(files, report, base, guided, "whole", settings)
    saved = checkpoint.save

    def save_then_die(path, identity, state, about):
        saved(path, identity, state, about)
        raise Killed

    monkeypatch.setattr(checkpoint, "save", save_then_die)
    with pytest.raises(Killed):
        run_dynamic(files, report, base, guided, "killed", settings, interval=1e-9)
    monkeypatch.setattr(checkpoint, "save", saved)
    resumed = run_dynamic(files, report, base, guided, "killed", settings)
    assert "resumed at step 20 of 40" in report.text
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_checkpoint_of_other_weights_is_not_used(files, report):
    run_canonical(files, report, GUIDED)
    place = files / "weights" / "zero123_xl" / "receipt.json"
    folder = files / "other"
    tiny.make(folder / "zero123_xl", seed=9)
    for link in place.parent.rglob("*"):
        if link.is_symlink():
            link.unlink()
    settings = WeightsRun(name="zero123_xl", weights=WeightsSettings(folder=str(folder)))
    weights.main(place, settings, report)
    run_canonical(files, report, GUIDED)
    assert "is of other settings, inputs or code; starting from the first step" in report.text


@pytest.fixture
def prior(tmp_path) -> list[Path]:
    """The receipt of a small random Zero123, as the trained one lies in resources/priors/."""
    return [tiny.make_micro(tmp_path / "priors" / lib.MICRO_POSE)]


def test_the_small_zero123_guides_both_fits(tmp_path, scene, report, prior):
    scene[0].save(tmp_path / "frames.npz")
    scene[1].save(tmp_path / "anchors.npz")
    small = GUIDED.model_copy(update={"model": "micro", "background": "white"})
    base = run_canonical(tmp_path, report)
    first, second = (run_canonical(tmp_path, report, small, name, weights_at=prior) for name in "xy")
    assert first.read_bytes() == second.read_bytes() and not equal(first, base)
    about = load_tensors(run_dynamic(tmp_path, report, base, small, weights_at=prior))[1]
    digest = lib.digest(lib.MICRO_POSE, prior[0].parent.parent)
    assert (about["supervision"], about["guidance_weights"]) == ("both", digest)
    assert "guidance by micro on cpu in float32" in report.text
    (prior[0].parent / "unet" / "config.json").unlink()
    with pytest.raises(StageError, match=r"unet/config.json is missing. Type `snakemake --cores 2 promote_priors"):
        run_canonical(tmp_path, report, small, "bad", weights_at=prior)
    assert not (tmp_path / "bad.ply").exists()


# ------------------------------------------------------------------ cameras


CENTRE = np.array([0.25, -0.1, 0.2])
ANCHOR_ALONE = {"reference": 0, "anchor": 1}


class Keep(nn.Module):
    """A projection that hides nothing: embedding and pose side by side."""

    def forward(self, embedding, pose):
        return torch.cat([embedding, pose], dim=-1)


class Oracle(nn.Module):
    """A denoiser that knows the scene: it reads condition and pose, and expects what is seen from there."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, encoder, look, azimuth_deg, elevation_deg, abar) -> None:
        super().__init__()
        self.encoder, self.look, self.abar = encoder, look, abar
        self.azimuth_deg, self.elevation_deg = azimuth_deg, elevation_deg

    def forward(self, inputs, timestep, encoder_hidden_states):
        number, down, sine, cosine, _ = encoder_hidden_states[:, 0].double().numpy().T
        number = number.astype(int)
        azimuth = self.azimuth_deg[number] + np.degrees(np.arctan2(sine, cosine))
        elevation = self.elevation_deg[number] - np.degrees(down)
        seen = torch.from_numpy(self.look(azimuth, elevation, number)).float()
        on_white = (seen[..., :3] * seen[..., 3:] / 255 + 255 - seen[..., 3:]) / 255
        expected = self.encoder(on_white.permute(0, 3, 1, 2))
        abar = self.abar[timestep][:, None, None, None]
        return SimpleNamespace(sample=(inputs[:, :4] - abar.sqrt() * expected) / (1 - abar).sqrt())


@pytest.mark.parametrize("chosen", [{}, {"conditions": "random"}, ANCHOR_ALONE], ids=["sum", "random", "anchor"])
def test_an_oracle_shows_the_fit_the_unseen_sides(scene, ball, report, tmp_path, chosen):
    """Gaussians around the origin, a photometric loss on the input view alone, and an object elsewhere: the views that
    nothing but the guidance has seen come out right only if poses, cameras, pictures and frames agree."""
    frames, anchors, truth = scene
    angles = [np.concatenate([[0.0], angle]) for angle in (anchors.azimuth_deg, anchors.elevation_deg)]

    def look(azimuth, elevation, number=None):
        return ball(frames.cameras(azimuth, elevation), CENTRE)

    rgba = look(*angles)
    goal = fit.Targets(torch.from_numpy(rgba)[None], [0.0], frames.cameras(*angles))
    encoder = LinearEncoder(32, torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) / 4, torch.zeros(4))
    abar = DDIMScheduler.from_config(tiny.SCHEDULER).alphas_cumprod
    network = Zero123(None, Oracle(encoder, look, *angles, abar), None, Keep(), abar, None, "distance", 32)
    told = Conditions(torch.arange(7.0)[None, :, None], torch.zeros(1, 7, 4, 16, 16), *angles)
    settings = GuidanceSettings(model="oracle", weight=0.01, views=3, guidance_scale=1, background="white", **chosen)
    guided = Guidance(settings, network, encoder, told, frames.cameras, range(1), (0.0, 1.0), "")
    densify = DensifySettings(rounds=2, prune_max_scale=1.0, prune_screen_fraction=2.0)
    still = CanonicalSettings(
        steps=150, photometric=PhotometricSettings(anchors=0, background="white"), densify=densify
    )
    generator = np.random.default_rng(0)
    start = Gaussians(
        generator.uniform(-0.5, 0.5, (300, 3)).astype(np.float32),
        np.tile(np.array([1, 0, 0, 0], np.float32), (300, 1)),
        np.full((300, 3), -2.5, np.float32),
        np.zeros(300, np.float32),
        np.zeros((300, 1, 3), np.float32),
    )
    errors = []
    for index, guidance in enumerate((None, guided)):
        plan, device = canonical.plan(still, 0, 1e9), choose(CanonicalRun(canonical=still))
        state = fit.start(to_tensors(start, device.device), None, plan, 0)
        kept = tmp_path / f"{index}.pt"
        state = fit.fit(state, goal, plan, device, kept, str(index), report, guidance)
        views = frames.cameras(truth.azimuth_deg[:, 0], np.zeros(4))
        drawn, true = white(draw_rgba(from_tensors(state.params), views)), white(ball(views, CENTRE))
        errors.append(np.abs(drawn.astype(float) - true).mean())
    assert errors[1] < 0.5 * errors[0], errors


@pytest.mark.parametrize("fovy_deg, warned", [(49.1, False), (30.0, True)])
def test_another_lens_than_the_networks_is_said_aloud(scene, files, fovy_deg, warned):
    clip, anchors = dataclasses.replace(scene[0], fovy_deg=fovy_deg), scene[1]
    device = choose(CanonicalRun(canonical=STILL))
    terminal = io.StringIO()
    report = Reporter("canonical", "toy", io.StringIO(), terminal)
    opened = sds.open_guidance(
        GUIDED, receipt(files, GUIDED), clip, anchors, range(1), sds.CANONICAL_SPAN, device, report
    )
    assert opened is not None
    assert (
        f"warning: camera.fovy_deg is {fovy_deg}, zero123_xl was trained with 49.13" in terminal.getvalue()
    ) == warned


class Means:
    """An autoencoder's encoder: means of 2 x 2 pixels, three channels and their mean."""

    config = SimpleNamespace(scaling_factor=0.5, block_out_channels=(1, 1))

    def encode(self, pictures):
        means = nn.functional.avg_pool2d(pictures, 2)
        latents = torch.cat([means, means.mean(1, keepdim=True)], dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


class Recognising:
    """An image encoder whose embedding is the number of the picture among those that it knows (N, 3, H, W)."""

    def __init__(self, known) -> None:
        self.known = known

    def __call__(self, picture):
        number = (self.known - picture).square().mean((1, 2, 3)).argmin()
        return SimpleNamespace(image_embeds=number.float().expand(1, 1))


class Checking(Oracle):
    """An oracle that finds beside the noise the latent of the very picture that the token names."""

    latents = None

    def forward(self, inputs, timestep, encoder_hidden_states):
        told = (encoder_hidden_states != 0).any(2)[:, 0]
        numbers = encoder_hidden_states[told, 0, 0].long()
        assert len(numbers) and torch.allclose(inputs[told, 4:], self.latents[numbers], atol=1e-6)
        return super().forward(inputs, timestep, encoder_hidden_states)


@pytest.mark.parametrize("chosen", [{}, {"conditions": "random"}, ANCHOR_ALONE], ids=["sum", "random", "anchor"])
def test_nothing_is_pulled_where_every_view_of_two_frames_is_right(files, scene, ball, report, monkeypatch, chosen):
    """Opened on the pictures of a clip, of which the fit has the last two frames; the anchors lie in another order."""
    clip, anchors, _ = scene
    clip = dataclasses.replace(clip, elevation_deg=20.0)
    centres = [CENTRE, CENTRE[[2, 0, 1]], -CENTRE, -CENTRE[[1, 2, 0]]]

    def look(azimuth, elevation, number):
        cameras = clip.cameras(azimuth, elevation)
        return np.concatenate([ball(cameras[[index]], centres[n // 7]) for index, n in enumerate(number)])

    azimuth_deg, elevation_deg = (
        np.tile(np.concatenate([[first], angles]), 4)
        for first, angles in ((0.0, anchors.azimuth_deg), (20.0, anchors.elevation_deg))
    )
    pictures = look(azimuth_deg, elevation_deg, np.arange(28)).reshape(4, 7, 32, 32, 4)
    order = np.array([2, 0, 3, 1])
    anchors = dataclasses.replace(anchors, rgba=pictures[order, 1:], frame=order)
    known = zero123.on_white(pictures.reshape(28, 32, 32, 4), 32)
    encoder, abar = Means(), DDIMScheduler.from_config(tiny.SCHEDULER).alphas_cumprod
    oracle = Checking(lambda seen: zero123.encode(network, seen), look, azimuth_deg, elevation_deg, abar)
    for_clip = Preprocessor(32, 32, 2, (0.0,) * 3, (1.0,) * 3)
    network = Zero123(encoder, oracle, Recognising(known), Keep(), abar, for_clip, "distance", 32)
    oracle.latents = zero123.encode(network, known) / encoder.config.scaling_factor
    monkeypatch.setattr(zero123, "load", lambda *args: network)
    settings = GUIDED.model_copy(update={"guidance_scale": 1.0, **chosen})
    guided = opened(files, dataclasses.replace(clip, rgba=pictures[:, 0]), anchors, settings, report)
    views = np.linspace(-175, 175, 24), np.linspace(-10, 50, 24)
    frames = np.arange(24) % 2

    def pulled(frames):
        seen = zero123.on_white(look(*views, 7 * (2 + np.arange(24) % 2)), 32)
        return guided.values(seen, frames, *views, 0.5, torch.Generator().manual_seed(0))

    assert pulled(frames).max() < 1e-3 * pulled(1 - frames).min()


# ------------------------------------------------------------------ bad input


def refused(files, report, text: str, guidance=GUIDED) -> None:
    with pytest.raises(StageError, match=text):
        run_canonical(files, report, guidance, "bad")
    assert not (files / "bad.ply").exists() and not (files / "bad.csv").exists()


def test_weights_that_are_not_there(files, report):
    (files / "weights" / "zero123_xl" / "unet" / "config.json").unlink()
    refused(
        files, report, r"unet/config.json is missing. Type `snakemake --cores 1 resources/weights/zero123_xl/receipt"
    )


def test_a_receipt_that_was_not_given(files, report):
    run = CanonicalRun(canonical=STILL, guidance=GUIDED)
    paths = {"out": files / "b.ply", "curve": files / "b.csv", "checkpoints": files / "b"}
    with pytest.raises(StageError, match="--weights names 0 files; expected the receipt of zero123_xl"):
        canonical.main(files / "frames.npz", files / "anchors.npz", **paths, settings=run, report=report)


def test_an_encode_size_that_does_not_fit(files, report):
    refused(files, report, "guidance.encode_size is 9", GUIDED.model_copy(update={"encode_size": 9}))


def test_opaque_frames(files, scene, report):
    rgba = scene[0].rgba.copy()
    rgba[..., 3] = 255
    dataclasses.replace(scene[0], rgba=rgba).save(files / "frames.npz")
    refused(files, report, "opaque everywhere; expected RGBA .* or type `guidance.model: null`")


@pytest.mark.parametrize("where", [(distillation, "predict"), (zero123, "load")])
def test_a_full_gpu_says_what_to_lower(files, report, monkeypatch, where):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(*where, full)
    refused(files, report, r"out of GPU memory in the guidance \(CUDA out of memory\). Lower guidance.views \(now 1\)")
