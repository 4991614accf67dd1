"""An SDXL and a Stable Video Diffusion of the same classes with tiny random networks, in the public folder layouts.

Their decoders are made so that every picture shows one dark square on a plain light background, whatever the latents
are: a sum over nine neighbours is smaller at the border, where zeros are padded. What the latents say is a little noise
upon it. So the whole path to frames can run, and still depends on prompt, picture and seed.
"""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from tiny import MEAN_CLIP, STD_CLIP, write_json
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig
from transformers import CLIPVisionModelWithProjection as Vision

SIDE = 64
CANVAS = {"height": 64, "width": 128}
N_FRAMES = 3
# Interior of the square, red, green and blue in [-1, 1], and the background around it.
INTERIOR, BACKGROUND = (0.3, -0.6, -0.8), 0.95
LETTERS = "abcdefghijklmnopqrstuvwxyz,"
WORD = 8
SMALL_TEXT = {
    "vocab_size": 3 + 2 * len(LETTERS),
    "hidden_size": WORD,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": WORD,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
SMALL_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    # The pipeline gives it pictures of this side, whatever the configuration says.
    "image_size": 224,
    "patch_size": 56,
    "projection_dim": WORD,
}
EULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
SCHEDULERS = {
    "sdxl_base": {**EULER, "prediction_type": "epsilon", "timestep_spacing": "leading", "steps_offset": 1},
    "svd_xt": {
        **EULER,
        "prediction_type": "v_prediction",
        "timestep_spacing": "leading",
        "timestep_type": "continuous",
        "sigma_min": 0.002,
        "sigma_max": 700.0,
        "use_karras_sigmas": True,
        "steps_offset": 1,
    },
}


def show_a_square(decoder: nn.Module) -> None:
    """Make a decoder's last layers draw a square (see above)."""
    norm, out = decoder.conv_norm_out, decoder.conv_out
    with torch.no_grad():
        norm.weight.fill_(0.02)
        norm.bias.fill_(1.0)
        total = 9 * out.in_channels * float(torch.nn.functional.silu(torch.tensor(1.0)))
        for channel, interior in enumerate(INTERIOR):
            # At the border six of nine neighbours are left.
            out.weight[channel] = 3 * (interior - BACKGROUND) / total
            out.bias[channel] = BACKGROUND - 2 * (interior - BACKGROUND)
        if hasattr(decoder, "time_conv_out"):
            mixing = decoder.time_conv_out
            mixing.weight.zero_()
            mixing.bias.zero_()
            for channel in range(3):
                mixing.weight[channel, channel, 1] = 1.0


def text(kind: type) -> nn.Module:
    return kind(CLIPTextConfig(**SMALL_TEXT))


def sdxl() -> dict[str, nn.Module]:
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        force_upcast=True,
    )
    show_a_square(vae.decoder)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        cross_attention_dim=2 * WORD,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WORD,
    )
    encoders = {"text_encoder": text(CLIPTextModel), "text_encoder_2": text(CLIPTextModelWithProjection)}
    return {"vae": vae, "unet": unet, **encoders}


def svd() -> dict[str, nn.Module]:
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        force_upcast=True,
    )
    show_a_square(vae.decoder)
    # These blocks normalise in 32 groups.
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        num_attention_heads=(2, 2),
        cross_attention_dim=WORD,
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=3 * 4,
        num_frames=N_FRAMES,
    )
    return {"vae": vae, "unet": unet, "image_encoder": Vision(CLIPVisionConfig(**SMALL_VISION))}


def _tokenizer(folder: Path, pad: str) -> None:
    words = ["<|startoftext|>", "<|endoftext|>", "!", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    write_json(folder / "vocab.json", {word: index for index, word in enumerate(words)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": words[0], "eos_token": words[1], "unk_token": words[1], "pad_token": pad}
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    write_json(folder / "tokenizer_config.json", about)
    write_json(folder / "special_tokens_map.json", special)


def make(folder: Path, name: str, seed: int = 0) -> Path:
    """Write the folder of `sdxl_base` or `svd_xt`; two calls with one seed write equal networks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = sdxl() if name == "sdxl_base" else svd()
    for component, network in networks.items():
        network.save_pretrained(folder / component, variant="fp16")
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[name])
    kind = "StableDiffusionXLPipeline" if name == "sdxl_base" else "StableVideoDiffusionPipeline"
    write_json(folder / "model_index.json", {"_class_name": kind})
    if name == "sdxl_base":
        _tokenizer(folder / "tokenizer", "<|endoftext|>")
        _tokenizer(folder / "tokenizer_2", "!")
    else:
        mean_and_std = {"image_mean": MEAN_CLIP, "image_std": STD_CLIP}
        side = {"height": 224, "width": 224}
        content = {"size": {"shortest_edge": 224}, "crop_size": side, "resample": 3, **mean_and_std}
        write_json(folder / "feature_extractor" / "preprocessor_config.json", content)
    return folder


def manifest(root: Path) -> Path:
    """Both networks under `root` and the weights.yaml that lists them."""
    entries = {}
    for name, stage in (("sdxl_base", "picture"), ("svd_xt", "clip")):
        place = make(root / name, name)
        files = {str(file.relative_to(place)): {} for file in sorted(place.rglob("*")) if file.is_file()}
        entries[name] = {"licence": "none", "makes": stage, "hub": "nobody/nothing", "files": files}
    (root / "weights.yaml").write_text(yaml.safe_dump(entries))
    return root / "weights.yaml"
