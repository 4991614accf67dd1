"""Small networks of Zero123++'s and Zero123's own classes, and the public folder layouts around them.

What stands in for what, in Zero123++: the text encoder only ever sees the empty prompt, so one layer with TOKENS
positions holds those learned constants; CLIP's image encoder (632 million parameters) is a
CLIPVisionModelWithProjection of the same class, trained together with the UNet from nothing: no public one is small
enough, and its one task here is a global description of the condition (what it is, its colours), while detail goes
through reference attention. The ramp rises evenly instead of the published one, whose numbers belong to 77 tokens.

Zero123 has the same UNet but for its input, an image encoder of the same class, trained likewise, and the linear layer
for embedding and pose. It predicts v instead of the noise: a small network's error in the noise is multiplied by up to
14 where hardly any signal is left, which is where few steps, and the distillation's first timesteps, begin. The fourth
term of its pose is the elevation of the condition, as in Stable-Zero123: conditions are anchors too, which look from
above and below.

Scales: the autoencoder's first and last 1x1 convolutions are rewritten after its training (`normalise`), so that with
Stable Diffusion's scaling factor a sheet enters the UNet with mean 0 and deviation 1, and the condition, which is not
multiplied by it, about seven times as strong: at the first of few steps hardly anything else of it is left under the
noise (Zero123++, section 3.1: "scaled by a factor of 5"). Zero123 has a copy of it (`for_zero123`), since its pictures
enter in [-1, 1] and on white, and its latents without Zero123++'s shift; they too have mean 0 and deviation 1.

Letters: B pictures, C channels of a latent, h w latent pixels, D width of a token.
"""

from __future__ import annotations

import copy
import json
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from stages.lib.diffusion.zero123 import PREPROCESSOR as POSE_PREPROCESSOR
from stages.lib.diffusion.zero123 import SCHEDULER as POSE_SCHEDULER_FILE
from stages.lib.diffusion.zero123 import CameraProjection
from stages.lib.diffusion.zero123plus import IMAGE_SCALE, LATENT_SCALE, LATENT_SHIFT
from stages.lib.weights import MICRO, MICRO_POSE, RECEIPT, sha256
from stages.settings import AutoencoderSettings, DenoiserSettings

TOKENS = 8
# Begin, end, padding: the empty prompt in the tokenizer that is written below (CLIP's own special words).
VOCABULARY = {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "!</w>": 3}
PROMPT = (1, 2) + (0,) * (TOKENS - 2)
SCALING_FACTOR = 0.18215
SCHEDULER = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
POSE_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
# What the fourth term of the small Zero123's pose is (config/weights.yaml says the same).
POSE = "elevation"
# GroupNorm's groups; every width is a multiple.
GROUPS = 8
# A head of an attention has this many channels.
HEAD = 16
PATCH = 8
BILINEAR = 2
IMAGE_MEAN, IMAGE_STD = 0.5, 0.8


def make_autoencoder(settings: AutoencoderSettings) -> AutoencoderKL:
    """A random autoencoder; one resnet a resolution, no attention: tiles must not see each other more than needed."""
    levels = len(settings.channels)
    return AutoencoderKL(
        block_out_channels=tuple(settings.channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=settings.latent_channels,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        mid_block_add_attention=False,
        scaling_factor=SCALING_FACTOR,
    )


def make_denoiser(
    settings: DenoiserSettings, latent_channels: int, view_size: int
) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPVisionModelWithProjection]:
    """Random UNet, text encoder and image encoder of Zero123++."""
    width = settings.embedding
    text = CLIPTextConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return _unet(settings, latent_channels, latent_channels), CLIPTextModel(text), _image_encoder(width, view_size)


def make_pose_denoiser(
    settings: DenoiserSettings, latent_channels: int, view_size: int, latent_size: int
) -> tuple[UNet2DConditionModel, CLIPVisionModelWithProjection, CameraProjection]:
    """Random UNet, image encoder and projection of Zero123."""
    unet = _unet(settings, 2 * latent_channels, latent_channels, sample_size=latent_size)
    return unet, _image_encoder(settings.embedding, view_size), CameraProjection(settings.embedding)


def _unet(settings: DenoiserSettings, in_channels: int, out_channels: int, **more: int) -> UNet2DConditionModel:
    """A random UNet; attention at every resolution, where a reference or a token comes in."""
    levels = len(settings.channels)
    return UNet2DConditionModel(
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=tuple(settings.channels),
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        layers_per_block=1,
        # diffusers' name notwithstanding, this is the number of heads.
        attention_head_dim=tuple(max(1, channels // HEAD) for channels in settings.channels),
        cross_attention_dim=settings.embedding,
        norm_num_groups=GROUPS,
        use_linear_projection=True,
        **more,
    )


def _image_encoder(width: int, view_size: int) -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=view_size,
            patch_size=PATCH,
            projection_dim=width,
        )
    )


def ramp() -> list[float]:
    """Weight of the image embedding at every token of the prompt."""
    return [(index + 1) / TOKENS for index in range(TOKENS)]


@torch.no_grad()
def normalise(vae: AutoencoderKL, latents: Tensor, shift: float = LATENT_SHIFT, scale: float = LATENT_SCALE) -> None:
    """Rescale every channel of the latents, so that those like `latents` have mean 0 and deviation 1 in the UNet.

    latents: posterior means z (B, C, h, w) of typical pictures; the UNet sees (z SCALING_FACTOR - shift) scale. Encoder
    and decoder change together: what the autoencoder does to a picture stays the same.
    """
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    gain = 1 / (scale * SCALING_FACTOR) / deviation
    middle = shift / SCALING_FACTOR
    channels = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += after.weight[:, :, 0, 0] @ (mean - middle / gain)
    after.weight /= gain[None, :, None, None]
    before.weight[:channels] *= gain[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) * gain + middle
    before.bias[channels:] += 2 * gain.log()


@torch.no_grad()
def for_zero123(vae: AutoencoderKL, on_white: Tensor) -> AutoencoderKL:
    """A copy for pictures in [-1, 1], whose latents times SCALING_FACTOR have mean 0 and deviation 1.

    on_white: typical pictures (B, 3, H, W) in that range, on the autoencoder's device.
    """
    copied = copy.deepcopy(vae)
    # Both ranges have mid-grey at 0, so that the convolutions' padding means the same.
    copied.encoder.conv_in.weight *= IMAGE_SCALE
    copied.decoder.conv_out.weight /= IMAGE_SCALE
    copied.decoder.conv_out.bias /= IMAGE_SCALE
    normalise(copied, copied.encode(on_white).latent_dist.mean, shift=0.0, scale=1.0)
    return copied


def pictures(rgb: np.ndarray) -> Tensor:
    """uint8 (..., H, W, 3) as an encoder sees it, float32 (..., 3, H, W)."""
    return to_encoder(torch.from_numpy(rgb).movedim(-1, -3))


def to_encoder(rgb: Tensor) -> Tensor:
    """uint8 (..., 3, H, W) as an encoder sees it, float32."""
    return (rgb.float() / 255 - IMAGE_MEAN) / IMAGE_STD


def colour_orders(count: int) -> list[list[int]]:
    """The first `count` orders of the three colours, the pictures' own first."""
    return [list(order) for order in permutations(range(3))][:count]


def preprocessor(view_size: int) -> dict:
    """The contents of a preprocessor_config.json."""
    return {
        "size": {"shortest_edge": view_size},
        "crop_size": {"height": view_size, "width": view_size},
        "resample": BILINEAR,
        "image_mean": [IMAGE_MEAN] * 3,
        "image_std": [IMAGE_STD] * 3,
    }


def write(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vision_encoder: CLIPVisionModelWithProjection,
    view_size: int,
) -> None:
    """Write Zero123++'s public folder layout."""
    networks = {"vae": vae, "unet": unet, "text_encoder": text_encoder, "vision_encoder": vision_encoder}
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    tokenizer = {"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": TOKENS, **special}
    contents = {
        "model_index.json": {"_class_name": "Zero123PlusPipeline", "ramping_coefficients": ramp()},
        "scheduler/scheduler_config.json": SCHEDULER,
        "tokenizer/vocab.json": VOCABULARY,
        "tokenizer/tokenizer_config.json": tokenizer,
        "tokenizer/special_tokens_map.json": {"pad_token": "!", **special},
        "feature_extractor_vae/preprocessor_config.json": preprocessor(view_size),
        "feature_extractor_clip/preprocessor_config.json": preprocessor(view_size),
    }
    merges = folder / "tokenizer" / "merges.txt"
    merges.parent.mkdir(parents=True, exist_ok=True)
    merges.write_text("#version: 0.2\n", encoding="utf-8")
    _write(folder, MICRO, networks, contents)


def write_pose(
    folder: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    image_encoder: CLIPVisionModelWithProjection,
    projection: CameraProjection,
    view_size: int,
) -> None:
    """Write Zero123's folder layout, as stages/lib/diffusion/zero123.py reads it."""
    networks = {"vae": vae, "unet": unet, "image_encoder": image_encoder, "clip_camera_projection": projection}
    contents = {
        "model_index.json": {"_class_name": "Zero123Pipeline"},
        POSE_SCHEDULER_FILE: POSE_SCHEDULER,
        POSE_PREPROCESSOR: preprocessor(view_size),
    }
    _write(folder, MICRO_POSE, networks, contents)


def _write(folder: Path, prior: str, networks: dict[str, nn.Module], contents: dict[str, dict]) -> None:
    """Write networks in float16 and JSON files, and last the receipt with every file's sha256."""
    for name, network in networks.items():
        copy.deepcopy(network).half().save_pretrained(folder / name)
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    arrived = {name: {"size": path.stat().st_size, "sha256": sha256(path)} for name, path in files.items()}
    receipt = {"name": prior, "licence": "Apache-2.0", "files": arrived}
    (folder / RECEIPT).write_text(json.dumps(receipt, indent=2, sort_keys=True) + "\n", encoding="utf-8")
