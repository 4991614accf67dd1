"""What the small Zero123++ is trained on: six views of an object from one (stages/denoiser.py).

What is trained is what the pipeline of zero123plus.py runs: the same two passes with reference attention, the same
latent scalings, v-prediction on the same schedule.

Latents are made once, before the first step, in `colour_orders` orders of red, green and blue: more objects from the
same pictures. (A mirrored object is none more: Zero123++'s elevations alternate, so mirrored views are other views.)

Letters: S moments, O colour orders, B sheets of a step, C channels, h w latent pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPVisionModelWithProjection

from stages.cli import Reporter
from stages.contracts import Corpus
from stages.lib import training
from stages.lib.diffusion import micro, zero123plus
from stages.lib.diffusion.reference import Tokens, attach
from stages.settings import DenoiserSettings

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


def objective(corpus: Corpus, vae: AutoencoderKL, settings: DenoiserSettings, report: Reporter) -> training.Objective:
    """What the small Zero123++ is to learn from a corpus; its first weights come from torch's generator."""
    view_size, device = corpus.rgba.shape[2], vae.device
    made = micro.make_denoiser(settings, vae.config.latent_channels, view_size)
    networks = [network.to(device) for network in made]
    tokens = Tokens(fusion=0.0, branches=1)
    attach(networks[0], tokens)
    together = Networks(
        *networks,
        prompt=torch.tensor([micro.PROMPT], device=device),
        ramp=torch.tensor(micro.ramp(), device=device),
        scheduler=DDPMScheduler.from_config({**micro.SCHEDULER, "_class_name": "DDPMScheduler"}),
        tokens=tokens,
    )
    data = examples(corpus, vae, settings.colour_orders, report)

    def step(generator: torch.Generator) -> training.Terms:
        return loss(together, data, settings.batch, settings.drop_condition, generator)

    def write(folder: Path) -> None:
        micro.write(folder, vae.cpu(), *(network.cpu() for network in networks), view_size)

    return training.Objective(networks, step, write)
