"""A Zero123 of the same classes with tiny random networks, written in the public folder layout."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from diffusers import UNet2DConditionModel
from tiny import MEAN_CLIP, STD_CLIP, vae, vision, write_json

from stages.lib.diffusion import micro
from stages.lib.diffusion.zero123 import CameraProjection
from stages.settings import AutoencoderSettings, DenoiserSettings

WIDTH = 8
SIDE = 16
LATENT = 8
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def networks() -> dict[str, torch.nn.Module]:
    return {
        "vae": vae(),
        "unet": UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=WIDTH,
            norm_num_groups=4,
        ),
        "image_encoder": vision(WIDTH),
        "clip_camera_projection": CameraProjection(embedding_dim=WIDTH),
    }


def make(folder: Path, seed: int = 0) -> Path:
    """Write the folder; two calls with one seed write equal networks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name, network in networks().items():
            network.save_pretrained(folder / name)
    # The published folder names the class of another library.
    config = {"_class_name": "CLIPCameraProjection", "embedding_dim": WIDTH, "additional_embeddings": 4}
    write_json(folder / "clip_camera_projection" / "config.json", config)
    write_json(folder / "model_index.json", {"_class_name": "Zero123Pipeline"})
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(
        folder / "feature_extractor" / "preprocessor_config.json",
        {
            "size": {"shortest_edge": 16},
            "crop_size": {"height": 16, "width": 16},
            "resample": 3,
            "image_mean": MEAN_CLIP,
            "image_std": STD_CLIP,
        },
    )
    return folder


def make_micro(folder: Path, seed: int = 0) -> Path:
    """Write a small Zero123 as this repository trains it, with random weights; returns its receipt."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vae = micro.make_autoencoder(AutoencoderSettings(channels=[8, 8], latent_channels=4))
        posed = micro.make_pose_denoiser(DenoiserSettings(channels=[16, 16], embedding=WIDTH), 4, SIDE, LATENT)
    micro.write_pose(folder, vae, *posed, view_size=SIDE)
    return folder / "receipt.json"


def manifest(root: Path) -> Path:
    """Networks `zero123_xl` and `stable_zero123` under `root` and the weights.yaml that lists them."""
    entries = {}
    for seed, (name, pose) in enumerate({"zero123_xl": "distance", "stable_zero123": "elevation"}.items()):
        place = make(root / name, seed)
        files = {str(file.relative_to(place)): {} for file in sorted(place.rglob("*")) if file.is_file()}
        entries[name] = {"licence": "none", "pose": pose, "side": SIDE, "hub": "nobody/nothing", "files": files}
    (root / "weights.yaml").write_text(yaml.safe_dump(entries))
    return root / "weights.yaml"
