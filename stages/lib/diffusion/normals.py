"""The normal generator of Zero123++ v1.2: for six generated views the direction that the surface faces in every pixel.

Vocabulary: a *normal picture* stores a vector in [-1, 1]^3 as a colour, (n + 1) / 2; its *length* is 1 on a surface and
0 (mid-grey) where there is none, which makes it a matte (see matting.py). The generator is a ControlNet: a second
network that looks at the finished colour sheet and turns the same Zero123++, with the same condition, from
drawing colours to drawing normals (Shi et al. 2023, README of SUDO-AI-3D/zero123plus, release 1.2).

Conventions: those of zero123plus.py. The colour sheet enters as 2 x - 1, not in the autoencoder's scale. Frames are not
fused: a silhouette is to follow its own frame's colours. The folder is diffusers' own: config.json and one
safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel

from stages.lib.diffusion.components import ModelError, component
from stages.lib.diffusion.zero123plus import Control, Sampling, Zero123Plus, sample, sheet_of

# As published; the network was trained with what it adds unscaled.
CONDITIONING_SCALE = 1.0
# Beside the seed: another noise than that of the colours, with which the two sheets would begin equal.
NOISE = 1


def load(folder: Path, model: Zero123Plus) -> ControlNetModel:
    """Read the generator in `model`'s precision, to its device; nothing is fetched and no remote code runs.

    Raises ModelError: a missing, unreadable or incomplete file, a ControlNet of another network.
    """
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder / name} is missing; expected diffusers' layout of a ControlNet (config.json, "
                "diffusion_pytorch_model.safetensors). Fetch the folder again, or copy it whole."
            )
    network = component(folder, ControlNetModel, model.unet.dtype, safetensors=True).to(model.unet.device)
    found, unet = network.config, model.unet.config
    expected = {
        "in_channels": unet.in_channels,
        "block_out_channels": unet.block_out_channels,
        "layers_per_block": unet.layers_per_block,
        "cross_attention_dim": unet.cross_attention_dim,
        "conditioning_channels": 3,
    }
    sizes = {name: (found[name], value) for name, value in expected.items()}
    # Each further width of this embedding halves the sheet once, as each further block of the autoencoder does.
    sizes["conditioning_embedding_out_channels, how many"] = (
        len(found.conditioning_embedding_out_channels),
        len(model.vae.config.block_out_channels),
    )
    for name, (given, fitting) in sizes.items():
        if given != fitting:
            raise ModelError(
                f"{folder}: {name} is {given}, expected {fitting} to fit Zero123++. This is no normal generator of it; "
                "correct `normals` of that network in config/weights.yaml."
            )
    return network


def draw(
    model: Zero123Plus,
    generator: ControlNetModel,
    frames: np.ndarray,
    views: np.ndarray,
    sampling: Sampling,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Normal pictures of the views (F, 6, s, s, 3) uint8 that `model` drew of frames (F, H, W, 4): uint8, as the views.

    sampling: of this pass; its fusion and view_size are not read, its seed is the colours' own. Raises ModelError as
    `zero123plus.sample` does.
    """
    seed = int(np.random.SeedSequence((sampling.seed, NOISE)).generate_state(1, np.uint64)[0])
    colours = sheet_of(torch.from_numpy(views).permute(0, 1, 4, 2, 3)).to(model.unet.device, model.unet.dtype)
    control = Control(generator, colours / 127.5 - 1, CONDITIONING_SCALE)
    own = replace(sampling, fusion=0.0, view_size=views.shape[2], seed=seed)
    return sample(model, frames, own, progress, control)
