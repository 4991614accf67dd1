"""The small networks: scales, limits, and the public layouts that the existing loaders read by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages import promote
from stages.lib import weights
from stages.lib.diffusion import micro, zero123, zero123plus
from stages.settings import PRIORS, AutoencoderSettings, Config, DenoiserSettings, overlay, parse, read_yaml

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
AUTOENCODER = AutoencoderSettings(channels=[8, 8], latent_channels=4)
DENOISER = DenoiserSettings(channels=[16, 16], embedding=16)


@pytest.fixture(scope="module")
def vae():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return micro.make_autoencoder(AUTOENCODER).eval().requires_grad_(False)


def test_normalising_changes_the_latents_and_no_picture(vae):
    pictures = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    before, posterior = vae(pictures).sample, vae.encode(pictures).latent_dist
    micro.normalise(vae, posterior.mean)
    after = vae.encode(pictures).latent_dist
    assert torch.allclose(vae(pictures).sample, before, atol=1e-4)
    sheets = zero123plus.to_sheet_scale(after.mean * vae.config.scaling_factor)
    assert torch.allclose(sheets.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(sheets.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    # The posterior's width is stretched like its mean.
    gain = after.mean.std((0, 2, 3)) / posterior.mean.std((0, 2, 3))
    assert torch.allclose(after.std / posterior.std, gain[None, :, None, None].expand_as(after.std), rtol=1e-3)


def test_zero123s_copy_is_the_same_autoencoder_in_another_range(vae):
    kept = {name: value.clone() for name, value in vae.state_dict().items()}
    pictures = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    copied = micro.for_zero123(vae, pictures)
    expected = vae(pictures * zero123plus.IMAGE_SCALE).sample / zero123plus.IMAGE_SCALE
    assert torch.allclose(copied(pictures).sample, expected, atol=1e-4)
    latents = copied.encode(pictures).latent_dist.mode() * copied.config.scaling_factor
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    assert all(torch.equal(value, kept[name]) for name, value in vae.state_dict().items())


def test_the_loader_of_zero123_reads_what_is_written(vae, tmp_path):
    micro.write_pose(tmp_path / weights.MICRO_POSE, vae, *micro.make_pose_denoiser(DENOISER, 4, 16, 8), view_size=16)
    about = weights.entry(weights.MICRO_POSE)
    assert about["pose"] == micro.POSE and "side" not in about
    model = zero123.load(weights.find(weights.MICRO_POSE, tmp_path), about["pose"], None, CPU, torch.float32)
    assert (model.side, model.prediction, model.for_clip.edge) == (16, "v_prediction", 16)
    condition = np.zeros((24, 24, 4), np.uint8)
    condition[6:18, 6:18] = (200, 90, 30, 255)
    embedding, latent, _ = zero123.embed(model, condition)
    views = zero123.sample(model, embedding, latent, torch.randn(3, 4), 2, 2.0, torch.Generator().manual_seed(0))
    assert views.shape == (3, 16, 16, 3) and views.dtype == np.uint8


def test_the_loader_reads_what_is_written(vae, tmp_path):
    micro.write(tmp_path / weights.MICRO, vae, *micro.make_denoiser(DENOISER, 4, 16), view_size=16)
    model = zero123plus.load(tmp_path / weights.MICRO, CPU, torch.float32)
    assert model.prompt.tolist() == [list(micro.PROMPT)] and model.ramp.tolist() == micro.ramp()
    assert weights.find(weights.MICRO, tmp_path) == tmp_path / weights.MICRO
    frames = np.zeros((2, 24, 24, 4), np.uint8)
    frames[:, 6:18, 6:18] = (200, 90, 30, 255)
    sampling = zero123plus.Sampling(steps=2, guidance=1.0, fusion=0.5, view_size=16, frames_per_batch=2, seed=0)
    assert zero123plus.sample(model, frames, sampling, lambda done, total: None).shape == (2, 6, 16, 16, 3)


def test_the_manifest_lists_every_file(vae, tmp_path):
    micro.write(tmp_path, vae, *micro.make_denoiser(DENOISER, 4, 16), view_size=16)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    listed = set(read_yaml(ROOT / "config" / "weights.yaml")[weights.MICRO]["files"])
    assert listed <= written and written - listed <= {"receipt.json", "tokenizer/tokenizer.json"}


def test_the_manifest_lists_every_file_of_zero123(vae, tmp_path):
    micro.write_pose(tmp_path, vae, *micro.make_pose_denoiser(DENOISER, 4, 16, 8), view_size=16)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"receipt.json", *weights.entry(weights.MICRO_POSE)["files"]}


def test_the_networks_have_one_list_of_names():
    assert tuple(weights.TRAINED) == PRIORS


def sizes(recipe: str) -> dict[str, list[int]]:
    """Parameters of every file of a recipe's networks."""
    content = overlay(Config().model_dump(mode="json"), read_yaml(ROOT / "config" / "priors" / f"{recipe}.yaml"))
    priors = parse(Config, content, recipe).priors
    with torch.device("meta"):
        vae = micro.make_autoencoder(priors.autoencoder)
        channels, side = priors.autoencoder.latent_channels, priors.corpus.view_size
        six = micro.make_denoiser(priors.denoiser, channels, side)
        posed = micro.make_pose_denoiser(priors.pose, channels, side, side // zero123.factor_of(vae))
    networks = {"zero123plus": (vae, *six), "zero123": (vae, *posed)}
    return {name: [sum(p.numel() for p in network.parameters()) for network in of] for name, of in networks.items()}


@pytest.mark.parametrize(("recipe", "most"), [("cpu", 3_000_000), ("gpu", 6_000_000)])
def test_recipes_keep_the_limits(recipe, most):
    # Two bytes a parameter; 40 kB cover the names in a file's header (a UNet's takes 33 kB).
    counts = sizes(recipe)
    assert all(sum(parts) <= most for parts in counts.values())
    files = [2 * part + 40_000 for parts in counts.values() for part in parts]
    assert max(files) <= promote.FILE_BYTES and sum(files) <= promote.TOTAL_BYTES


def test_colour_orders_begin_with_the_pictures_own():
    orders = micro.colour_orders(6)
    assert orders[0] == [0, 1, 2] and len({tuple(order) for order in orders}) == 6
    assert micro.colour_orders(1) == [[0, 1, 2]]
