"""Zero123 at full size without weights, its call against a slow twin, and one clear error for each bad folder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_zero123 as tiny
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from stages.lib.diffusion import zero123
from stages.lib.diffusion.zero123 import CameraProjection, ModelError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    return tiny.make(tmp_path_factory.mktemp("tiny") / "zero123")


@pytest.fixture(scope="module")
def model(folder):
    return zero123.load(folder, "distance", tiny.SIDE, CPU, torch.float32)


# ------------------------------------------------------------------ full size


def full_size_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        in_channels=8, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8, cross_attention_dim=768
    )


def full_size_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def full_size_image_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=768,
        )
    )


@pytest.mark.parametrize(
    ("make", "parameters", "published_bytes"),
    [
        # Stable Diffusion 1.5 has 859,520,964; four more channels enter the first convolution (4 x 320 x 9).
        (full_size_unet, 859_532_484, 1.72e9),
        (full_size_vae, 83_653_863, 167e6),
        (full_size_image_encoder, 303_966_208, 608e6),
        (CameraProjection, (768 + 4) * 768 + 768, 1.19e6),
    ],
)
def test_the_full_size_networks_have_the_published_sizes(make, parameters, published_bytes):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == parameters
    # The page lists files in half precision, three digits.
    assert 2 * parameters == pytest.approx(published_bytes, rel=5e-3)


def test_a_full_size_call_has_the_published_shapes():
    with torch.device("meta"):
        alphas, nothing = torch.empty(1000), None
        model = zero123.Zero123(
            full_size_vae(), full_size_unet(), nothing, CameraProjection(), alphas, nothing, "distance", 256
        )
        pictures, embeddings = torch.empty(4, 3, 256, 256), torch.empty(4, 2, 768)
        latents = zero123.encode(model, pictures)
        assert latents.shape == (4, 4, 32, 32)
        beside = latents[:, None].expand(4, 2, 4, 32, 32)
        noise = zero123.predict(model, latents, torch.empty(4), embeddings, beside, torch.empty(4, 2, 4), 5.0)
    assert noise.shape == (4, 2, 4, 32, 32)


# ------------------------------------------------------------------ conditioning


@pytest.mark.parametrize(
    ("target", "condition", "expected"),
    [
        ((0, 0), (0, 0), (0, 0, 1)),
        ((90, 0), (0, 0), (0, 1, 0)),
        ((-90, 0), (0, 0), (0, -1, 0)),
        ((0, 30), (0, 0), (-np.pi / 6, 0, 1)),
        ((30, 30), (30, -20), (-np.radians(50), 0, 1)),
        ((200, 0), (20, 0), (0, 0, -1)),
    ],
)
def test_a_pose_is_relative_to_the_condition(target, condition, expected):
    azimuth, elevation, from_azimuth, from_elevation = (np.array([float(angle)]) for angle in (*target, *condition))
    for kind, fourth in (("distance", 0.0), ("elevation", np.radians(90 - condition[1]))):
        pose = zero123.relative_pose(azimuth, elevation, from_azimuth, from_elevation, kind)
        assert pose.dtype == torch.float32
        assert pose[0].numpy() == pytest.approx([*expected, fourth], abs=1e-6)


def test_the_condition_is_on_white_and_its_latent_is_not_scaled(model):
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[4:12, 4:12] = (200, 60, 20, 255)
    embedding, latent, picture = zero123.embed(model, rgba)
    assert embedding.shape == (tiny.WIDTH,) and torch.equal(picture[:, 0, 0], torch.ones(3))
    mode = model.vae.encode(2 * picture[None] - 1).latent_dist.mode()[0]
    assert torch.allclose(latent, mode, atol=1e-6)
    assert torch.allclose(zero123.encode(model, picture[None])[0], 0.18215 * mode, atol=1e-6)


def test_the_token_is_a_projection_of_embedding_and_pose(model):
    embedding, pose = torch.randn(3, tiny.WIDTH), torch.randn(3, 4)
    layer = model.clip_camera_projection.proj
    assert torch.equal(model.clip_camera_projection(embedding, pose), layer(torch.cat([embedding, pose], dim=1)))


def slow_prediction(model, noisy, timestep, embeddings, latents, poses, scale) -> torch.Tensor:
    """One view and one condition after the other, each branch a call of its own."""
    out = torch.zeros(latents.shape)
    for b in range(latents.shape[0]):
        for k in range(latents.shape[1]):
            token = model.clip_camera_projection(embeddings[b : b + 1, k], poses[b : b + 1, k])[:, None]
            x, beside, t = noisy[b : b + 1], latents[b : b + 1, k], timestep[b]
            with_it = model.unet(torch.cat([x, beside], dim=1), t, encoder_hidden_states=token).sample
            nothing = torch.cat([x, torch.zeros_like(beside)], dim=1)
            without = model.unet(nothing, t, encoder_hidden_states=torch.zeros_like(token)).sample
            out[b, k] = (without + scale * (with_it - without))[0]
    return out


@pytest.mark.parametrize("scale, samples", [(5.0, 9), (1.0, 6)])
def test_one_call_equals_many(model, scale, samples):
    """And asks for the unconditional branch only where it counts."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4, 8, 8), (3, 2, tiny.WIDTH), (3, 2, 4, 8, 8), (3, 2, 4))
    noisy, embeddings, latents, poses = (torch.randn(shape, generator=generator) for shape in shapes)
    timestep = torch.tensor([20, 500, 950])
    asked = []
    hook = model.unet.register_forward_pre_hook(lambda unet, given: asked.append(len(given[0])))
    found = zero123.predict(model, noisy, timestep, embeddings, latents, poses, scale)
    hook.remove()
    with torch.no_grad():
        expected = slow_prediction(model, noisy, timestep, embeddings, latents, poses, scale)
    assert asked == [samples]
    assert torch.allclose(found, expected, atol=1e-4)
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-3


def test_v_is_turned_into_noise(model):
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4, 8, 8), (3, 2, tiny.WIDTH), (3, 2, 4, 8, 8), (3, 2, 4))
    noisy, embeddings, latents, poses = (torch.randn(shape, generator=generator) for shape in shapes)
    given = noisy, torch.tensor([20, 500, 950]), embeddings, latents, poses, 5.0
    abar = model.alphas_cumprod[given[1]][:, None, None, None, None]
    found = zero123.predict(dataclasses.replace(model, prediction="v_prediction"), *given)
    expected = abar.sqrt() * zero123.predict(model, *given) + (1 - abar).sqrt() * noisy[:, None]
    assert torch.allclose(found, expected, atol=1e-5)


def test_sampling_is_diffusers_ddim(model):
    embedding, latent, poses = torch.randn(tiny.WIDTH), torch.randn(4, 8, 8), torch.randn(3, 4)
    found = zero123.sample(model, embedding, latent, poses, 4, 3.0, torch.Generator().manual_seed(5))
    scheduler = DDIMScheduler.from_config(
        tiny.SCHEDULER, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    scheduler.set_timesteps(4)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    told = embedding.expand(3, 1, -1), latent.expand(3, 1, -1, -1, -1), poses[:, None]
    for timestep in scheduler.timesteps:
        noise = zero123.predict(model, latents, timestep.expand(3), *told, 3.0)[:, 0]
        latents = scheduler.step(noise, timestep, latents).prev_sample
    with torch.no_grad():
        pictures = model.vae.decode(latents / model.vae.config.scaling_factor).sample / 2 + 0.5
    expected = zero123.to_pixels(pictures.clamp(0, 1)).astype(int)
    assert found.shape == (3, 16, 16, 3) and np.abs(found - expected).max() <= 1


# ------------------------------------------------------------------ bad input


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refused(folder: Path, text: str, side: int | None = tiny.SIDE) -> None:
    with pytest.raises(ModelError, match=text):
        zero123.load(folder, "distance", side, CPU, torch.float32)


@pytest.mark.parametrize(
    "name", ["unet/config.json", zero123.SCHEDULER, zero123.PREPROCESSOR, "clip_camera_projection/config.json"]
)
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    refused(copy, rf"{name} is missing; expected Zero123's folder layout \(vae, unet, image_encoder, clip_camera")


@pytest.mark.parametrize("kept", [0, 100, -100, None])
@pytest.mark.parametrize("name", zero123.COMPONENTS)
def test_missing_and_truncated_weights(copy, name, kept):
    (path,) = (copy / name).glob("*.safetensors")
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    refused(copy, f"{name} cannot be read as .* Fetch this folder again")


@pytest.mark.parametrize("name", [zero123.SCHEDULER, zero123.PREPROCESSOR, "unet/config.json"])
def test_json_of_another_shape(copy, name):
    (copy / name).write_text("[]")
    refused(copy, f"{name} holds a JSON list; expected a configuration by name")


def test_weights_that_lack_a_layer_are_not_filled_with_random_numbers(copy):
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    kept = load_file(path)
    kept.pop("conv_in.weight")
    save_file(kept, path, metadata={"format": "pt"})
    refused(copy, r"unet cannot be read as UNet2DConditionModel: it lacks the weights conv_in.weight")


def test_a_pickle_that_runs_code_is_not_run(copy, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (copy / "clip_camera_projection" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"proj.weight": Evil()}, copy / "clip_camera_projection" / "diffusion_pytorch_model.bin")
    refused(copy, "clip_camera_projection cannot be read")
    assert not (tmp_path / "ran").exists()


def test_another_prediction_type(copy):
    tiny.write_json(copy / zero123.SCHEDULER, {**tiny.SCHEDULER, "prediction_type": "sample"})
    refused(copy, r"predicts 'sample'; expected 'epsilon'.* Name a Zero123 in guidance.model")


def test_components_that_do_not_fit(copy):
    CameraProjection(embedding_dim=tiny.WIDTH + 1).save_pretrained(copy / "clip_camera_projection")
    refused(copy, r"unet.cross_attention_dim is 8, expected 9 .* This is no Zero123")


def test_a_side_that_the_network_cannot_have(folder):
    refused(folder, r"side of its pictures is 18, as `side` in config/weights.yaml .* a multiple of 4", side=18)


def test_a_side_that_nothing_says(folder):
    refused(folder, r"sample_size None; expected the side of a latent. Say `side`", side=None)
