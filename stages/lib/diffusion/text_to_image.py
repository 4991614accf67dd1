"""SDXL (Podell et al. 2023): one picture of a text, through diffusers' own pipeline on components that we read.

The folder is the public one of Stable Diffusion XL base 1.0 in half precision: unet, vae, two text encoders with their
tokenizers, scheduler. Only safetensors are read, files named `*.fp16.safetensors`, in whatever precision is wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stages.lib.diffusion.components import ModelError, check_widths, component, preparation
from stages.settings import PictureSettings

NETWORKS = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "unet": UNet2DConditionModel,
}
PREPARATIONS = {"tokenizer": CLIPTokenizer, "tokenizer_2": CLIPTokenizer, "scheduler": EulerDiscreteScheduler}
# The network is told six numbers of the picture: its original size, the corner of its crop, its size.
SIZE_TERMS = 6


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusionXLPipeline:
    """Read a folder in the public layout; nothing is fetched and no remote code runs.

    Raises ModelError: a missing or unreadable component, a network of another kind or prediction type.
    """
    parts = {name: preparation(folder / name, kind) for name, kind in PREPARATIONS.items()}
    predicts = parts["scheduler"].config.prediction_type
    if predicts != "epsilon":
        raise ModelError(
            f"{folder} predicts {predicts!r}; expected 'epsilon', as SDXL does. Name one in picture.model."
        )
    parts |= {name: component(folder / name, kind, dtype, "fp16", True) for name, kind in NETWORKS.items()}
    unet, first, second = (parts[name].config for name in ("unet", "text_encoder", "text_encoder_2"))
    told = SIZE_TERMS * (unet.addition_time_embed_dim or 0) + second.projection_dim
    widths = {
        "unet.in_channels": (unet.in_channels, parts["vae"].config.latent_channels),
        "unet.cross_attention_dim": (unet.cross_attention_dim, first.hidden_size + second.hidden_size),
        "unet.projection_class_embeddings_input_dim": (unet.projection_class_embeddings_input_dim, told),
    }
    check_widths(folder, widths, "SDXL", "picture.model")
    # A watermark would depend on which packages are installed.
    pipeline = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def words_lost(pipeline: StableDiffusionXLPipeline, prompt: str) -> str:
    """What of a prompt is beyond the tokens that the text encoders read; empty when nothing is."""
    longest = pipeline.tokenizer.model_max_length
    tokens = pipeline.tokenizer(prompt).input_ids
    # The last token that is read is the end of the text.
    return pipeline.tokenizer.decode(tokens[longest - 1 : -1]).strip() if len(tokens) > longest else ""


def draw(
    pipeline: StableDiffusionXLPipeline, prompt: str, settings: PictureSettings, progress: Callable[[int, int], None]
) -> np.ndarray:
    """The picture of a prompt, uint8 (size, size, 3). All noise comes from the seed, drawn on the CPU.

    Raises ModelError when the numbers overflow.
    """

    def step(pipe, index: int, timestep: torch.Tensor, tensors: dict) -> dict:
        progress(index + 1, settings.steps)
        return tensors

    picture = pipeline(
        prompt,
        negative_prompt=settings.negative,
        height=settings.size,
        width=settings.size,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        output_type="np",
        callback_on_step_end=step,
    ).images[0]
    return pixels(picture, "picture")


def pixels(values: np.ndarray, section: str) -> np.ndarray:
    """Floats in [0, 1] as uint8; raises ModelError when some are not finite, as float16 overflows."""
    if not np.isfinite(values).all():
        raise ModelError(f"the network's numbers overflow; type `{section}.precision: bfloat16` (or float32).")
    return (values * 255).round().clip(0, 255).astype(np.uint8)
