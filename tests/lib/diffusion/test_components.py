"""Components of public folders, whose files have the keys of older libraries, in safetensors and as a pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_prompts
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from stages.lib.diffusion.components import component

KINDS = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "vision_encoder": CLIPVisionModelWithProjection,
}
ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    place = tiny.make(tmp_path_factory.mktemp("components") / "tiny")
    tiny_prompts.text(CLIPTextModelWithProjection).save_pretrained(place / "text_encoder_2")
    return place


def older(name: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under the keys that earlier versions of diffusers and transformers gave them."""
    if name == "vae":
        keys = {}
        for key in weights:
            block, found, rest = key.partition(".attentions.0.")
            layer, _, kind = rest.rpartition(".")
            keys[key] = f"{block}{found}{ATTENTION.get(layer, layer)}.{kind}" if found else key
        return {keys[key]: value for key, value in weights.items()}
    tower = "vision_model" if name == "vision_encoder" else "text_model"
    prefixed = {
        key if key.startswith((tower, "visual_projection", "text_projection")) else f"{tower}.{key}": value
        for key, value in weights.items()
    }
    positions = len(prefixed[f"{tower}.embeddings.position_embedding.weight"])
    return {**prefixed, f"{tower}.embeddings.position_ids": torch.arange(positions)[None]}


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("name", KINDS)
def test_older_keys_are_read_as_the_same_network(folder, tmp_path, name, pickled):
    (file,) = (folder / name).glob("*.safetensors")
    plain = load_file(file)
    weights = older(name, plain)
    assert weights.keys() != plain.keys()
    (tmp_path / "config.json").write_text((folder / name / "config.json").read_text())
    if pickled:
        torch.save(weights, tmp_path / ("diffusion_pytorch_model.bin" if name == "vae" else "pytorch_model.bin"))
    else:
        save_file(weights, tmp_path / file.name, metadata={"format": "pt"})
    found, expected = (component(place, KINDS[name], torch.float32) for place in (tmp_path, folder / name))
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert set(plain) <= set(found) and all(torch.equal(found[key], plain[key]) for key in plain)
