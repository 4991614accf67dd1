"""Score distillation (Poole et al. 2023, DreamFusion) by Zero123 over random views of a moving scene.

A random view of a frame is rendered, encoded, noised, and pulled by w(t) (eps_guided - eps) towards what the network
expects from there, w(t) = 1 - abar_t. No network gets a gradient: the denoiser is not differentiated at all, the
encoder only by its input.

Vocabulary: the *conditions* of a frame are its input view and its anchors; their embeddings are made once a fit. The
*window* is the range of timesteps, which narrows and falls during a run (STAG4D). Multi-view SDS (4DSTR eq. 8) is the
weighted sum over two conditions, the input view and the anchor nearest to the view; STAG4D draws one of the two.

Conventions: angles in degrees, absolute; noise and every choice follow from the state of the caller's generator, on the
CPU, so that a seed means the same on every device. Letters: F frames, P conditions a frame (the first is the input
view), B views of a step, K conditions of a view, C channels, h w latent pixels, D width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, unfold

from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.lib.cameras import Cameras
from stages.lib.device import Device
from stages.lib.diffusion.zero123 import ModelError, Zero123, embed, encode, predict, relative_pose, resized
from stages.lib.gaussians import draw
from stages.lib.raster import Rendered
from stages.settings import GuidanceSettings

# STAG4D's random choice: views nearer than this to the input always take it, others with the probability 1 - 0.4.
REFERENCE_SECTOR_DEG = 30.0
ANCHOR_CHANCE = 0.4
# Cameras straight above or below have no azimuth, and no network was trained there.
HIGHEST_DEG = 85.0
# Of the mean diagonal of the normal equations: white margins make the patches' covariance singular.
RIDGE = 1e-4

Encoder = Callable[[Tensor], Tensor]
Shown = list[tuple[int, Tensor | None, dict[str, Tensor]]]
Seen = list[tuple[int, Tensor | None, Tensor, Rendered]]


@dataclass(frozen=True)
class Conditions:
    """What the network is told, made once a fit: embeddings (F, P, D), latents (F, P, C, h, w), angles (P,)."""

    embeddings: Tensor
    latents: Tensor
    azimuth_deg: np.ndarray
    elevation_deg: np.ndarray


@dataclass(frozen=True)
class Guidance:
    """Everything that a fit needs for its term of score distillation; it holds no state that changes."""

    settings: GuidanceSettings
    model: Zero123
    encoder: Encoder
    conditions: Conditions
    cameras: Callable[[np.ndarray, np.ndarray], Cameras]
    """cameras of the scene at azimuths and elevations (B,)"""
    frames: range
    """the fit's frames: the rows F of the conditions"""
    span: tuple[float, float]
    """the part of the whole run that this fit is"""
    weights: str
    """sha256 of the network"""

    @property
    def weight(self) -> float:
        """Weight of the term; steps without one are made up for."""
        return self.settings.weight * self.settings.every

    def due(self, step: int) -> bool:
        """Whether the step, counted from 0, has the term."""
        return (step + 1) % self.settings.every == 0

    def term(self, shown: Shown, progress: float, generator: torch.Generator, device: Device) -> tuple[Tensor, Seen]:
        """The unweighted term, averaged over views, and what was drawn for it.

        shown: frame, rows and gaussians of the step's sub-clip. progress: of this fit, in [0, 1]. Raises StageError
        when the GPU's memory does not suffice.
        """
        settings, count = self.settings, len(shown) * self.settings.views
        generator = branched(generator)
        azimuth = 360 * torch.rand(count, generator=generator).numpy() - 180
        elevation = settings.elevation_deg * (2 * torch.rand(count, generator=generator).numpy() - 1)
        elevation = (self.conditions.elevation_deg[0] + elevation).clip(-HIGHEST_DEG, HIGHEST_DEG)
        backgrounds = torch.ones(count, 3)
        if settings.background == "white_or_black":
            backgrounds *= torch.randint(2, (count, 1), generator=generator)
        seen: Seen = []
        for index, (frame, rows, gaussians) in enumerate(shown):
            views = slice(index * settings.views, (index + 1) * settings.views)
            means = gaussians["means"]
            offset = torch.zeros(settings.views, len(means), 2, device=means.device, requires_grad=True)
            rendered = draw(
                gaussians,
                self.cameras(azimuth[views], elevation[views]),
                backgrounds[views].to(means.device),
                backend=device.backend,
                threads=device.threads,
                means2d_offset=offset,
            )
            seen.append((frame, rows, offset, rendered))
        pictures = torch.cat([rendered.image for *_, rendered in seen]).permute(0, 3, 1, 2)
        frames = np.repeat([frame for frame, *_ in shown], settings.views) - self.frames[0]
        with memory(settings):
            values = self.values(pictures, frames, azimuth, elevation, progress, generator)
        return values.mean(), seen

    def values(
        self,
        pictures: Tensor,
        frames: np.ndarray,
        azimuth_deg: np.ndarray,
        elevation_deg: np.ndarray,
        progress: float,
        generator: torch.Generator,
    ) -> Tensor:
        """The term of each view (B,), of pictures (B, 3, H, W) of the conditions' frames (B,) at angles (B,)."""
        settings, here = self.settings, self.conditions
        chosen, mix = choose(settings, here, azimuth_deg, elevation_deg, generator)
        whole = self.span[0] + progress * (self.span[1] - self.span[0])
        steps = len(self.model.alphas_cumprod)
        low, high = (min(int(bound * steps), steps - 1) for bound in window(settings, whole))
        timestep = torch.randint(low, high + 1, (len(pictures),), generator=generator)
        noise = torch.randn(len(pictures), *here.latents.shape[2:], generator=generator)
        poses = [
            relative_pose(azimuth_deg, elevation_deg, here.azimuth_deg[k], here.elevation_deg[k], self.model.pose)
            for k in chosen.T
        ]
        at = torch.from_numpy(frames)[:, None], torch.from_numpy(chosen)
        value, gradient = distil(
            self.model,
            self.encoder,
            pictures.detach(),
            here.embeddings[at],
            here.latents[at],
            torch.stack(poses, dim=1),
            mix,
            timestep,
            noise,
            settings.guidance_scale,
        )
        return _Distilled.apply(pictures, value, gradient)


@contextmanager
def memory(settings: GuidanceSettings) -> Iterator[None]:
    """Turn a GPU that is full into a StageError that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise StageError(
            f"out of GPU memory in the guidance ({str(error).splitlines()[0]}). Lower guidance.views (now "
            f"{settings.views}), type `guidance.encoder: linear` or `guidance.encode_size: 128`, or type "
            "`guidance.precision: float16`."
        ) from None


# ------------------------------------------------------------------ choices


def branched(generator: torch.Generator) -> torch.Generator:
    """A generator that follows from the state of another one and leaves it alone.

    A fit with guidance then draws the same sub-clips, views and backgrounds as one without, and the two compare in
    pairs.
    """
    copy = torch.Generator().set_state(generator.get_state())
    return torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=copy)))


def window(settings: GuidanceSettings, progress: float) -> tuple[float, float]:
    """Lowest and highest timestep, as fractions of the schedule, at `progress` of the whole run (STAG4D)."""
    annealed = min(1.0, progress / settings.anneal)
    low, high = ((1 - annealed) * first + annealed * last for first, last in (settings.t_min, settings.t_max))
    return low, high


def directions(azimuth_deg: np.ndarray, elevation_deg: np.ndarray) -> np.ndarray:
    """Unit vectors (..., 3) from the origin to cameras at these angles."""
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=-1
    )


def choose(
    settings: GuidanceSettings,
    conditions: Conditions,
    azimuth_deg: np.ndarray,
    elevation_deg: np.ndarray,
    generator: torch.Generator,
) -> tuple[np.ndarray, Tensor]:
    """Indices (B, K) of each view's conditions, and their weights (B, K).

    sum: the input view and the anchor with the smallest angle to the view (4DSTR eq. 8). random: one of them, the
    anchor by azimuth alone, as STAG4D draws it.
    """
    if settings.conditions == "sum":
        views = directions(azimuth_deg, elevation_deg)
        anchors = directions(conditions.azimuth_deg[1:], conditions.elevation_deg[1:])
        nearest = 1 + np.argmax(views @ anchors.T, axis=1)
        both = [(np.zeros_like(nearest), settings.reference), (nearest, settings.anchor)]
        used = [(index, weight) for index, weight in both if weight > 0]
        mix = torch.tensor([weight for _, weight in used]).expand(len(nearest), -1)
        return np.stack([index for index, _ in used], axis=1), mix
    apart = np.abs((azimuth_deg[:, None] - conditions.azimuth_deg + 180) % 360 - 180)
    nearest = 1 + np.argmin(apart[:, 1:], axis=1)
    drawn = torch.rand(len(nearest), generator=generator).numpy() < ANCHOR_CHANCE
    anchored = drawn & (apart[:, 0] >= REFERENCE_SECTOR_DEG)
    return np.where(anchored, nearest, 0)[:, None], torch.ones(len(nearest), 1)


# ------------------------------------------------------------------ gradient


def distil(
    model: Zero123,
    encoder: Encoder,
    pictures: Tensor,
    embeddings: Tensor,
    latents: Tensor,
    poses: Tensor,
    mix: Tensor,
    timestep: Tensor,
    noise: Tensor,
    guidance_scale: float,
) -> tuple[Tensor, Tensor]:
    """Half the squared pull (B,) on the latents of pictures (B, 3, H, W), and the pull on the pictures themselves.

    embeddings (B, K, D), latents (B, K, C, h, w), poses (B, K, 4), weights mix (B, K), timestep (B,), noise
    (B, C, h, w). The pull on the latents is sum_k mix_k w(t) (eps_k - eps); the encoder carries it to the pictures
    here, before the weight of the term makes it too small for half precision.
    """
    leaf = pictures.detach().requires_grad_()
    with torch.enable_grad():
        encoded = encoder(leaf)
    device = encoded.device
    timestep, noise, mix = timestep.to(device), noise.to(device), mix.to(device)
    abar = model.alphas_cumprod[timestep][:, None, None, None]
    noisy = abar.sqrt() * encoded.detach().float() + (1 - abar).sqrt() * noise
    guided = predict(model, noisy, timestep, embeddings, latents, poses, guidance_scale)
    pull = (mix[:, :, None, None, None] * (1 - abar)[:, None] * (guided - noise[:, None])).sum(dim=1)
    (gradient,) = torch.autograd.grad(encoded, leaf, pull.to(encoded.dtype))
    return 0.5 * pull.square().sum(dim=(1, 2, 3)), gradient


class _Distilled(torch.autograd.Function):
    """Values (B,) whose derivative by pictures (B, ...) is given: the pull has no loss that it is the gradient of."""

    @staticmethod
    def forward(ctx, pictures: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, grad_value: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_value[:, None, None, None] * gradient, None, None


# ------------------------------------------------------------------ encoders


def through_autoencoder(model: Zero123, size: int | None) -> Encoder:
    """The autoencoder at the network's own side, or at a smaller one with its latents enlarged.

    Raises ModelError for a size that the autoencoder cannot have.
    """
    size = size or model.side
    if size % model.factor:
        raise ModelError(
            f"guidance.encode_size is {size}; expected a multiple of {model.factor} for this network. Type "
            f"`guidance.encode_size: {max(1, round(size / model.factor)) * model.factor}`."
        )
    if size == model.side:
        return lambda pictures: encode(model, resized(pictures, size))
    side = model.side // model.factor
    return lambda pictures: interpolate(
        encode(model, resized(pictures, size)), (side, side), mode="bilinear", align_corners=False
    )


@dataclass(frozen=True)
class LinearEncoder:
    """One linear map from the pixels under a latent pixel to its channels, instead of the autoencoder."""

    side: int
    weight: Tensor
    """(C, 3, f, f)"""
    bias: Tensor
    """(C,)"""

    def __call__(self, pictures: Tensor) -> Tensor:
        return conv2d(resized(pictures, self.side), self.weight, self.bias, stride=self.weight.shape[-1])

    @classmethod
    def fitted(cls, pictures: Tensor, latents: Tensor) -> tuple[LinearEncoder, float]:
        """The least-squares map from pictures (N, 3, s, s) to latents (N, C, h, w), and the variance it explains."""
        side, factor = pictures.shape[-1], pictures.shape[-1] // latents.shape[-1]
        width = 3 * factor**2 + 1
        gram = torch.zeros(width, width, dtype=torch.float64)
        cross = torch.zeros(width, latents.shape[1], dtype=torch.float64)
        total, square = torch.zeros(latents.shape[1], dtype=torch.float64), 0.0
        for picture, latent in zip(pictures, latents, strict=True):
            patches = unfold(picture[None].double().cpu(), factor, stride=factor)[0]
            patches = torch.cat([patches, torch.ones_like(patches[:1])])
            target = latent.double().cpu().flatten(1)
            gram += patches @ patches.T
            cross += patches @ target.T
            total += target.sum(1)
            square += float(target.square().sum())
        ridge = RIDGE * gram.diagonal().mean() * torch.eye(width, dtype=torch.float64)
        solved = torch.linalg.solve(gram + ridge, cross)
        missed = square - float((2 * solved * cross).sum() - (solved * (gram @ solved)).sum())
        varied = square - float(total.square().sum()) / float(gram[-1, -1])
        weight, bias = solved[:-1].T.unflatten(1, (3, factor, factor)), solved[-1]
        like = pictures.float()
        return cls(side, weight.to(like), bias.to(like)), 1 - missed / max(varied, 1e-12)


# ------------------------------------------------------------------ preparation


def prepare(
    model: Zero123,
    settings: GuidanceSettings,
    pictures: np.ndarray,
    clip: Frames,
    anchors: Anchors,
    frames: range,
    span: tuple[float, float],
    weights: str,
    report: Reporter,
) -> Guidance:
    """Embed the conditions, straight uint8 (F, P, H, W, 4), of the fit's frames, and make the encoder.

    Raises ModelError when `encode_size` does not fit the network.
    """
    embeddings, latents, on_white = [], [], []
    for frame in pictures:
        found = [embed(model, picture) for picture in frame]
        for stack, values in zip((embeddings, latents, on_white), zip(*found, strict=True), strict=True):
            stack.append(torch.stack(values))
    conditions = Conditions(
        torch.stack(embeddings),
        torch.stack(latents),
        np.concatenate([[0.0], anchors.azimuth_deg]),
        np.concatenate([[float(clip.elevation_deg)], anchors.elevation_deg]),
    )
    # CLIP has done its part: 0.6 GB in half precision.
    model = replace(model, image_encoder=None)
    if settings.encoder == "linear":
        scaled = torch.cat(latents) * model.vae.config.scaling_factor
        encoder, explained = LinearEncoder.fitted(torch.cat(on_white), scaled)
        report.say(f"the linear encoder explains {100 * explained:.1f} % of the variance of the conditions' latents")
    else:
        encoder = through_autoencoder(model, settings.encode_size)
    return Guidance(settings, model, encoder, conditions, clip.cameras, frames, span, weights)
