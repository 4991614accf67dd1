"""What the small Zero123 is trained on: one view of an object from another and the pose between them.

What is trained is what zero123.py runs: the condition's latent beside the noisy one, one token from the image embedding
and the pose, both zero where the condition is dropped; v-prediction on the same schedule. Any view of a moment is shown
from any other one: the input view, the six anchors, and the random views.

Latents are made once, before the first step, in `colour_orders` orders of red, green and blue: more objects from the
same pictures.

Letters: S moments, O colour orders, V views of a moment (the first is the input view), B pairs of a step, C channels,
h w latent pixels, D width of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from stages.cli import Reporter
from stages.contracts import Corpus
from stages.lib import training
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG
from stages.lib.diffusion import micro, zero123
from stages.settings import DenoiserSettings

# Score distillation weighs the input view twice as much as the nearest anchor, and every other condition is an anchor.
INPUT_SHARE = 0.5
# Moments whose pictures set the scale of the latents.
MEASURED = 64
ENCODED_AT_ONCE = 16


@dataclass(frozen=True)
class Examples:
    """All that a step draws from, tensors on the training's device.

    pictures (S, V, H, W, 3) uint8 on white; latents (S, O, V, C, h, w) in the UNet's scale; azimuth_deg and
    elevation_deg (S, V), relative to the input camera's azimuth and to the horizon.
    """

    pictures: Tensor
    latents: Tensor
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray


def angles(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths and elevations (S, V) of all views of every moment, degrees."""
    zeros = np.zeros((len(corpus.rgba), 1))
    six = (np.tile(each, (len(zeros), 1)) for each in (ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG))
    random = corpus.random_azimuth_deg, corpus.random_elevation_deg
    azimuth, elevation = (np.concatenate([zeros, *both], axis=1) for both in zip(six, random, strict=True))
    return azimuth, elevation


def pictures(corpus: Corpus) -> Tensor:
    """All views (S, V, H, W, 3) on white, the input view as small as the others, uint8."""
    side = corpus.rgba.shape[2]
    shown = []
    for moment, condition in enumerate(corpus.condition):
        views = np.concatenate([corpus.rgba[moment], corpus.random[moment]])
        on_white = torch.cat([zero123.on_white(condition[None], side), zero123.on_white(views, side)])
        shown.append(torch.from_numpy(zero123.to_pixels(on_white)))
    return torch.stack(shown)


def entering(shown: Tensor) -> Tensor:
    """Pictures uint8 (..., H, W, 3) as Zero123's autoencoder sees them, (..., 3, H, W) in [-1, 1]."""
    return shown.movedim(-1, -3).float() / 127.5 - 1


@torch.no_grad()
def examples(
    corpus: Corpus, vae: AutoencoderKL, colour_orders: int, report: Reporter
) -> tuple[Examples, AutoencoderKL]:
    """Encode a corpus as `zero123.encode` does; returns also the autoencoder for Zero123's pictures."""
    shown = pictures(corpus).to(vae.device)
    # Evenly over the corpus, since equal families stand together.
    some = shown[:: max(1, len(shown) // MEASURED)]
    vae = micro.for_zero123(vae, entering(some.flatten(0, 1)))
    orders = micro.colour_orders(colour_orders)
    latents = []
    for part in shown.split(ENCODED_AT_ONCE):
        coloured = torch.stack([entering(part[..., order]) for order in orders], dim=1)
        encoded = vae.encode(coloured.flatten(0, 2)).latent_dist.mode() * vae.config.scaling_factor
        latents.append(encoded.unflatten(0, coloured.shape[:3]))
        report.progress(sum(map(len, latents)), len(shown))
    return Examples(shown, torch.cat(latents), *angles(corpus)), vae


@dataclass(frozen=True)
class Networks:
    """What is trained, and the fixed numbers around it."""

    unet: UNet2DConditionModel
    image_encoder: CLIPVisionModelWithProjection
    projection: zero123.CameraProjection
    scheduler: DDPMScheduler
    scaling_factor: float


def conditioned(
    networks: Networks, shown: Tensor, latents: Tensor, poses: Tensor, dropped: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens (B, 1, D) and condition latents (B, C, h, w), both zero where the condition is dropped (B,).

    shown (B, 3, H, W): the conditions for the image encoder; latents: theirs in the UNet's scale; poses (B, 4).
    """
    tokens = networks.projection(networks.image_encoder(shown).image_embeds, poses)
    tokens = torch.where(dropped[:, None], 0.0, tokens)
    return tokens[:, None], torch.where(dropped[:, None, None, None], 0.0, latents / networks.scaling_factor)


def loss(
    networks: Networks, data: Examples, batch: int, drop_condition: float, generator: torch.Generator
) -> training.Terms:
    """Squared error of v on `batch` random pairs of views, each at its own timestep (Salimans and Ho 2022)."""
    device, (moments, orders, views) = data.latents.device, data.latents.shape[:3]

    def drawn(high: int) -> Tensor:
        return torch.randint(high, (batch,), generator=generator)

    moment, order, source = drawn(moments), drawn(orders), drawn(views)
    source = torch.where(torch.rand(batch, generator=generator) < INPUT_SHARE, 0, source)
    target = (source + 1 + drawn(views - 1)) % views
    timestep = drawn(networks.scheduler.config.num_train_timesteps).to(device)
    dropped = (torch.rand(batch, generator=generator) < drop_condition).to(device)
    at = moment.numpy()
    poses = zero123.relative_pose(
        data.azimuth_deg[at, target.numpy()],
        data.elevation_deg[at, target.numpy()],
        data.azimuth_deg[at, source.numpy()],
        data.elevation_deg[at, source.numpy()],
        micro.POSE,
    ).to(device)
    clean = data.latents[moment, order, target]
    noise = torch.randn(clean.shape, generator=generator).to(device)
    channels = torch.tensor(micro.colour_orders(orders))[order].to(device)
    shown = data.pictures[moment, source].movedim(-1, -3)
    shown = micro.to_encoder(shown[torch.arange(batch, device=device)[:, None], channels])
    tokens, beside = conditioned(networks, shown, data.latents[moment, order, source], poses, dropped)
    noisy = networks.scheduler.add_noise(clean, noise, timestep)
    v = networks.unet(torch.cat([noisy, beside], dim=1), timestep, encoder_hidden_states=tokens).sample
    error = v.float() - networks.scheduler.get_velocity(clean, noise, timestep)
    return {"v": error.square().mean()}


def objective(corpus: Corpus, vae: AutoencoderKL, settings: DenoiserSettings, report: Reporter) -> training.Objective:
    """What the small Zero123 is to learn from a corpus; its first weights come from torch's generator."""
    view_size, device = corpus.rgba.shape[2], vae.device
    latent_size = view_size // zero123.factor_of(vae)
    made = micro.make_pose_denoiser(settings, vae.config.latent_channels, view_size, latent_size)
    networks = [network.to(device) for network in made]
    data, own_vae = examples(corpus, vae, settings.colour_orders, report)
    scheduler = DDPMScheduler.from_config({**micro.POSE_SCHEDULER, "_class_name": "DDPMScheduler"})
    together = Networks(*networks, scheduler=scheduler, scaling_factor=vae.config.scaling_factor)

    def step(generator: torch.Generator) -> training.Terms:
        return loss(together, data, settings.batch, settings.drop_condition, generator)

    def write(folder: Path) -> None:
        micro.write_pose(folder, own_vae.cpu(), *(network.cpu() for network in networks), view_size)

    return training.Objective(networks, step, write)
