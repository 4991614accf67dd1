"""Stable Video Diffusion at full size without weights, and the path from a picture to a clip with tiny networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_prompts as tiny
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stages.lib import weights
from stages.lib.diffusion import image_to_video
from stages.lib.diffusion.components import ModelError
from stages.settings import ClipSettings

CPU = torch.device("cpu")
# A safetensors file is its numbers and a header.
HEADER_BYTES = 400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("tiny") / "svd_xt", "svd_xt")


@pytest.fixture(scope="module")
def pipeline(folder):
    torch.set_num_threads(1)
    return image_to_video.load(folder, CPU, torch.float32)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "svd_xt"))


def disc(side: int = 40, radius: int = 12, colour: tuple[int, int, int] = (200, 40, 30)) -> np.ndarray:
    """A disc left above the middle, straight uint8 (side, side, 4)."""
    x = np.arange(side)
    inside = (x[:, None] - 14) ** 2 + (x - 15) ** 2 <= radius**2
    return (inside[..., None] * np.array([*colour, 255])).astype(np.uint8)


def animated(pipeline, picture: np.ndarray | None = None, **changed) -> np.ndarray:
    settings = ClipSettings(**{**tiny.CANVAS, "steps": 2, **changed})
    if picture is None:
        picture = image_to_video.canvas(disc(), settings)
    return image_to_video.animate(pipeline, picture, settings, lambda done, total: None)


# ------------------------------------------------------------------ full size


def full_size_unet() -> UNetSpatioTemporalConditionModel:
    # The class's defaults are the published network's.
    return UNetSpatioTemporalConditionModel()


def full_size_vae() -> AutoencoderKLTemporalDecoder:
    return AutoencoderKLTemporalDecoder(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def full_size_image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=1024,
        )
    )


@pytest.mark.parametrize(
    ("make", "parameters", "file"),
    [
        (full_size_unet, 1_524_623_082, "unet/diffusion_pytorch_model"),
        (full_size_vae, 97_742_847, "vae/diffusion_pytorch_model"),
        (full_size_image_encoder, 632_076_800, "image_encoder/model"),
    ],
)
def test_the_full_size_networks_have_the_published_parameters_and_files(make, parameters, file):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == parameters
    about = weights.entry("svd_xt")["files"][f"{file}.fp16.safetensors"]
    assert 0 < about["size"] - 2 * parameters < HEADER_BYTES and len(about["sha256"]) == 64


def test_the_manifest_lists_what_is_read():
    about = weights.entry("svd_xt")
    assert about["non_commercial"] and {file.split("/")[0] for file in about["files"]} == {
        *image_to_video.NETWORKS,
        *image_to_video.PREPARATIONS,
        "model_index.json",
    }


# ------------------------------------------------------------------ canvas


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (64, 64)])
def test_the_object_is_in_the_middle_of_a_plain_canvas(height, width):
    settings = ClipSettings(height=height, width=width, fill=0.5)
    picture = image_to_video.canvas(disc(), settings)
    assert picture.shape == (height, width, 3)
    rows, columns = np.nonzero((picture != 255).any(axis=-1))
    # 25 pixels of the disc become 0.5 of 64; half a pixel of blur on either side.
    for first, last, middle in ((rows.min(), rows.max(), height / 2), (columns.min(), columns.max(), width / 2)):
        assert abs((first + last + 1) / 2 - middle) <= 1.5 and 31 <= last - first + 1 <= 35
    assert picture[height // 2, width // 2].tolist() == [200, 40, 30]
    assert picture[0, 0].tolist() == [255, 255, 255]


def test_a_white_object_on_grey():
    picture = image_to_video.canvas(disc(colour=(255, 255, 255)), ClipSettings(**tiny.CANVAS, background="grey"))
    assert picture[0, 0].tolist() == [128, 128, 128] and picture[32, 64].tolist() == [255, 255, 255]


# ------------------------------------------------------------------ clip


def test_a_clip_follows_seed_picture_and_motion(pipeline):
    first = animated(pipeline)
    assert first.shape == (tiny.N_FRAMES, 64, 128, 3) and first.dtype == np.uint8
    assert (animated(pipeline) == first).all()
    blue = image_to_video.canvas(disc(colour=(20, 30, 220)), ClipSettings(**tiny.CANVAS))
    for change in ({"seed": 1}, {"picture": blue}, {"motion": 30}, {"noise": 0.5}, {"guidance": (2.0, 5.0)}):
        assert (animated(pipeline, **change) != first).any(), change


def test_frames_and_decoding(pipeline):
    long = animated(pipeline, n_frames=5, decode_frames=2)
    assert long.shape[0] == 5
    # The square that the tiny decoder draws: background at the border, its colour inside.
    assert (long[:, 0] > 230).all() and (long[:, 32, 64, 2] < 60).all()


def test_every_step_is_told(pipeline):
    told = []
    settings = ClipSettings(**tiny.CANVAS, steps=3)
    picture = image_to_video.canvas(disc(), settings)
    image_to_video.animate(pipeline, picture, settings, lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# ------------------------------------------------------------------ folders that cannot be read


def refused(folder: Path, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        image_to_video.load(folder, CPU, torch.float32)


@pytest.mark.parametrize("name", [*image_to_video.NETWORKS, *image_to_video.PREPARATIONS])
def test_a_missing_component_is_named(copy, name):
    shutil.rmtree(copy / name)
    refused(copy, rf"svd_xt/{name} cannot be read as .* Fetch this folder again, or copy it whole")


@pytest.mark.parametrize("kept", [0, 100, -100])
@pytest.mark.parametrize("name", image_to_video.NETWORKS)
def test_truncated_weights(copy, name, kept):
    (path,) = (copy / name).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    refused(copy, f"svd_xt/{name} cannot be read as .* Fetch this folder again")


def test_another_prediction_type(copy):
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "epsilon"}))
    refused(
        copy, r"predicts 'epsilon'; expected 'v_prediction', as Stable Video Diffusion does. Name one in clip.model"
    )


def test_components_that_do_not_fit(copy):
    other = CLIPVisionModelWithProjection(CLIPVisionConfig(**{**tiny.SMALL_VISION, "projection_dim": 4}))
    shutil.rmtree(copy / "image_encoder")
    other.save_pretrained(copy / "image_encoder", variant="fp16")
    refused(
        copy, r"unet.cross_attention_dim is 8, expected 4 to fit .* no Stable Video Diffusion; name one in clip.model"
    )


def test_weights_that_a_file_lacks(copy):
    from safetensors.torch import load_file, save_file

    path = copy / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    content = load_file(path)
    del content["conv_in.weight"]
    save_file(content, path)
    refused(
        copy, r"svd_xt/unet cannot be read as UNetSpatioTemporalConditionModel: it lacks the weights conv_in.weight"
    )
