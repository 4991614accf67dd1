"""What the small Zero123 is trained on is what its loader computes: pictures, latents, poses, one call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from stages.contracts import Corpus
from stages.lib.diffusion import micro, relative_views, zero123
from stages.lib.diffusion.zero123plus import Preprocessor
from stages.settings import AutoencoderSettings, DenoiserSettings

SIDE = 16
AUTOENCODER = AutoencoderSettings(channels=[8, 8], latent_channels=4)
DENOISER = DenoiserSettings(channels=[16, 16], embedding=16, batch=4)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Three moments of coloured squares, each with two random views; alpha is 0 or 255."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        rgba = np.zeros((*shape, 4), np.uint8)
        low, high = shape[-1] // 4, 3 * shape[-1] // 4
        rgba[..., low:high, low:high, 3] = 255
        rgba[..., :3] = rng.integers(0, 256, (*shape[:-2], 1, 1, 3)) * (rgba[..., 3:] > 0)
        return rgba

    return Corpus(
        rgba=drawn(3, 6, SIDE, SIDE),
        condition=drawn(3, 24, 24),
        name=np.array(["a", "a", "b"]),
        object_seed=np.array([0, 0, 0]),
        time=np.array([0.1, 0.7, 0.5]),
        azimuth_deg=np.array([3.0, -4.0, 5.0]),
        random=drawn(3, 2, SIDE, SIDE),
        random_azimuth_deg=np.array([[17.0, -140.0], [99.0, 171.0], [-33.0, 8.0]]),
        random_elevation_deg=np.array([[5.0, -25.0], [12.0, 29.0], [-7.0, 1.0]]),
    )


@pytest.fixture(scope="module")
def model(corpus, report_once):
    """Examples, networks and the loader's view of the same networks, before any rounding to float16."""
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = micro.make_autoencoder(AUTOENCODER).eval().requires_grad_(False)
        made = micro.make_pose_denoiser(DENOISER, 4, SIDE, SIDE // 2)
    data, own = relative_views.examples(corpus, vae, 2, report_once)
    scheduler = DDPMScheduler.from_config({**micro.POSE_SCHEDULER, "_class_name": "DDPMScheduler"})
    networks = relative_views.Networks(*(part.eval() for part in made), scheduler, own.config.scaling_factor)
    for_clip = Preprocessor(SIDE, SIDE, micro.BILINEAR, (micro.IMAGE_MEAN,) * 3, (micro.IMAGE_STD,) * 3)
    loaded = zero123.Zero123(own, *made, scheduler.alphas_cumprod, for_clip, micro.POSE, SIDE, "v_prediction")
    return data, networks, loaded


def test_views_are_the_input_the_anchors_and_the_random_ones(corpus, model):
    azimuth, elevation = relative_views.angles(corpus)
    assert azimuth[1].tolist() == [0, 30, 90, 150, 210, 270, 330, 99, 171]
    assert elevation[1].tolist() == [0, 30, -20, 30, -20, 30, -20, 12, 29]
    pictures = model[0].pictures
    assert pictures.shape == (3, 9, SIDE, SIDE, 3) and pictures.dtype == torch.uint8
    assert (pictures[1, 7, 8, 8].numpy() == corpus.random[1, 0, 8, 8, :3]).all() and (pictures[:, :, 0, 0] == 255).all()


def test_latents_have_mean_0_and_deviation_1(model):
    plain = model[0].latents[:, 0]
    assert torch.allclose(plain.mean((0, 1, 3, 4)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(plain.std((0, 1, 3, 4)), torch.ones(4), atol=1e-3)


def test_a_view_is_encoded_as_the_loader_encodes_a_condition(corpus, model):
    data, _, loaded = model
    _, latent, picture = zero123.embed(loaded, corpus.rgba[1, 2])
    assert torch.allclose(data.latents[1, 0, 3], loaded.vae.config.scaling_factor * latent, atol=1e-4)
    red_and_blue_swapped = zero123.encode(loaded, picture[None, [0, 2, 1]])[0]
    assert torch.allclose(data.latents[1, 1, 3], red_and_blue_swapped, atol=1e-4)
    # The input view is shrunk as the loader shrinks it, but for the rounding to whole levels.
    small = zero123.encode(loaded, zero123.on_white(corpus.condition[:1], SIDE))[0]
    assert (data.latents[0, 0, 0] - small).abs().mean() < 0.02


def test_a_step_calls_the_network_as_the_loader_does(corpus, model):
    data, networks, loaded = model
    pose = zero123.relative_pose(*(np.array([angle]) for angle in (99.0, 12.0, 90.0, -20.0)), micro.POSE)
    embedding, latent, _ = zero123.embed(loaded, corpus.rgba[1, 1])
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timestep = torch.tensor([600])
    abar = loaded.alphas_cumprod[600]
    shown = micro.to_encoder(data.pictures[1, 2].movedim(-1, 0))[None]
    for dropped, scale in ((False, 1.0), (True, 0.0)):
        tokens, beside = relative_views.conditioned(
            networks, shown, data.latents[1, 0, 2][None], pose, torch.tensor([dropped])
        )
        with torch.no_grad():
            v = networks.unet(torch.cat([noisy, beside], 1), timestep, encoder_hidden_states=tokens).sample
        noise = zero123.predict(loaded, noisy, timestep, embedding[None, None], latent[None, None], pose[None], scale)
        assert torch.allclose(abar.sqrt() * v + (1 - abar).sqrt() * noisy, noise[:, 0], atol=1e-4)


def test_pairs_are_of_two_views_and_half_begin_at_the_input_view(model, monkeypatch):
    data, networks, _ = model
    seen, true = [], zero123.relative_pose

    def recorded(azimuth, elevation, from_azimuth, from_elevation, kind):
        seen.append(np.stack([azimuth, from_azimuth]))
        return true(azimuth, elevation, from_azimuth, from_elevation, kind)

    monkeypatch.setattr(zero123, "relative_pose", recorded)
    for step in range(3):
        terms = relative_views.loss(networks, data, 64, 0.1, torch.Generator().manual_seed(step))
        assert torch.isfinite(terms["v"])
    to, source = np.concatenate(seen, axis=1)
    assert (to != source).all() and len(np.unique(to)) == 1 + 6 + 6
    # A ninth of the other half begins there too; four standard deviations of 192 draws are 0.14.
    assert abs((source == 0).mean() - (0.5 + 0.5 / 9)) < 0.14


def test_the_generator_decides_the_loss(model):
    data, networks, _ = model
    first, again, other = (
        relative_views.loss(networks, data, 4, 0.1, torch.Generator().manual_seed(seed))["v"].item()
        for seed in (0, 0, 1)
    )
    assert first == again != other
