"""A Zero123++ of the same classes with tiny random networks, written in the public folder layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

WIDTH = 16
VIEW = 16
SCHEDULER = {
    "_class_name": "EulerAncestralDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "timestep_spacing": "linspace",
}
MEAN_CLIP, STD_CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
        norm_num_groups=4,
        use_linear_projection=True,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )


def vision(width: int) -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            projection_dim=width,
        )
    )


def networks() -> dict[str, torch.nn.Module]:
    return {
        "vae": vae(),
        "unet": _unet(),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                vocab_size=4, hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
            )
        ),
        "vision_encoder": vision(WIDTH),
    }


def make(folder: Path, seed: int = 0) -> Path:
    """Write the folder; two calls with one seed write equal networks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = networks()
    for name, network in made.items():
        network.save_pretrained(folder / name)
    write_json(folder / "model_index.json", {"ramping_coefficients": [0.01 * i for i in range(77)]})
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(folder / "tokenizer" / "vocab.json", {"!": 0, "<|startoftext|>": 1, "<|endoftext|>": 2, "!</w>": 3})
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write_json(
        folder / "tokenizer" / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77, **special},
    )
    write_json(folder / "tokenizer" / "special_tokens_map.json", {"pad_token": "!", **special})
    write_json(
        folder / "feature_extractor_vae" / "preprocessor_config.json",
        {
            "size": {"shortest_edge": 16},
            "crop_size": 16,
            "resample": 2,
            "image_mean": [0.5] * 3,
            "image_std": [0.8] * 3,
        },
    )
    write_json(
        folder / "feature_extractor_clip" / "preprocessor_config.json",
        {
            "size": {"shortest_edge": 16},
            "crop_size": {"height": 16, "width": 16},
            "resample": 3,
            "image_mean": MEAN_CLIP,
            "image_std": STD_CLIP,
        },
    )
    return folder


def make_controlnet(folder: Path, seed: int = 0) -> Path:
    """Write a ControlNet that fits the tiny UNet; its closing convolutions are random, not 0 as before a training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ControlNetModel.from_unet(_unet(), conditioning_embedding_out_channels=(8, 8))
        closing = [network.controlnet_cond_embedding.conv_out, network.controlnet_mid_block]
        for layer in [*closing, *network.controlnet_down_blocks]:
            layer.reset_parameters()
    network.save_pretrained(folder)
    return folder
