"""Zero123 (Liu et al. 2023): noise of a view, given one picture of the object and the camera's pose relative to it.

Vocabulary: the *condition* is a picture of the object on white; the *pose* is a camera relative to the condition's,
four numbers; the *embedding* is CLIP's of the condition (D,), which together with the pose becomes the one token of the
cross-attention; the *condition latent* is the autoencoder's mode, not multiplied by its scaling factor, which stands
beside the noisy latent in the network's input channels. The *unconditional* branch has zeros for both.

Pose: polar angle of the target minus that of the condition (radians, from +y: up is negative), sine and cosine of the
difference of azimuths, and a fourth term: Zero123 and Zero123-XL the difference of the distances, Stable-Zero123 the
polar angle of the condition itself. Which one a network wants is `pose` in config/weights.yaml.

A network predicts the noise, as the published ones do, or v (Salimans and Ho 2022), as its scheduler's configuration
says; `predict` returns the noise of either.

Letters: B pictures or views, K conditions a view, C channels, h w latent pixels, D width of an embedding. The folder
has diffusers' layout, one folder a component. Weights are read as safetensors or with torch's weights_only loader.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import CLIPVisionModelWithProjection

from stages.lib.diffusion.components import ModelError, check_widths, component, configuration
from stages.lib.diffusion.zero123plus import Preprocessor

POSE_TERMS = 4
POSES = ("distance", "elevation")
PREDICTIONS = ("epsilon", "v_prediction")


class CameraProjection(ModelMixin, ConfigMixin):
    """One linear layer from embedding and pose to the token of the cross-attention."""

    @register_to_config
    def __init__(self, embedding_dim: int = 768, additional_embeddings: int = POSE_TERMS) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding_dim + additional_embeddings, embedding_dim)

    def forward(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Tokens (B, D) of embeddings (B, D) and poses (B, 4)."""
        return self.proj(torch.cat([embedding, pose.to(embedding)], dim=-1))


COMPONENTS = {
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
    "image_encoder": CLIPVisionModelWithProjection,
    "clip_camera_projection": CameraProjection,
}
SCHEDULER = "scheduler/scheduler_config.json"
PREPROCESSOR = "feature_extractor/preprocessor_config.json"


@dataclass(frozen=True)
class Zero123:
    """The frozen networks and fixed numbers of one folder."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    image_encoder: CLIPVisionModelWithProjection | None
    """None once the conditions are embedded"""
    clip_camera_projection: CameraProjection
    alphas_cumprod: Tensor
    """(T,) float32 on the networks' device: share of the signal's variance at every timestep"""
    for_clip: Preprocessor
    pose: str
    """what the fourth term of a pose is: distance or elevation"""
    side: int
    """pixels of the pictures that the network was trained on"""
    prediction: str = "epsilon"
    """what the UNet predicts: epsilon or v_prediction"""

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def factor(self) -> int:
        """Pixels of a picture in one of its latent, along a side."""
        return factor_of(self.vae)


def factor_of(vae: AutoencoderKL) -> int:
    """Pixels of a picture in one of its latent, along a side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def load(folder: Path, pose: str, side: int | None, device: torch.device, dtype: torch.dtype) -> Zero123:
    """Read a folder in diffusers' layout; nothing is fetched and no remote code runs.

    pose, side: see `Zero123`; a side of None is that of the UNet's own configuration. Raises ModelError: a missing,
    unreadable or incomplete component, components that do not fit each other, a network of another kind or prediction
    type.
    """
    layout = f"Zero123's folder layout ({', '.join([*COMPONENTS, SCHEDULER, PREPROCESSOR])})"
    scheduler = configuration(folder / SCHEDULER, layout)
    for file in (PREPROCESSOR, *(f"{name}/config.json" for name in COMPONENTS)):
        configuration(folder / file, layout)
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise ModelError(
            f"{folder} predicts {prediction!r}; expected 'epsilon', as Zero123 does, or 'v_prediction'. "
            "Name a Zero123 in guidance.model."
        )
    loaded = {name: component(folder / name, kind, dtype).to(device) for name, kind in COMPONENTS.items()}
    alphas_cumprod = DDIMScheduler.from_config(scheduler).alphas_cumprod.to(device)
    for_clip = Preprocessor.read(folder / PREPROCESSOR)
    if side is None:
        side = _own_side(folder, loaded["unet"], loaded["vae"])
    model = Zero123(
        **loaded, alphas_cumprod=alphas_cumprod, for_clip=for_clip, pose=pose, side=side, prediction=prediction
    )
    _check(folder, model)
    return model


def _own_side(folder: Path, unet: UNet2DConditionModel, vae: AutoencoderKL) -> int:
    """Pixels of the pictures whose latents have the UNet's `sample_size`."""
    if not isinstance(unet.config.sample_size, int):
        raise ModelError(
            f"{folder}/unet/config.json has sample_size {unet.config.sample_size}; expected the side of a latent. "
            "Say `side`, the pixels of its pictures, in config/weights.yaml."
        )
    return unet.config.sample_size * factor_of(vae)


def _check(folder: Path, model: Zero123) -> None:
    """Raise ModelError if the components do not fit each other or the pictures."""
    unet, vision, projection = model.unet.config, model.image_encoder.config, model.clip_camera_projection.config
    latent = model.vae.config.latent_channels
    widths = {
        "unet.in_channels": (unet.in_channels, 2 * latent),
        "unet.out_channels": (unet.out_channels, latent),
        "unet.cross_attention_dim": (unet.cross_attention_dim, projection.embedding_dim),
        "image_encoder.projection_dim": (vision.projection_dim, projection.embedding_dim),
        "clip_camera_projection.additional_embeddings": (projection.additional_embeddings, POSE_TERMS),
    }
    check_widths(folder, widths, "Zero123", "guidance.model")
    multiple = model.factor * 2 ** (len(unet.block_out_channels) - 1)
    if model.side % multiple:
        raise ModelError(
            f"{folder}: the side of its pictures is {model.side}, as `side` in config/weights.yaml or the UNet's own "
            f"configuration says; expected a multiple of {multiple} for this network. Correct it there."
        )


def relative_pose(
    azimuth_deg: np.ndarray,
    elevation_deg: np.ndarray,
    from_azimuth_deg: np.ndarray,
    from_elevation_deg: np.ndarray,
    kind: str,
) -> Tensor:
    """Poses (B, 4) float32 of cameras relative to the conditions' at the same distance; all angles (B,) degrees.

    Elevations count up from the horizon, poses count the polar angle down from +y (Zero123's training data; the fourth
    term of Stable-Zero123: threestudio issue 360).
    """
    turn = np.radians(azimuth_deg - from_azimuth_deg)
    fourth = np.radians(90.0 - from_elevation_deg) if kind == "elevation" else np.zeros_like(turn)
    columns = [np.radians(from_elevation_deg - elevation_deg), np.sin(turn), np.cos(turn), fourth]
    return torch.from_numpy(np.stack(columns, axis=-1).astype(np.float32))


def resized(pictures: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, H, W) at side x side, bilinear, smoothed where it shrinks."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)


def on_white(rgba: np.ndarray, side: int) -> Tensor:
    """Straight uint8 (B, H, W, 4) as pictures on white in [0, 1], float32 (B, 3, side, side)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    white = rgba[..., :3].astype(np.float32) / 255 * alpha + (1 - alpha)
    return resized(torch.from_numpy(white).permute(0, 3, 1, 2), side)


def to_pixels(pictures: Tensor) -> np.ndarray:
    """Pictures (B, 3, H, W) in [0, 1] as uint8 (B, H, W, 3)."""
    return (pictures.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()


@torch.no_grad()
def embed(model: Zero123, rgba: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Embedding (D,), latent (C, h, w) and picture on white (3, s, s) of one condition, straight uint8 (H, W, 4).

    The latent is the posterior's mode, unscaled, as in the original training; ports of it sample.
    """
    pictures = on_white(rgba[None], model.side)
    picture, pixels = pictures[0], to_pixels(pictures)[0]
    embedding = model.image_encoder(model.for_clip(pixels)[None].to(model.device, model.dtype)).image_embeds[0]
    picture = picture.to(model.device)
    return embedding, encode(model, picture[None])[0] / model.vae.config.scaling_factor, picture


def encode(model: Zero123, pictures: Tensor) -> Tensor:
    """Scaled latents (B, C, h, w) of pictures (B, 3, H, W) in [0, 1]: the posterior's mode."""
    return model.vae.encode((2 * pictures - 1).to(model.dtype)).latent_dist.mode() * model.vae.config.scaling_factor


@torch.no_grad()
def predict(
    model: Zero123,
    noisy: Tensor,
    timestep: Tensor,
    embeddings: Tensor,
    latents: Tensor,
    poses: Tensor,
    guidance_scale: float,
) -> Tensor:
    """Guided noise (B, K, C, h, w) of noisy latents (B, C, h, w) at timesteps (B,), for K conditions of each.

    embeddings (B, K, D), condition latents (B, K, C, h, w), poses (B, K, 4). One call of the network holds everything.
    The unconditional branch knows nothing of a condition, so all K of a view share it: K + 1 samples instead of 2 K,
    and K where the scale is 1.
    """
    tokens, beside = model.clip_camera_projection(embeddings, poses.to(embeddings.device)), latents
    alone = guidance_scale == 1
    if not alone:
        tokens = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)
        beside = torch.cat([torch.zeros_like(latents[:, :1]), latents], dim=1)
    branches = tokens.shape[1]
    inputs = torch.cat([noisy.to(model.dtype)[:, None].expand_as(beside), beside], dim=2)
    predicted = model.unet(
        inputs.flatten(0, 1), timestep.repeat_interleave(branches), encoder_hidden_states=tokens.flatten(0, 1)[:, None]
    ).sample
    guided = predicted.float().unflatten(0, (-1, branches))
    if not alone:
        unconditional, conditional = guided.split([1, branches - 1], dim=1)
        guided = unconditional + guidance_scale * (conditional - unconditional)
    if model.prediction == "epsilon":
        return guided
    abar = model.alphas_cumprod[timestep][:, None, None, None, None]
    return abar.sqrt() * guided + (1 - abar).sqrt() * noisy.float()[:, None]


@torch.no_grad()
def sample(
    model: Zero123,
    embedding: Tensor,
    latent: Tensor,
    poses: Tensor,
    steps: int,
    guidance_scale: float,
    generator: torch.Generator,
) -> np.ndarray:
    """Views of one condition from poses (B, 4), opaque uint8 (B, s, s, 3): DDIM (Song et al. 2021) without fresh noise.

    embedding (D,), latent (C, h, w): the condition's, from `embed`. Timesteps are spaced from the last one down
    ("trailing"); noise is drawn on the CPU, so that a seed means the same on every device.
    """
    count, schedule = len(poses), model.alphas_cumprod
    latents = torch.randn(count, *latent.shape, generator=generator).to(model.device)
    embeddings, beside = (each[None, None].expand(count, 1, *each.shape) for each in (embedding, latent))
    timesteps = (len(schedule) - torch.arange(steps) * (len(schedule) / steps)).round().long() - 1
    levels = torch.cat([schedule[timesteps.to(schedule.device)], torch.ones_like(schedule[:1])])
    for timestep, abar, following in zip(timesteps, levels[:-1], levels[1:], strict=True):
        now = timestep.expand(count).to(model.device)
        noise = predict(model, latents, now, embeddings, beside, poses[:, None], guidance_scale)[:, 0]
        clean = (latents - (1 - abar).sqrt() * noise) / abar.sqrt()
        latents = following.sqrt() * clean + (1 - following).sqrt() * noise
    pictures = model.vae.decode((latents / model.vae.config.scaling_factor).to(model.dtype)).sample.float()
    return to_pixels((pictures / 2 + 0.5).clamp(0, 1))
