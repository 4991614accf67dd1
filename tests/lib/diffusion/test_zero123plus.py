"""Zero123++ at full size without weights, and its whole path with tiny random networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from stages.lib.diffusion import zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.lib.diffusion.zero123plus import ModelError, Sampling

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("tiny") / "zero123plus")


@pytest.fixture(scope="module")
def model(folder):
    torch.set_num_threads(1)
    return zero123plus.load(folder, CPU, torch.float32)


def clip(n_frames: int = 3) -> np.ndarray:
    """Discs that move and change colour, (F, 24, 24, 4) uint8."""
    x = np.arange(24)
    frames = []
    for index in range(n_frames):
        inside = (x[:, None] - 12) ** 2 + (x - 8 - 3 * index) ** 2 < 36
        frames.append(inside[..., None] * np.array([250 - 60 * index, 90 * index, 40, 255]))
    return np.stack(frames).astype(np.uint8)


def drawn(model, frames, **changed) -> np.ndarray:
    chosen = {"steps": 3, "guidance": 4.0, "fusion": 0.5, "view_size": tiny.VIEW, "frames_per_batch": 1, "seed": 0}
    return zero123plus.sample(model, frames, Sampling(**{**chosen, **changed}), lambda done, total: None)


# ------------------------------------------------------------------ full size


def full_size_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(320, 640, 1280, 1280),
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=1024,
        use_linear_projection=True,
    )


def full_size_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def full_size_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16
        )
    )


def full_size_vision_encoder() -> CLIPVisionModelWithProjection:
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
    ("make", "parameters"),
    [
        (full_size_unet, 865_910_724),
        (full_size_vae, 83_653_863),
        (full_size_text_encoder, 340_387_840),
        (full_size_vision_encoder, 632_076_800),
    ],
)
def test_the_full_size_networks_have_the_published_parameters(make, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == parameters


def test_a_full_size_step_has_the_published_shapes():
    with torch.device("meta"):
        unet = full_size_unet()
        tokens = Tokens(fusion=0.5, branches=2)
        attach(unet, tokens)
        v = zero123plus.predict(
            unet,
            tokens,
            torch.empty(2, 4, 120, 80),
            torch.empty(2, 2, 4, 64, 64),
            torch.empty(2, 2, 77, 1024),
            torch.tensor(500.0),
            4.0,
        )
    assert v.shape == (2, 4, 120, 80)
    # 6 layers down, 1 in the middle, 9 up; 9600, 2400, 600 and 150 tokens of the six views.
    assert len(tokens.anchor) == 16 and not tokens.reference
    assert {tuple(kept.shape[2:]) for kept in tokens.anchor.values()} == {
        (9600, 320),
        (2400, 640),
        (600, 1280),
        (150, 1280),
    }


# ------------------------------------------------------------------ the numbers of the paper


def test_views_are_cut_row_by_row():
    sheet = torch.zeros(1, 1, 6, 4)
    for view in range(6):
        row, column = divmod(view, 2)
        sheet[0, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = view
    assert zero123plus.views_of(sheet)[0, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert (zero123plus.views_of(sheet)[0, :, 0].amax((1, 2)) == torch.arange(6.0)).all()


def test_latent_scaling():
    assert zero123plus.to_sheet_scale(torch.tensor(1.22)).item() == pytest.approx(0.75)
    z = torch.randn(7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(zero123plus.from_sheet_scale(zero123plus.to_sheet_scale(z)), z, atol=1e-6)


def test_the_condition_is_on_grey_and_scaled():
    nothing = np.zeros((8, 8, 4), np.uint8)
    assert (zero123plus.over_grey(nothing) == 127).all()
    prepared = zero123plus.Preprocessor(16, 16, 2, (0.5,) * 3, (0.8,) * 3)
    white = prepared(np.full((24, 40, 3), 255, np.uint8))
    assert white.shape == (3, 16, 16) and torch.allclose(white, torch.tensor(0.625))


def test_the_reference_is_the_unscaled_latent_and_the_prompt_is_ramped(model):
    latents, prompts = zero123plus._conditions(model, clip(1), guided=True, seed=0)
    assert latents.shape == (2, 1, 4, 8, 8) and prompts.shape == (2, 1, 77, tiny.WIDTH)
    picture = model.for_vae(zero123plus.over_grey(clip(1)[0]))[None]
    posterior = model.vae.encode(picture).latent_dist
    expected = posterior.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(latents[1, 0], expected[0], atol=1e-6)
    ramped = prompts[1, 0] - prompts[0, 0]
    assert torch.allclose(ramped[0], torch.zeros(tiny.WIDTH))
    assert torch.allclose(ramped[76], 76 * ramped[1], atol=1e-5) and ramped[76].abs().max() > 0.01


# ------------------------------------------------------------------ attention


def slow_attention(attn, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Softmax attention written out, one head at a time: x (L, C), source (M, C)."""
    q, k, v = attn.to_q(x), attn.to_k(source), attn.to_v(source)
    heads = []
    for head in torch.arange(q.shape[1]).chunk(attn.heads):
        scores = q[:, head] @ k[:, head].T / len(head) ** 0.5
        heads.append(scores.softmax(dim=1) @ v[:, head])
    return attn.to_out[0](torch.cat(heads, dim=1))


@pytest.mark.parametrize("fusion", [0.0, 0.25, 0.5, 1.0])
def test_attention_against_its_slow_twin(model, fusion):
    name = next(name for name in model.unet.attn_processors if name.endswith("attn1.processor"))
    tokens = Tokens(fusion=fusion, branches=2)
    attach(model.unet, tokens)
    attn = model.unet.get_submodule(name.removesuffix(".processor"))
    generator = torch.Generator().manual_seed(1)
    sheet, reference = torch.randn(6, 5, 8, generator=generator), torch.randn(6, 3, 8, generator=generator)
    with torch.no_grad():
        with tokens.writing():
            attn(reference)
        with tokens.reading():
            fast = attn(sheet)
        for branch in range(2):
            for frame in range(3):
                i, anchor = 3 * branch + frame, 3 * branch
                own = (1 - fusion) * sheet[i] + fusion * sheet[anchor]
                slow = slow_attention(attn, sheet[i], torch.cat([own, reference[i]]))
                assert torch.allclose(fast[i], slow, atol=1e-5)


def test_the_second_batch_sees_the_first_batchs_anchor():
    tokens = Tokens(fusion=0.5, branches=1)
    for value, expected in ((2.0, 2.0), (4.0, 3.0)):
        with tokens.writing():
            tokens.source("a", torch.zeros(1, 1, 1))
        with tokens.reading():
            assert tokens.source("a", torch.full((1, 1, 1), value))[0, 0, 0] == expected


# ------------------------------------------------------------------ whole path


def slow_sample(model, rgba: np.ndarray, steps: int, guidance: float, seed: int) -> np.ndarray:
    """The six views of one frame (H, W, 4), written out: every branch a call of its own, the schedule by its formulas.

    Only the exchange of tokens between the two passes is the real one, which has a slow twin above.
    """
    abar = np.cumprod(1 - np.linspace(0.00085, 0.012, 1000))
    times = [round(1000 - index * 1000 / steps) - 1 for index in range(steps)]
    sigmas = [*np.sqrt((1 - abar[times]) / abar[times]), 0.0]
    alpha = rgba[..., 3:] / 255
    grey = np.round(rgba[..., :3] * alpha + 127 * (1 - alpha)).astype(np.uint8)
    empty = model.text_encoder(model.prompt).last_hidden_state
    ramp = torch.tensor([0.01 * token for token in range(77)])[:, None]
    embedding = model.vision_encoder(model.for_clip(grey)[None]).image_embeds
    branches = []
    # Mid-grey is 0 for the encoder of the reference.
    for picture, prompt in ((torch.zeros(1, 3, 16, 16), empty), (model.for_vae(grey)[None], empty + ramp * embedding)):
        posterior = model.vae.encode(picture).latent_dist
        own = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        branches.append((posterior.mean + posterior.std * own, prompt))
    generator = torch.Generator().manual_seed(seed)
    sheet = sigmas[0] * torch.randn(1, 4, 24, 16, generator=generator)
    tokens = Tokens(fusion=0.0, branches=1)
    attach(model.unet, tokens)
    for time, sigma, following in zip(times, sigmas, sigmas[1:], strict=False):
        noises = torch.randn(2, 1, 4, 8, 8, generator=generator)
        v = []
        for (latent, prompt), noise in zip(branches, noises, strict=True):
            with tokens.writing():
                model.unet((latent + sigma * noise) / np.sqrt(1 + sigma**2), time, encoder_hidden_states=prompt)
            with tokens.reading():
                v.append(model.unet(sheet / np.sqrt(1 + sigma**2), time, encoder_hidden_states=prompt).sample)
        guided = v[0] + guidance * (v[1] - v[0])
        clean = sheet / (1 + sigma**2) - guided * sigma / np.sqrt(1 + sigma**2)
        up = following * np.sqrt(1 - following**2 / sigma**2)
        down = following**2 / sigma
        state = int(torch.randint(2**62, (), generator=generator))
        fresh = torch.randn(sheet.shape, generator=torch.Generator().manual_seed(state))
        sheet = clean + down / sigma * (sheet - clean) + up * fresh
    picture = model.vae.decode((sheet / 0.75 + 0.22) / 0.18215).sample[0] * 0.8 / 0.5
    pixels = np.round(255 * (picture / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).numpy())
    return np.stack([pixels[top : top + 16, left : left + 16] for top in (0, 16, 32) for left in (0, 16)])


def test_sampling_against_its_slow_twin(folder):
    """With self-attention that weighs as much as in a trained network: random ones hardly look at the reference."""
    listening, rgba = zero123plus.load(folder, CPU, torch.float32), clip(1)[0]
    for name, parameter in listening.unet.named_parameters():
        if "attn1.to" in name:
            parameter.mul_(4)
    found = drawn(listening, rgba[None], steps=4, guidance=4.0, seed=3)[0]
    with torch.no_grad():
        expected = slow_sample(listening, rgba, 4, 4.0, 3)
    assert np.abs(found - expected).max() <= 2


def test_deterministic_for_a_seed_and_different_for_another(model):
    first = drawn(model, clip(2))
    torch.manual_seed(99)
    assert first.shape == (2, 6, tiny.VIEW, tiny.VIEW, 3) and first.dtype == np.uint8
    assert (drawn(model, clip(2)) == first).all()
    assert (drawn(model, clip(2), seed=1) != first).any()


def test_fusion_0_is_bitwise_the_frames_by_themselves(model):
    together = drawn(model, clip(), fusion=0.0)
    alone = np.concatenate([drawn(model, frame[None], fusion=0.0) for frame in clip()])
    assert (together == alone).all()


def test_the_anchor_does_not_keep_the_tokens_of_its_batch():
    tokens = Tokens(fusion=0.5, branches=2)
    batch = torch.randn(2 * 8, 5, 4)
    with tokens.writing():
        tokens.source("layer", batch)
    with tokens.reading():
        tokens.source("layer", batch)
    kept = tokens.anchor["layer"]
    assert kept.shape == (2, 1, 5, 4)
    assert kept.untyped_storage().nbytes() == batch.untyped_storage().nbytes() / 8


def test_fusion_changes_later_frames_only(model):
    free, tied = drawn(model, clip(), fusion=0.0), drawn(model, clip(), fusion=0.5)
    assert (free[0] == tied[0]).all() and (free[1] != tied[1]).any() and (free[2] != tied[2]).any()


def test_a_frame_depends_on_itself_and_the_first_alone(model):
    assert (drawn(model, clip())[2] == drawn(model, clip()[[0, 2]])[1]).all()


def test_equal_frames_give_equal_views(model):
    same = drawn(model, clip(1).repeat(3, axis=0))
    assert (same == same[:1]).all()


def test_batches_change_nothing_but_rounding(model):
    one, three = drawn(model, clip()), drawn(model, clip(), frames_per_batch=3)
    assert np.abs(one.astype(int) - three).max() <= 1


def test_guidance_1_is_the_positive_branch_alone(model):
    assert (drawn(model, clip(1), guidance=1.0) != drawn(model, clip(1))).any()


def test_the_input_matters(model):
    frames = clip(2)
    assert (drawn(model, frames[:1]) != drawn(model, frames[1:])).any()


# ------------------------------------------------------------------ bad input


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refused(folder: Path, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        zero123plus.load(folder, CPU, torch.float32)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    refused(copy, rf"{name} is missing; expected Zero123\+\+'s folder layout")


def test_missing_weights(copy):
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused(copy, r"unet cannot be read as UNet2DConditionModel: .* Fetch this folder again")


@pytest.mark.parametrize("kept", [0, 100, -100])
@pytest.mark.parametrize("name", zero123plus.COMPONENTS)
def test_truncated_weights(copy, name, kept):
    (path,) = (copy / name).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    refused(copy, f"{name} cannot be read as .* Fetch this folder again")


@pytest.mark.parametrize("name", zero123plus.COMPONENTS)
def test_a_pickle_that_runs_code_is_not_run(copy, tmp_path, name):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (path,) = (copy / name).glob("*.safetensors")
    path.unlink()
    # transformers calls it otherwise than diffusers.
    stem = {"model": "pytorch_model"}.get(path.stem, path.stem)
    torch.save({"weight": Evil()}, copy / name / f"{stem}.bin")
    refused(copy, f"{name} cannot be read as .* Fetch this folder again")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model_index.json", "scheduler/scheduler_config.json", "vae/config.json"])
def test_json_of_another_shape(copy, name):
    (copy / name).write_text("[]")
    refused(copy, f"{name} holds a JSON list; expected a configuration by name")


@pytest.mark.parametrize("content", [None, '{"a"', ""])
def test_a_tokenizer_without_its_vocabulary(copy, content):
    path = copy / "tokenizer" / "vocab.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    refused(copy, "tokenizer cannot be read as CLIPTokenizer: .* Fetch this folder again")


def test_a_preprocessor_of_another_shape(copy):
    place = copy / "feature_extractor_clip" / "preprocessor_config.json"
    tiny.write_json(place, {**json.loads(place.read_text()), "crop_size": None, "image_mean": None})
    refused(copy, "preprocessor_config.json lacks .*; expected a CLIP image processor's settings")


def test_another_prediction_type(copy):
    tiny.write_json(copy / "scheduler" / "scheduler_config.json", {**tiny.SCHEDULER, "prediction_type": "epsilon"})
    refused(copy, r"predicts 'epsilon'; expected 'v_prediction'")


def test_no_ramp(copy):
    tiny.write_json(copy / "model_index.json", {})
    refused(copy, "no ramping_coefficients")


def test_components_that_do_not_fit(copy):
    tiny.write_json(copy / "model_index.json", {"ramping_coefficients": json.loads("[1, 2, 3]")})
    refused(copy, "ramping_coefficients is 3, expected 77")


def test_a_view_size_that_does_not_fit(model):
    with pytest.raises(
        ModelError, match=r"anchors.view_size is 15; expected a multiple of 4 .* Type `anchors.view_size: 16`"
    ):
        drawn(model, clip(1), view_size=15)
