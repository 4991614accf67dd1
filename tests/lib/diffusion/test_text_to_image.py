"""SDXL at full size without weights, and the whole path from words to pixels with tiny random networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_prompts as tiny
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from stages.lib import weights
from stages.lib.diffusion import text_to_image
from stages.lib.diffusion.components import ModelError
from stages.settings import PictureSettings

CPU = torch.device("cpu")
# A safetensors file is its numbers and a header.
HEADER_BYTES = 400_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("tiny") / "sdxl_base", "sdxl_base")


@pytest.fixture(scope="module")
def pipeline(folder):
    torch.set_num_threads(1)
    return text_to_image.load(folder, CPU, torch.float32)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "sdxl_base"))


def drawn(pipeline, prompt: str = "a frog", **changed) -> np.ndarray:
    settings = PictureSettings(**{"size": tiny.SIDE, "steps": 2, **changed})
    return text_to_image.draw(pipeline, prompt, settings, lambda done, total: None)


# ------------------------------------------------------------------ full size


def full_size_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def full_size_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    )


def full_size_text_encoder_2() -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            projection_dim=1280,
        )
    )


def full_size_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


@pytest.mark.parametrize(
    ("make", "parameters", "file"),
    [
        (full_size_unet, 2_567_463_684, "unet/diffusion_pytorch_model"),
        (full_size_text_encoder, 123_060_480, "text_encoder/model"),
        (full_size_text_encoder_2, 694_659_840, "text_encoder_2/model"),
        (full_size_vae, 83_653_863, "vae/diffusion_pytorch_model"),
    ],
)
def test_the_full_size_networks_have_the_published_parameters_and_files(make, parameters, file):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == parameters
    about = weights.entry("sdxl_base")["files"][f"{file}.fp16.safetensors"]
    assert 0 < about["size"] - 2 * parameters < HEADER_BYTES and len(about["sha256"]) == 64


def test_a_full_size_step_has_the_published_shapes():
    with torch.device("meta"), torch.no_grad():
        told = {"text_embeds": torch.empty(2, 1280), "time_ids": torch.empty(2, 6)}
        latents, words = torch.empty(2, 4, 128, 128), torch.empty(2, 77, 2048)
        noise = full_size_unet()(latents, torch.empty(()), encoder_hidden_states=words, added_cond_kwargs=told)[0]
    assert noise.shape == (2, 4, 128, 128)


def test_the_manifest_lists_what_is_read():
    files = weights.entry("sdxl_base")["files"]
    for name in text_to_image.NETWORKS:
        (numbers,) = (file for file in files if file.startswith(f"{name}/") and "config.json" not in file)
        assert numbers.endswith(".fp16.safetensors") and f"{name}/config.json" in files
    assert {file.split("/")[0] for file in files} == {
        *text_to_image.NETWORKS,
        *text_to_image.PREPARATIONS,
        "model_index.json",
    }


# ------------------------------------------------------------------ words to pixels


def test_a_picture_follows_seed_and_words(pipeline):
    first = drawn(pipeline)
    assert first.shape == (tiny.SIDE, tiny.SIDE, 3) and first.dtype == np.uint8
    assert (drawn(pipeline) == first).all()
    for change in ({"prompt": "a fox"}, {"seed": 1}, {"guidance": 1.0}, {"steps": 3}):
        assert (drawn(pipeline, **change) != first).any(), change


def test_without_guidance_the_negative_words_are_not_read(pipeline):
    assert (drawn(pipeline, negative="a") != drawn(pipeline, negative="many things")).any()
    alone = [drawn(pipeline, negative=words, guidance=1.0) for words in ("a", "many things")]
    assert (alone[0] == alone[1]).all()


def test_every_step_is_told(pipeline):
    told = []
    settings = PictureSettings(size=tiny.SIDE, steps=4)
    text_to_image.draw(pipeline, "a fox", settings, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_words_that_are_not_read_are_named(pipeline):
    assert text_to_image.words_lost(pipeline, "a frog") == ""
    # Every letter is a token here: 75 of them lie between beginning and end.
    assert text_to_image.words_lost(pipeline, "a " * 75) == ""
    assert text_to_image.words_lost(pipeline, "a " * 75 + "b c") == "b c"


def test_half_precision_files_are_read_in_any_precision(folder):
    model = text_to_image.load(folder, CPU, torch.bfloat16)
    assert {model.unet.dtype, model.vae.dtype, model.text_encoder_2.dtype} == {torch.bfloat16}


def test_an_overflow_says_what_to_type():
    values = np.full((2, 2, 3), 0.5)
    assert (text_to_image.pixels(values, "picture") == 128).all()
    values[0, 0, 0] = np.nan
    with pytest.raises(ModelError, match=r"numbers overflow; type `picture.precision: bfloat16`"):
        text_to_image.pixels(values, "picture")


# ------------------------------------------------------------------ folders that cannot be read


def refused(folder: Path, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        text_to_image.load(folder, CPU, torch.float32)


@pytest.mark.parametrize("name", [*text_to_image.NETWORKS, *text_to_image.PREPARATIONS])
def test_a_missing_component_is_named(copy, name):
    shutil.rmtree(copy / name)
    refused(copy, rf"sdxl_base/{name} cannot be read as .* Fetch this folder again, or copy it whole")


def test_other_formats_than_safetensors_are_not_read(copy):
    """A pickle beside the configuration, which another loader would open."""
    place = copy / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    torch.save({}, place.with_name("diffusion_pytorch_model.fp16.bin"))
    place.unlink()
    refused(copy, "unet cannot be read as UNet2DConditionModel")


@pytest.mark.parametrize("kept", [0, 100, -100])
@pytest.mark.parametrize("name", text_to_image.NETWORKS)
def test_truncated_weights(copy, name, kept):
    (path,) = (copy / name).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    refused(copy, f"sdxl_base/{name} cannot be read as .* Fetch this folder again")


def test_files_of_another_precision_are_not_guessed(copy):
    place = copy / "text_encoder_2" / "model.fp16.safetensors"
    place.rename(place.with_name("model.safetensors"))
    refused(copy, "text_encoder_2 cannot be read as CLIPTextModelWithProjection")


def edited(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_another_prediction_type(copy):
    edited(copy / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    refused(copy, r"predicts 'v_prediction'; expected 'epsilon', as SDXL does")


def test_components_that_do_not_fit(copy):
    other = text_to_image.NETWORKS["text_encoder"](CLIPTextConfig(**{**tiny.SMALL_TEXT, "hidden_size": 4}))
    shutil.rmtree(copy / "text_encoder")
    other.save_pretrained(copy / "text_encoder", variant="fp16")
    refused(copy, r"unet.cross_attention_dim is 16, expected 12 to fit .* no SDXL; name one in picture.model")
