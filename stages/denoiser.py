"""Stage denoiser: the small Zero123++, trained to draw six views of an object from one.

Reads corpus.npz and the autoencoder; writes the public folder layout, which stages/lib/diffusion/zero123plus.py loads
by name, and the loss curve. What is trained is what that pipeline runs: the same two passes with reference attention,
the same latent scalings, v-prediction on the same schedule.

Latents are made once, before the first step, in `colour_orders` orders of red, green and blue: more objects from the
same pictures. (A mirrored object is none more: Zero123++'s elevations alternate, so mirrored views are other views.)

Letters: S moments, O colour orders, B sheets of a step, C channels, h w latent pixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Corpus, replacing_folder
from stages.lib import checkpoint, training
from stages.lib.device import choose
from stages.lib.diffusion import micro, zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.settings import NO_INFLUENCE, DenoiserRun, canonical_json

# Seed of the first weights, beside the steps' own.
INITIAL = 3
ENCODED_AT_ONCE = 16


@dataclass(frozen=True)
class Examples:
    """All that a step draws from, on the training's device.

    sheets (S, O, C, 3 h, 2 w) in the UNet's scale; references (S, O, C, h, w), unscaled; conditions (S, O, 3, H, W) as
    the image encoder sees them; nothing (1, C, h, w), the reference of a sheet without a condition.
    """

    sheets: Tensor
    references: Tensor
    conditions: Tensor
    nothing: Tensor


def sheets_of(views: Tensor) -> Tensor:
    """Views (S, 6, 3, H, W) laid out in rows as sheets (S, 3, 3 H, 2 W), the inverse of `zero123plus.views_of`."""
    rows = views.unflatten(1, (zero123plus.ROWS, zero123plus.COLUMNS))
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


@torch.no_grad()
def examples(corpus: Corpus, vae: AutoencoderKL, colour_orders: int, report: Reporter) -> Examples:
    """Encode a corpus, exactly as the pipeline encodes its frames: posterior means, conditions resized by Pillow."""
    side = corpus.rgba.shape[2]
    prepare = zero123plus.Preprocessor(side, side, micro.BILINEAR, (micro.IMAGE_MEAN,) * 3, (micro.IMAGE_STD,) * 3)
    orders = micro.colour_orders(colour_orders)
    encoded: dict[str, list[Tensor]] = {"sheets": [], "references": [], "conditions": []}

    def latents(pictures: Tensor) -> Tensor:
        flat = pictures.flatten(0, 1).to(vae.device)
        return vae.encode(flat).latent_dist.mean.unflatten(0, pictures.shape[:2])

    for start in range(0, len(corpus.rgba), ENCODED_AT_ONCE):
        chosen = slice(start, start + ENCODED_AT_ONCE)
        views = micro.pictures(zero123plus.over_grey(corpus.rgba[chosen]))
        sheets = sheets_of(views)
        conditions = torch.stack([prepare(zero123plus.over_grey(rgba)) for rgba in corpus.condition[chosen]])
        sheets, conditions = (torch.stack([each[:, order] for order in orders], 1) for each in (sheets, conditions))
        encoded["sheets"].append(zero123plus.to_sheet_scale(latents(sheets) * vae.config.scaling_factor))
        encoded["references"].append(latents(conditions))
        encoded["conditions"].append(conditions.to(vae.device))
        report.progress(min(start + ENCODED_AT_ONCE, len(corpus.rgba)), len(corpus.rgba))
    nothing = vae.encode(torch.zeros(1, 3, side, side, device=vae.device)).latent_dist.mean
    return Examples(**{name: torch.cat(parts) for name, parts in encoded.items()}, nothing=nothing)


@dataclass(frozen=True)
class Networks:
    """What is trained, and the fixed numbers around it."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vision_encoder: CLIPVisionModelWithProjection
    prompt: Tensor
    ramp: Tensor
    scheduler: DDPMScheduler
    tokens: Tokens


def prompts(networks: Networks, conditions: Tensor, dropped: Tensor) -> Tensor:
    """Tokens (B, L, D): the empty prompt, plus the ramped image embedding where the condition (B, ...) is kept."""
    empty = networks.text_encoder(networks.prompt).last_hidden_state
    embedding = networks.vision_encoder(conditions).image_embeds
    return empty + torch.where(dropped[:, None, None], 0.0, embedding[:, None] * networks.ramp[:, None])


def loss(
    networks: Networks, data: Examples, batch: int, drop_condition: float, generator: torch.Generator
) -> training.Terms:
    """Squared error of v on `batch` random sheets, each at its own timestep (Salimans and Ho 2022; Zero123++).

    The reference is noised like the sheet and to the same timestep.
    """
    device, (moments, orders) = data.sheets.device, data.sheets.shape[:2]
    moment, order = (torch.randint(size, (batch,), generator=generator).to(device) for size in (moments, orders))
    timestep = torch.randint(networks.scheduler.config.num_train_timesteps, (batch,), generator=generator).to(device)
    dropped = (torch.rand(batch, generator=generator) < drop_condition).to(device)
    sheets = data.sheets[moment, order]
    references = torch.where(dropped[:, None, None, None], data.nothing, data.references[moment, order])
    noise, other = (torch.randn(each.shape, generator=generator).to(device) for each in (sheets, references))
    add, conditions = networks.scheduler.add_noise, data.conditions[moment, order]
    v = zero123plus.predict(
        networks.unet,
        networks.tokens,
        add(sheets, noise, timestep),
        add(references, other, timestep)[None],
        prompts(networks, conditions, dropped)[None],
        timestep,
        guidance=1.0,
    )
    error = v.float() - networks.scheduler.get_velocity(sheets, noise, timestep)
    return {"v": error.square().mean()}


def main(
    corpus: Path,
    autoencoder: Path,
    out: Path,
    curve: Path,
    plot: Path,
    checkpoints: Path,
    settings: DenoiserRun,
    report: Reporter,
) -> None:
    """Train the small Zero123++; `out` is the receipt of its folder, `autoencoder` the config.json of the other's."""
    chosen, device = settings.denoiser, choose(settings)
    pictures = Corpus.load(corpus)
    view_size = pictures.rgba.shape[2]
    vae = AutoencoderKL.from_pretrained(autoencoder.parent, local_files_only=True).to(device.device).eval()
    torch.manual_seed(training.generator(settings.seed, INITIAL).initial_seed())
    networks = micro.make_denoiser(chosen, vae.config.latent_channels, view_size)
    multiple = 2 ** (len(vae.config.block_out_channels) + len(chosen.channels) - 2)
    if view_size % (multiple // 2) or (2 * view_size) % multiple:
        raise StageError(
            f"priors.corpus.view_size is {view_size}; expected a multiple of {multiple} for priors.denoiser.channels "
            f"of {len(chosen.channels)} widths. Type `view_size: {multiple * max(1, round(view_size / multiple))}`."
        )
    networks = [network.to(device.device) for network in networks]
    tokens = Tokens(fusion=0.0, branches=1)
    attach(networks[0], tokens)
    together = Networks(
        *networks,
        prompt=torch.tensor([micro.PROMPT], device=device.device),
        ramp=torch.tensor(micro.ramp(), device=device.device),
        scheduler=DDPMScheduler.from_config({**micro.SCHEDULER, "_class_name": "DDPMScheduler"}),
        tokens=tokens,
    )
    parameters = sum(parameter.numel() for network in networks for parameter in network.parameters())
    report.say(f"{parameters} parameters, {len(pictures.rgba)} moments, on {device.device}")
    data = examples(pictures, vae, chosen.colour_orders, report)
    plan = training.Plan(
        chosen.steps, chosen.lr, chosen.ema_decay, chosen.precision, settings.seed, settings.checkpoint_interval_s
    )
    weights = autoencoder.parent / "diffusion_pytorch_model.safetensors"
    identity = checkpoint.digest("denoiser", canonical_json(settings, NO_INFLUENCE), device, [corpus, weights])
    with checkpoint.locked(checkpoints, report):
        rows = training.train(
            networks,
            lambda generator: loss(together, data, chosen.batch, chosen.drop_condition, generator),
            plan,
            checkpoints / "denoiser.pt",
            identity,
            report,
        )
    training.write_curve(curve, plot, rows, f"Zero123++, {parameters / 1e6:.2f} M parameters")
    with replacing_folder(out.parent) as folder:
        about = {"hardware": training.hardware(device.device, settings.threads)}
        (folder / "hardware.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        micro.write(folder, vae.cpu(), *(network.cpu() for network in networks), view_size)
    report.announce(
        f"wrote {out.parent}: {parameters} parameters, last loss {np.mean([row[1] for row in rows[-25:]]):.4f}"
    )


if __name__ == "__main__":
    cli.run(main, "denoiser")
