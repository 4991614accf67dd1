"""The encoder's first weights against NumPy's own principal components, and what they are there for: colours."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from stages.lib.diffusion import micro, principal
from stages.settings import AutoencoderSettings

SIDE, SQUARE = 64, 8


def blobs(count: int, seed: int) -> torch.Tensor:
    """Pictures (count, 3, SIDE, SIDE) in [-0.6, 0.6]: coloured discs, on grey and on white in turn."""
    rng = np.random.default_rng(seed)
    drawn = []
    for index in range(count):
        picture = np.full((SIDE, SIDE, 3), 0.0 if index % 2 else 0.6, np.float32)
        for _ in range(6):
            centre, radius = rng.integers(8, SIDE - 8, 2).tolist(), int(rng.integers(3, 14))
            cv2.circle(picture, centre, radius, rng.uniform(-0.6, 0.6, 3).tolist(), -1)
        drawn.append(cv2.GaussianBlur(picture, (0, 0), 1))
    return torch.from_numpy(np.stack(drawn)).movedim(-1, 1)


def squares(pictures: torch.Tensor) -> torch.Tensor:
    """(N, 3 * SQUARE^2) of pictures (B, 3, H, W)."""
    cut = pictures.unfold(2, SQUARE, SQUARE).unfold(3, SQUARE, SQUARE)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)


def unexplained(values: torch.Tensor, pictures: torch.Tensor) -> float:
    """Share of the variance of `pictures` that no linear map of values (B, K, h, w) explains."""
    known = values.permute(0, 2, 3, 1).flatten(0, 2)
    known = torch.cat([known, torch.ones(len(known), 1)], dim=1).double()
    wanted = squares(pictures).double()
    left = wanted - known @ torch.linalg.lstsq(known, wanted).solution
    return float(left.square().sum() / (wanted - wanted.mean(dim=0)).square().sum())


@pytest.fixture(scope="module")
def begun():
    torch.manual_seed(0)
    vae = micro.make_autoencoder(AutoencoderSettings())
    principal.begin(vae, blobs(64, seed=1))
    return vae


@torch.no_grad()
def test_the_encoder_begins_as_good_as_the_best_linear_one(begun):
    new = blobs(64, seed=2)
    latents = begun.encode(new).latent_dist.mean
    flat = squares(blobs(64, seed=1)).double()
    axes = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False).Vh[: latents.shape[1]]
    best = (squares(new).double() @ axes.T).float().unflatten(0, (64, SIDE // SQUARE, SIDE // SQUARE)).movedim(-1, 1)
    # Level after level is a little worse than at once; a random encoder leaves several times as much.
    assert unexplained(latents, new) < 1.15 * unexplained(best, new)
    torch.manual_seed(0)
    random = micro.make_autoencoder(AutoencoderSettings())
    assert unexplained(random.encode(new).latent_dist.mean, new) > 2 * unexplained(latents, new)


@torch.no_grad()
def test_the_latents_have_about_unit_variance_and_little_noise(begun):
    posterior = begun.encode(blobs(64, seed=2)).latent_dist
    deviation = posterior.mean.std(dim=(0, 2, 3))
    assert deviation.min() > 0.7 and deviation.max() < 1.4
    assert posterior.std.max() < 0.06


@torch.no_grad()
def test_colour_is_in_the_latents(begun):
    """Swapping red and blue moves the latents about as much as the pictures; brightness alone would not."""
    new = blobs(16, seed=3)
    first, second = (begun.encode(each).latent_dist.mean for each in (new, new.flip(1)))
    assert (first - second).square().mean() > 0.2 * first.square().mean()


@pytest.mark.parametrize("widths", [[8, 8], [16, 24, 32]])
def test_other_widths(widths):
    torch.manual_seed(0)
    vae = micro.make_autoencoder(AutoencoderSettings(channels=widths, latent_channels=4))
    new = blobs(8, seed=4)
    principal.begin(vae, new)
    with torch.no_grad():
        latents = vae.encode(new).latent_dist.mean
    assert torch.isfinite(latents).all()
    assert latents.shape[1:] == (4, SIDE // 2 ** (len(widths) - 1), SIDE // 2 ** (len(widths) - 1))
