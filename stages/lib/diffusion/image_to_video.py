"""Stable Video Diffusion (Blattmann et al. 2023): a clip that begins with a picture, through diffusers' own pipeline.

The network was trained on wide pictures, 576 x 1024. An object is therefore put on a *canvas* of that size: cut out,
scaled so that its longer side takes a fraction of the canvas' shorter one, in the middle, on a plain colour. What comes
back is matted at the canvas' size; the square in its middle is cut when frames are made of it (images.central_square).

The folder is the public one in half precision: unet, vae, image_encoder, scheduler, feature_extractor. Only safetensors
are read, files named `*.fp16.safetensors`, in whatever precision is wanted.

Conventions: T frames, H W pixels of the canvas; RGBA has straight alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from stages.lib import images
from stages.lib.diffusion.components import ModelError, check_widths, component, preparation
from stages.lib.diffusion.text_to_image import pixels
from stages.settings import ClipSettings

NETWORKS = {
    "vae": AutoencoderKLTemporalDecoder,
    "image_encoder": CLIPVisionModelWithProjection,
    "unet": UNetSpatioTemporalConditionModel,
}
# The class that needs no torchvision, so that the same numbers come out beside it.
PREPARATIONS = {"scheduler": EulerDiscreteScheduler, "feature_extractor": CLIPImageProcessorPil}
# The network is told three numbers of the clip: frames a second, motion bucket, noise on the picture.
CLIP_TERMS = 3
BACKGROUNDS = {"white": 1.0, "grey": 0.5}


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> StableVideoDiffusionPipeline:
    """Read a folder in the public layout; nothing is fetched and no remote code runs.

    Raises ModelError: a missing or unreadable component, a network of another kind or prediction type.
    """
    parts = {name: preparation(folder / name, kind) for name, kind in PREPARATIONS.items()}
    predicts = parts["scheduler"].config.prediction_type
    if predicts != "v_prediction":
        raise ModelError(
            f"{folder} predicts {predicts!r}; expected 'v_prediction', as Stable Video Diffusion does. Name one in "
            "clip.model."
        )
    parts |= {name: component(folder / name, kind, dtype, "fp16", True) for name, kind in NETWORKS.items()}
    unet, latents = parts["unet"].config, parts["vae"].config.latent_channels
    told = CLIP_TERMS * unet.addition_time_embed_dim
    widths = {
        "unet.in_channels": (unet.in_channels, 2 * latents),
        "unet.out_channels": (unet.out_channels, latents),
        "unet.cross_attention_dim": (unet.cross_attention_dim, parts["image_encoder"].config.projection_dim),
        "unet.projection_class_embeddings_input_dim": (unet.projection_class_embeddings_input_dim, told),
    }
    check_widths(folder, widths, "Stable Video Diffusion", "clip.model")
    pipeline = StableVideoDiffusionPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def canvas(rgba: np.ndarray, settings: ClipSettings) -> np.ndarray:
    """An object, straight uint8 (h, w, 4), in the middle of a plain canvas: uint8 (H, W, 3)."""
    mask = rgba[..., 3] > images.MASK_ALPHA
    side = min(settings.height, settings.width)
    square = images.resample(rgba, images.around(mask[None], settings.fill), side)
    above, left = settings.height - side, settings.width - side
    sides = ((above // 2, above - above // 2), (left // 2, left - left // 2), (0, 0))
    return images.to_uint8(images.over(np.pad(square, sides), BACKGROUNDS[settings.background]))


def animate(
    pipeline: StableVideoDiffusionPipeline,
    picture: np.ndarray,
    settings: ClipSettings,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """A clip that begins with a picture, uint8 (H, W, 3) to (T, H, W, 3).

    All noise comes from the seed, drawn on the CPU, so that a seed means the same on every device. Raises ModelError
    when the numbers overflow.
    """

    def step(pipe, index: int, timestep: torch.Tensor, tensors: dict) -> dict:
        progress(index + 1, settings.steps)
        return tensors

    frames = pipeline(
        Image.fromarray(picture),
        height=settings.height,
        width=settings.width,
        num_frames=settings.n_frames or pipeline.unet.config.num_frames,
        num_inference_steps=settings.steps,
        min_guidance_scale=settings.guidance[0],
        max_guidance_scale=settings.guidance[1],
        fps=settings.fps,
        motion_bucket_id=settings.motion,
        noise_aug_strength=settings.noise,
        decode_chunk_size=settings.decode_frames,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        output_type="np",
        callback_on_step_end=step,
    ).frames[0]
    return pixels(frames, "clip")
