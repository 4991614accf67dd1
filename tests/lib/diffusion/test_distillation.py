"""The pull of score distillation in closed form, against autograd, and the choices around it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_zero123 as tiny
import torch
from diffusers import DDIMScheduler
from torch import nn

from stages.cli import StageError
from stages.lib.device import Device
from stages.lib.diffusion import distillation, micro, zero123
from stages.lib.diffusion.distillation import Conditions, Guidance, LinearEncoder
from stages.lib.diffusion.zero123 import ModelError, Zero123
from stages.lib.guidance import CANONICAL_SPAN, DYNAMIC_SPAN
from stages.settings import GuidanceSettings

CPU = torch.device("cpu")
ABAR = DDIMScheduler.from_config(tiny.SCHEDULER).alphas_cumprod
ANCHORS = (np.array([30.0, 90, 150, 210, 270, 330]), np.array([30.0, -20, 30, -20, 30, -20]))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    return zero123.load(tiny.make(tmp_path_factory.mktemp("z") / "a"), "distance", tiny.SIDE, CPU, torch.float32)


class Toy(nn.Module):
    """A denoiser that can be written down: 0.5 x + 2 y + the token's sum, of noisy x and condition latents y."""

    dtype, device = torch.float32, CPU

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, inputs, timestep, encoder_hidden_states):
        x, y = inputs.chunk(2, dim=1)
        return SimpleNamespace(sample=self.factor * x + 2 * y + encoder_hidden_states.sum((1, 2))[:, None, None, None])


class Sum(nn.Module):
    """A projection whose token is embedding plus the pose's sum."""

    def forward(self, embedding, pose):
        return embedding + pose.sum(-1, keepdim=True)


class Halves(nn.Module):
    """An encoder of one trainable number: means of 2 x 2 pixels, three channels and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(3.0))

    def forward(self, pictures):
        means = nn.functional.avg_pool2d(pictures, 2)
        return self.gain * torch.cat([means, means.mean(1, keepdim=True)], dim=1)


def toy() -> Zero123:
    return Zero123(None, Toy(), None, Sum(), ABAR, None, "distance", 4)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_gradient_is_w_times_the_difference_of_noises():
    network, encoder = toy(), Halves()
    pictures, noise = drawn(2, 3, 4, 4).sigmoid(), drawn(2, 4, 2, 2, seed=1)
    embeddings, latents, poses = drawn(2, 1, 5, seed=2), drawn(2, 1, 4, 2, 2, seed=3), drawn(2, 1, 4, seed=4)
    timestep, scale = torch.tensor([100, 900]), 5.0
    value, gradient = distillation.distil(
        network, encoder, pictures, embeddings, latents, poses, torch.ones(2, 1), timestep, noise, scale
    )
    abar = ABAR[timestep][:, None, None, None]
    z = encoder(pictures).detach()
    noisy = abar.sqrt() * z + (1 - abar).sqrt() * noise
    told = 2 * latents[:, 0] + (embeddings[:, 0].sum(1) + 5 * poses[:, 0].sum(1))[:, None, None, None]
    guided = 0.5 * noisy + scale * told
    pull = (1 - abar) * (guided - noise)
    assert torch.allclose(value, 0.5 * pull.square().sum((1, 2, 3)), rtol=1e-4)
    # Each pixel is a quarter of a latent pixel; the fourth channel spreads evenly over the colours.
    spread = (pull[:, :3] + pull[:, 3:] / 3).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(gradient, 3.0 / 4 * spread, rtol=1e-4, atol=1e-4)
    assert network.unet.factor.grad is None and encoder.gain.grad is None


def test_descending_arrives_where_the_denoiser_expects_the_picture():
    """A denoiser that is sure of one picture z*: eps = (x - sqrt(abar) z*) / sqrt(1 - abar)."""
    target = drawn(1, 3, 4, 4, seed=9).sigmoid()
    encoder = Halves()
    sure = encoder(target).detach()

    class Sure(Toy):
        def forward(self, inputs, timestep, encoder_hidden_states):
            abar = ABAR[timestep][:, None, None, None]
            return SimpleNamespace(sample=(inputs[:, :4] - abar.sqrt() * sure) / (1 - abar).sqrt())

    network = Zero123(None, Sure(), None, Sum(), ABAR, None, "distance", 4)
    pictures = drawn(1, 3, 4, 4).sigmoid()
    told = torch.zeros(1, 1, 5), torch.zeros(1, 1, 4, 2, 2), torch.zeros(1, 1, 4), torch.ones(1, 1)
    for step in range(200):
        noise = drawn(1, 4, 2, 2, seed=step)
        gradient = distillation.distil(network, encoder, pictures, *told, torch.tensor([400]), noise, 5.0)[1]
        pictures = pictures - 0.2 * gradient
    assert torch.allclose(encoder(pictures), sure, atol=1e-3)


def test_two_conditions_pull_by_their_weights():
    pictures, noise, timestep = drawn(2, 3, 4, 4).sigmoid(), drawn(2, 4, 2, 2, seed=1), torch.tensor([300, 700])
    embeddings, latents, poses = drawn(2, 2, 5, seed=2), drawn(2, 2, 4, 2, 2, seed=3), drawn(2, 2, 4, seed=4)

    def pulled(k: slice, mix: list[float]) -> torch.Tensor:
        given = (embeddings[:, k], latents[:, k], poses[:, k], torch.tensor(mix).expand(2, -1))
        return distillation.distil(toy(), Halves(), pictures, *given, timestep, noise, 5.0)[1]

    both = pulled(slice(0, 2), [0.67, 0.33])
    alone = 0.67 * pulled(slice(0, 1), [1.0]) + 0.33 * pulled(slice(1, 2), [1.0])
    assert torch.allclose(both, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [None, 8])
def test_the_gradient_equals_autograd_through_the_autoencoder(model, size):
    """The usual way to write it: half the squared distance to a target that is held still."""
    encoder = distillation.through_autoencoder(model, size)
    pictures = drawn(2, 3, 24, 24).sigmoid()
    noise, timestep = drawn(2, 4, 8, 8, seed=1), torch.tensor([200, 600])
    given = (drawn(2, 2, tiny.WIDTH, seed=2), drawn(2, 2, 4, 8, 8, seed=3), drawn(2, 2, 4, seed=4))
    mix = torch.tensor([[0.67, 0.33]] * 2)
    _, gradient = distillation.distil(model, encoder, pictures, *given, mix, timestep, noise, 5.0)
    leaf = pictures.clone().requires_grad_()
    z = encoder(leaf)
    assert z.shape == (2, 4, 8, 8)
    abar = ABAR[timestep][:, None, None, None]
    noisy = (abar.sqrt() * z + (1 - abar).sqrt() * noise).detach()
    guided = zero123.predict(model, noisy, timestep, *given, 5.0)
    pull = sum(mix[:, k, None, None, None] * (1 - abar) * (guided[:, k] - noise) for k in range(2))
    (0.5 * nn.functional.mse_loss(z, (z - pull).detach(), reduction="sum")).backward()
    assert torch.allclose(gradient, leaf.grad, rtol=1e-3, atol=1e-5) and gradient.abs().max() > 1e-3
    assert all(p.grad is None for part in (model.unet, model.vae) for p in part.parameters())


def test_the_small_zero123_pulls_by_w_times_the_difference_of_noises(tmp_path):
    """Read from its own folder; it predicts v, which is turned into noise here by hand, branch by branch."""
    tiny.make_micro(tmp_path)
    small = zero123.load(tmp_path, micro.POSE, None, CPU, torch.float32)
    encoder = distillation.through_autoencoder(small, None)
    pictures, noise, timestep = drawn(2, 3, 24, 24).sigmoid(), drawn(2, 4, 8, 8, seed=1), torch.tensor([200, 900])
    embeddings, latents = drawn(2, 1, tiny.WIDTH, seed=2), drawn(2, 1, 4, 8, 8, seed=3)
    poses = drawn(2, 1, 4, seed=4)
    value, gradient = distillation.distil(
        small, encoder, pictures, embeddings, latents, poses, torch.ones(2, 1), timestep, noise, 5.0
    )
    leaf = pictures.clone().requires_grad_()
    z = encoder(leaf)
    abar = small.alphas_cumprod[timestep][:, None, None, None]
    noisy = (abar.sqrt() * z + (1 - abar).sqrt() * noise).detach()
    token = small.clip_camera_projection(embeddings[:, 0], poses[:, 0])[:, None]

    def noise_of(beside, token):
        v = small.unet(torch.cat([noisy, beside], dim=1), timestep, encoder_hidden_states=token).sample
        return abar.sqrt() * v + (1 - abar).sqrt() * noisy

    nothing = noise_of(torch.zeros_like(latents[:, 0]), torch.zeros_like(token))
    guided = nothing + 5.0 * (noise_of(latents[:, 0], token) - nothing)
    pull = (1 - abar) * (guided - noise)
    assert torch.allclose(value, 0.5 * pull.square().sum((1, 2, 3)), rtol=1e-3)
    (expected,) = torch.autograd.grad(z, leaf, pull)
    assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-4) and gradient.abs().max() > 1e-3
    assert all(p.grad is None for part in (small.unet, small.vae) for p in part.parameters())


def guidance(model, encoder=None, span=(0.0, 1.0), **changed) -> Guidance:
    embeddings, latents = drawn(2, 7, tiny.WIDTH, seed=5), drawn(2, 7, 4, 8, 8, seed=6)
    angles = [np.concatenate([[0.0], angle]) for angle in ANCHORS]
    settings = GuidanceSettings(model="zero123_xl", **changed)
    encoder = encoder or distillation.through_autoencoder(model, None)
    conditions = Conditions(embeddings, latents, *angles)
    return Guidance(settings, model, encoder, conditions, None, range(3, 5), span, "digest")


def values(guided: Guidance, pictures: torch.Tensor, seed: int = 0, progress: float = 0.0) -> torch.Tensor:
    angles = np.array([10.0, -100, 170]), np.array([0.0, 20, -20])
    generator = torch.Generator().manual_seed(seed)
    return guided.values(pictures, np.array([0, 1, 1]), *angles, progress, generator)


def test_the_weight_of_the_term_multiplies_the_gradient(model):
    gradients = []
    for weight in (1.0, 5e-5):
        pictures = drawn(3, 3, 16, 16).sigmoid().requires_grad_()
        (weight * values(guidance(model), pictures).sum()).backward()
        gradients.append(pictures.grad)
    assert torch.allclose(5e-5 * gradients[0], gradients[1], rtol=1e-5) and gradients[0].abs().max() > 0


def test_the_generator_decides_everything(model):
    pictures = drawn(3, 3, 16, 16).sigmoid()
    for mode in ("sum", "random"):
        guided = guidance(model, conditions=mode)
        assert torch.equal(values(guided, pictures), values(guided, pictures))
        assert not torch.equal(values(guided, pictures), values(guided, pictures, seed=1))


def test_half_precision_keeps_small_weights(tmp_path):
    """5e-5 of a pull is below what float16 resolves; the encoder therefore carries the pull itself."""
    half = zero123.load(tiny.make(tmp_path / "a"), "distance", tiny.SIDE, CPU, torch.float16)
    embeddings, latents = drawn(2, 7, tiny.WIDTH).half(), drawn(2, 7, 4, 8, 8).half()
    guided = guidance(half)
    conditions = Conditions(embeddings, latents, guided.conditions.azimuth_deg, guided.conditions.elevation_deg)
    guided = Guidance(guided.settings, half, guided.encoder, conditions, None, range(2), (0.0, 1.0), "")
    gradients = []
    for weight in (1.0, 1e-9):
        pictures = drawn(3, 3, 16, 16).sigmoid().requires_grad_()
        (weight * values(guided, pictures).sum()).backward()
        gradients.append(pictures.grad)
    assert torch.allclose(1e-9 * gradients[0], gradients[1], rtol=1e-4) and gradients[0].dtype == torch.float32


# ------------------------------------------------------------------ choices


def test_the_window_falls_and_narrows_as_in_stag4d():
    settings = GuidanceSettings()
    for progress, expected in ((0, (0.5, 0.95)), (0.1875, (0.26, 0.725)), (0.375, (0.02, 0.5)), (1, (0.02, 0.5))):
        assert distillation.window(settings, progress) == pytest.approx(expected)


def test_timesteps_stay_in_the_window(model):
    told = []

    class Listening(nn.Module):
        dtype, device = torch.float32, CPU

        def forward(self, inputs, timestep, encoder_hidden_states):
            told.append(timestep)
            return SimpleNamespace(sample=inputs[:, :4])

    listening = Zero123(model.vae, Listening(), None, model.clip_camera_projection, ABAR, None, "distance", 16)
    whole = (0.0, 1.0)
    # 700 of the 3000 steps in which the window falls.
    fallen = 500 - 480 * 700 / 3000, 950 - 450 * 700 / 3000
    for span, progress, low, high in (
        (whole, 0.0, 500, 950),
        (whole, 1.0, 20, 500),
        (CANONICAL_SPAN, 0.0, 500, 950),
        (CANONICAL_SPAN, 1.0, *fallen),
        (DYNAMIC_SPAN, 0.0, *fallen),
        (DYNAMIC_SPAN, 1.0, 20, 500),
    ):
        guided = guidance(listening, span=span)
        told.clear()
        for seed in range(60):
            values(guided, torch.zeros(3, 3, 16, 16), seed, progress)
        steps = torch.cat(told)
        assert int(low) <= steps.min() < low + 30 and high - 30 < steps.max() <= high
        # Three branches of a view share one timestep.
        assert torch.equal(steps[0::3], steps[1::3]) and torch.equal(steps[0::3], steps[2::3])


def chosen(mode: str, azimuth, elevation, **changed) -> tuple[np.ndarray, torch.Tensor]:
    angles = [np.concatenate([[0.0], angle]) for angle in ANCHORS]
    conditions = Conditions(torch.zeros(0), torch.zeros(0), *angles)
    settings = GuidanceSettings(conditions=mode, **changed)
    angles = np.asarray(azimuth, float), np.asarray(elevation, float)
    return distillation.choose(settings, conditions, *angles, torch.Generator().manual_seed(0))


def test_the_sum_takes_the_input_and_the_nearest_anchor():
    index, mix = chosen("sum", [30, 61, -95, 180, 0], [30, 25, 10, -20, -25])
    # At azimuth 61 the upper anchor at 30 is nearer than the lower one at 90; 180, -20 lies between, nearer to 210.
    assert index.tolist() == [[0, 1], [0, 1], [0, 5], [0, 4], [0, 6]]
    assert torch.allclose(mix, torch.tensor([0.67, 0.33]).expand(5, 2))


def test_a_weight_of_zero_saves_its_branch():
    assert chosen("sum", [90], [0], reference=0)[0].tolist() == [[2]]
    assert chosen("sum", [90], [0], anchor=0)[0].tolist() == [[0]]


def test_the_random_choice_has_stag4ds_odds():
    azimuth = np.linspace(-180, 180, 20001)
    index, mix = chosen("random", azimuth, np.zeros_like(azimuth))
    assert index.shape == (20001, 1) and (mix == 1).all()
    assert (index[np.abs(azimuth) < 29.9] == 0).all()
    assert (index > 0).mean() == pytest.approx(0.334, abs=0.01)
    anchored = index[:, 0] > 0
    sector = np.floor((azimuth[anchored] % 360) / 60).astype(int)
    assert (index[anchored, 0] == sector % 6 + 1).mean() > 0.999


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="expected 0 <= t_min < t_max <= 1"):
        GuidanceSettings(t_min=(0.5, 0.6))
    with pytest.raises(ValueError, match="reference and anchor are both 0"):
        GuidanceSettings(reference=0, anchor=0)


def test_every_nth_step_weighs_n_times():
    guided = guidance(toy(), encoder=Halves(), every=5, weight=0.1)
    assert [step for step in range(12) if guided.due(step)] == [4, 9] and guided.weight == pytest.approx(0.5)


def test_a_full_gpu_says_what_to_lower():
    with (
        pytest.raises(StageError, match=r"out of GPU memory in the guidance .* Lower guidance.views \(now 3\)"),
        distillation.memory(GuidanceSettings(views=3)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")


# ------------------------------------------------------------------ encoders


def test_the_linear_encoder_recovers_a_linear_autoencoder():
    weight, bias = drawn(4, 3, 2, 2), drawn(4)
    pictures = drawn(6, 3, 8, 8, seed=1).sigmoid()
    latents = nn.functional.conv2d(pictures, weight, bias, stride=2)
    found, explained = LinearEncoder.fitted(pictures, latents)
    assert explained > 0.999 and found(pictures).shape == (6, 4, 4, 4)
    assert torch.allclose(found(pictures), latents, atol=0.02)


def test_the_explained_share_is_what_it_says(model):
    pictures = drawn(5, 3, 16, 16, seed=1).sigmoid()
    with torch.no_grad():
        latents = zero123.encode(model, pictures)
    found, explained = LinearEncoder.fitted(pictures, latents)
    missed = (found(pictures) - latents).square().sum()
    varied = (latents - latents.mean((0, 2, 3), keepdim=True)).square().sum()
    assert explained == pytest.approx(float(1 - missed / varied), abs=1e-3)


def test_pictures_of_another_size_are_resized(model):
    for encoder in (distillation.through_autoencoder(model, 8), distillation.through_autoencoder(model, None)):
        assert encoder(torch.zeros(2, 3, 40, 40)).shape == (2, 4, 8, 8)


def test_an_encode_size_that_does_not_fit(model):
    with pytest.raises(
        ModelError, match=r"encode_size is 9; expected a multiple of 2 .* Type `guidance.encode_size: 8`"
    ):
        distillation.through_autoencoder(model, 9)


# ------------------------------------------------------------------ views


def test_views_are_drawn_around_the_input_and_reach_the_gaussians(model, scene):
    frames = scene[0]
    guided = guidance(model, views=2)
    conditions = Conditions(
        drawn(4, 7, tiny.WIDTH), drawn(4, 7, 4, 8, 8), guided.conditions.azimuth_deg, guided.conditions.elevation_deg
    )
    asked = []

    def cameras(azimuth, elevation):
        asked.append((azimuth, elevation))
        return frames.cameras(azimuth, elevation)

    guided = Guidance(guided.settings, model, guided.encoder, conditions, cameras, range(4), (0.0, 1.0), "")
    n = 20
    shape = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,), "sh": (n, 1, 3)}
    gaussians = {name: (0.2 * drawn(*size)).requires_grad_() for name, size in shape.items()}
    shown = [(frame, None, {**gaussians, "log_scales": gaussians["log_scales"] - 2}) for frame in (1, 2)]
    generator = torch.Generator().manual_seed(0)
    term, seen = guided.term(shown, 0.5, generator, Device(CPU, "numba", 1))
    term.backward()
    assert [frame for frame, *_ in seen] == [1, 2] and all(offset.grad.abs().sum() > 0 for *_, offset, _ in seen)
    assert all(value.grad.abs().sum() > 0 for name, value in gaussians.items() if name != "quats")
    angles = np.concatenate(asked, axis=1)
    assert angles.shape == (2, 4) and np.abs(angles[1]).max() <= 30


@pytest.mark.parametrize(("background", "levels"), [("white", [1.0]), ("white_or_black", [0.0, 1.0])])
def test_views_lie_around_the_input_cameras_elevation_on_their_background(model, scene, background, levels):
    frames, asked = scene[0], []
    around = np.concatenate([[0.0], ANCHORS[0]]), np.concatenate([[20.0], ANCHORS[1]])
    conditions = Conditions(drawn(4, 7, tiny.WIDTH), drawn(4, 7, 4, 8, 8), *around)

    def cameras(azimuth, elevation):
        asked.append(elevation)
        return frames.cameras(azimuth, elevation)

    settings = GuidanceSettings(model="zero123_xl", views=40, elevation_deg=30, background=background)
    encoder = distillation.through_autoencoder(model, None)
    guided = Guidance(settings, model, encoder, conditions, cameras, range(4), (0.0, 1.0), "")
    dot = {
        "means": torch.zeros(1, 3),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "log_scales": torch.full((1, 3), -3.0),
        "opacity_logits": torch.zeros(1),
        "sh": torch.zeros(1, 1, 3),
    }
    _, ((*_, rendered),) = guided.term([(1, None, dot)], 0.5, torch.Generator().manual_seed(0), Device(CPU, "numba", 1))
    (elevation,) = asked
    assert -10 <= elevation.min() < -5 and 45 < elevation.max() <= 50
    assert rendered.image[:, 0, 0].unique(dim=0).tolist() == [[level] * 3 for level in levels]
