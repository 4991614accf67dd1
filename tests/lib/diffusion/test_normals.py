"""The normal generator at full size without weights, and as a tiny random network beside a tiny Zero123++."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from diffusers import ControlNetModel

from stages.lib.diffusion import normals, zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.lib.diffusion.zero123plus import Control, ModelError, Sampling

SAMPLING = Sampling(steps=2, guidance=4.0, fusion=0.5, view_size=tiny.VIEW, frames_per_batch=2, seed=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tiny.make(tmp_path_factory.mktemp("tiny") / "zero123plus")
    return zero123plus.load(folder, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.make_controlnet(tmp_path_factory.mktemp("tiny") / "normals")


@pytest.fixture(scope="module")
def generator(model, folder):
    return normals.load(folder, model)


def clip() -> np.ndarray:
    """Two frames of a square that moves, (2, 24, 24, 4) uint8."""
    frames = np.zeros((2, 24, 24, 4), np.uint8)
    frames[0, 4:16, 4:16] = frames[1, 8:20, 8:20] = (220, 90, 40, 255)
    return frames


def pictures(seed: int) -> np.ndarray:
    shape = (2, 6, tiny.VIEW, tiny.VIEW, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def drawn(model, generator, frames=None, views=None, **changed) -> np.ndarray:
    frames, views = clip() if frames is None else frames, pictures(0) if views is None else views
    return normals.draw(model, generator, frames, views, replace(SAMPLING, **changed), lambda done, total: None)


def test_the_full_size_network_has_the_published_size():
    """1.46 GB in float32 on the hub's page; Stable Diffusion 2's widths, as the UNet that it accompanies."""
    with torch.device("meta"):
        network = ControlNetModel(
            attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True
        )
    count = sum(p.numel() for p in network.parameters())
    assert count == 364_228_240 and round(4 * count / 1e9, 2) == 1.46


def test_a_sheet_is_what_views_are_cut_from():
    sheet = torch.arange(2 * 3 * 12 * 8.0).reshape(2, 3, 12, 8)
    assert (zero123plus.sheet_of(zero123plus.views_of(sheet)) == sheet).all()


def test_an_untrained_control_changes_nothing(model, generator):
    """ControlNets begin with closing convolutions of 0, hence as the network without them."""
    silent = ControlNetModel.from_config(generator.config).eval()
    control = Control(silent, torch.rand(2, 3, 48, 32), 1.0)
    free, tied = (zero123plus.sample(model, clip(), SAMPLING, lambda *_: None, each) for each in (None, control))
    assert (free == tied).all()


def test_the_control_reaches_both_branches_and_not_the_reference(model, generator):
    """One guided step against the same written out by diffusers' own calls, branch by branch."""
    noise = torch.Generator().manual_seed(3)
    sheets, reference, prompts, colours = (
        torch.randn(shape, generator=noise)
        for shape in ((1, 4, 24, 16), (2, 1, 4, 8, 8), (2, 1, 77, 16), (1, 3, 48, 32))
    )
    step = torch.tensor(500)
    guided = Tokens(fusion=0.0, branches=2)
    attach(model.unet, guided)
    with torch.no_grad():
        found = zero123plus.predict(
            model.unet, guided, sheets, reference, prompts, step, 4.0, Control(generator, colours, 0.7)
        )
        branches = []
        tokens = Tokens(fusion=0.0, branches=1)
        attach(model.unet, tokens)
        for latent, prompt in zip(reference, prompts, strict=True):
            down, middle = generator(sheets, step, prompt, colours, conditioning_scale=0.7, return_dict=False)
            with tokens.writing():
                model.unet(latent, step, prompt)
            with tokens.reading():
                v = model.unet(
                    sheets,
                    step,
                    prompt,
                    down_block_additional_residuals=down,
                    mid_block_additional_residual=middle,
                ).sample
            branches.append(v)
    expected = branches[0] + 4 * (branches[1] - branches[0])
    assert torch.allclose(found, expected, atol=1e-5)


def test_equal_bytes_for_a_seed_and_another_noise_than_the_colours(model, generator):
    first = drawn(model, generator)
    torch.manual_seed(99)
    assert first.shape == (2, 6, tiny.VIEW, tiny.VIEW, 3) and first.dtype == np.uint8
    assert (drawn(model, generator) == first).all()
    assert (drawn(model, generator, seed=1) != first).any()
    colours = zero123plus.sheet_of(torch.from_numpy(pictures(0)).permute(0, 1, 4, 2, 3)) / 127.5 - 1
    same_noise = replace(SAMPLING, fusion=0.0)
    control = Control(generator, colours, 1.0)
    assert (zero123plus.sample(model, clip(), same_noise, lambda *_: None, control) != first).any()


def test_a_frame_depends_on_its_own_condition_and_colours_alone(model, generator):
    frames, views = clip(), pictures(0)
    both = drawn(model, generator, steps=1)
    alone = drawn(model, generator, frames=frames[1:], views=views[1:], steps=1)
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    assert (drawn(model, generator, frames=frames[1:], views=pictures(1)[1:], steps=1) != alone).any()
    assert (drawn(model, generator, frames=frames[:1], views=views[1:], steps=1) != alone).any()


# ------------------------------------------------------------------ bad input


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def refused(copy: Path, model, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        normals.load(copy, model)


def test_a_missing_file(copy, model):
    (copy / "config.json").unlink()
    refused(copy, model, "config.json is missing; expected diffusers' layout of a ControlNet")


def test_truncated_weights(copy, model):
    path = copy / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(copy, model, "cannot be read as ControlNetModel: .* Fetch this folder again")


def test_a_pickle_is_not_even_read(copy, model):
    (copy / "diffusion_pytorch_model.safetensors").rename(copy / "diffusion_pytorch_model.bin")
    refused(copy, model, "diffusion_pytorch_model.safetensors is missing")


def test_a_controlnet_of_another_network(copy, model):
    config = json.loads((copy / "config.json").read_text())
    ControlNetModel.from_config({**config, "cross_attention_dim": 8}).save_pretrained(copy)
    refused(copy, model, "cross_attention_dim is 8, expected 16 to fit Zero123")


def test_a_control_at_another_scale(copy, model):
    config = json.loads((copy / "config.json").read_text())
    ControlNetModel.from_config({**config, "conditioning_embedding_out_channels": [8, 8, 8]}).save_pretrained(copy)
    refused(copy, model, "conditioning_embedding_out_channels, how many is 3, expected 2")
