"""Zero123++ (Shi et al. 2023): six views at fixed angles from one picture, here for all frames of a clip together.

Vocabulary: the *condition* is the input picture; the *sheet* holds the six views in 3 rows and 2 columns, row by row,
azimuth 30 to 330 degrees; the *reference latent* is the condition's latent, noised like the sheet in each step, through
which the network reads local detail (see reference.py); the *global embedding* is CLIP's image embedding, added to
the empty prompt's 77 tokens with one weight a token (the *ramp*). With guidance both branches have a reference: the
negative one's is a mid-grey picture. A *control* is a ControlNet that looks at another sheet, pixel by pixel, and adds
to the network's features there (see normals.py).

Conventions: F frames, B frames of a batch, S branches (negative first), h w latent pixels, C channels. Latents of the
sheet live in the network's own scale: (z - 0.22) * 0.75 of the autoencoder's, pictures enter it as (x - 0.5) / 0.8;
the condition's latent is not multiplied by the autoencoder's scaling factor (the authors' intent: a stronger local
condition). The folder has the public layout: model_index.json with the ramp, and one folder a component. Weights are
read as safetensors or with torch's weights_only loader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from stages.lib.diffusion.components import ModelError, check_widths, component, configuration, preparation
from stages.lib.diffusion.reference import Tokens, attach

ROWS, COLUMNS = 3, 2
LATENT_SHIFT, LATENT_SCALE = 0.22, 0.75
IMAGE_SCALE = 0.5 / 0.8
# Transparent pixels of the condition become this grey, as in training.
BACKGROUND = 127
COMPONENTS = {
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "vision_encoder": CLIPVisionModelWithProjection,
}
PREPROCESSORS = ("feature_extractor_vae", "feature_extractor_clip")
LAYOUT = (
    f"Zero123++'s folder layout (model_index.json, {', '.join(COMPONENTS)}, scheduler, tokenizer, "
    f"{', '.join(PREPROCESSORS)})"
)


@dataclass(frozen=True)
class Preprocessor:
    """How a picture enters an encoder: shortest edge to `edge`, centre crop, then (x - mean) / std."""

    edge: int
    crop: int
    resample: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Preprocessor:
        """From a preprocessor_config.json; raises ModelError."""
        content = configuration(path, LAYOUT)
        try:
            edge, crop = content["size"], content["crop_size"]
            edge = edge["shortest_edge"] if isinstance(edge, dict) else edge
            crop = crop["height"] if isinstance(crop, dict) else crop
            return cls(edge, crop, content["resample"], tuple(content["image_mean"]), tuple(content["image_std"]))
        except (KeyError, TypeError) as error:
            raise ModelError(f"{path} lacks {error}; expected a CLIP image processor's settings.") from None

    def __call__(self, rgb: np.ndarray) -> Tensor:
        """uint8 (H, W, 3) to float32 (3, crop, crop)."""
        picture = Image.fromarray(rgb)
        factor = self.edge / min(picture.size)
        picture = picture.resize([round(side * factor) for side in picture.size], self.resample)
        left, top = (picture.width - self.crop) // 2, (picture.height - self.crop) // 2
        picture = picture.crop((left, top, left + self.crop, top + self.crop))
        values = np.asarray(picture, dtype=np.float32) / 255
        return torch.from_numpy((values - np.float32(self.mean)) / np.float32(self.std)).permute(2, 0, 1)


@dataclass(frozen=True)
class Sampling:
    """How anchors are drawn: steps, guidance (1 = none), fusion weight, side of a view, frames a call, seed."""

    steps: int
    guidance: float
    fusion: float
    view_size: int
    frames_per_batch: int
    seed: int


@dataclass(frozen=True)
class Control:
    """A ControlNet (Zhang et al. 2023), the sheets that it looks at, and the weight of what it adds."""

    network: ControlNetModel
    sheets: Tensor
    """(F, 3, H, W) in [-1, 1], on the network's device; F = B when a batch is predicted"""
    scale: float

    def residuals(self, sheets: Tensor, step: Tensor, prompts: Tensor) -> dict[str, object]:
        """What is added inside the network, as its arguments: noisy sheets (S*B, C, h, w), prompts (S*B, 77, D).

        Both branches of the guidance see the control, as the authors have it.
        """
        down, middle = self.network(
            sheets,
            step,
            encoder_hidden_states=prompts,
            controlnet_cond=self.sheets.repeat(len(sheets) // len(self.sheets), 1, 1, 1),
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


@dataclass(frozen=True)
class Zero123Plus:
    """The networks and fixed numbers of one Zero123++ folder."""

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    vision_encoder: CLIPVisionModelWithProjection
    prompt: Tensor
    """(1, 77) int64, the empty prompt's tokens"""
    ramp: Tensor
    """(77,) float32, weight of the global embedding a token"""
    scheduler_config: dict
    for_vae: Preprocessor
    for_clip: Preprocessor


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Zero123Plus:
    """Read a folder in the public layout; nothing is fetched and no remote code runs.

    Raises ModelError: a missing or unreadable component, a network of another kind or prediction type.
    """
    index = configuration(folder / "model_index.json", LAYOUT)
    scheduler = configuration(folder / "scheduler" / "scheduler_config.json", LAYOUT)
    if scheduler.get("prediction_type") != "v_prediction":
        raise ModelError(
            f"{folder} predicts {scheduler.get('prediction_type', 'epsilon')!r}; expected 'v_prediction', as Zero123++ "
            "does. Name a Zero123++ network in anchors.model."
        )
    ramp = index.get("ramping_coefficients")
    if not ramp:
        raise ModelError(f"{folder}/model_index.json has no ramping_coefficients; expected Zero123++'s 77 numbers.")
    loaded = {}
    for name, kind in COMPONENTS.items():
        configuration(folder / name / "config.json", LAYOUT)
        loaded[name] = component(folder / name, kind, dtype).to(device)
    tokenizer = preparation(folder / "tokenizer", CLIPTokenizer)
    prompt = tokenizer("", padding="max_length", max_length=len(ramp), truncation=True, return_tensors="pt").input_ids
    _check(folder, loaded, len(ramp))
    for_vae, for_clip = (Preprocessor.read(folder / name / "preprocessor_config.json") for name in PREPROCESSORS)
    return Zero123Plus(
        **loaded,
        prompt=prompt.to(device),
        ramp=torch.tensor(ramp, dtype=torch.float32, device=device),
        scheduler_config=scheduler,
        for_vae=for_vae,
        for_clip=for_clip,
    )


def _check(folder: Path, loaded: dict, tokens: int) -> None:
    """Raise ModelError if the components do not fit each other."""
    unet, text, vision = (loaded[name].config for name in ("unet", "text_encoder", "vision_encoder"))
    widths = {
        "unet.in_channels": (unet.in_channels, loaded["vae"].config.latent_channels),
        "unet.out_channels": (unet.out_channels, unet.in_channels),
        "unet.cross_attention_dim": (unet.cross_attention_dim, text.hidden_size),
        "vision_encoder.projection_dim": (vision.projection_dim, text.hidden_size),
        "ramping_coefficients": (tokens, text.max_position_embeddings),
    }
    check_widths(folder, widths, "Zero123++", "anchors.model")


def over_grey(rgba: np.ndarray, level: int = BACKGROUND) -> np.ndarray:
    """Straight uint8 (..., 4) on a grey, that of the training pictures unless said: uint8 (..., 3)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.round(rgba[..., :3] * alpha + level * (1 - alpha)).astype(np.uint8)


def views_of(sheet: Tensor) -> Tensor:
    """Cut a sheet (F, 3, 3 s, 2 s) into its views (F, 6, 3, s, s), row by row."""
    tiles = sheet.unflatten(3, (COLUMNS, -1)).unflatten(2, (ROWS, -1))
    return tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def sheet_of(views: Tensor) -> Tensor:
    """The inverse of `views_of`: (F, 6, C, s, s) to (F, C, 3 s, 2 s)."""
    tiles = views.unflatten(1, (ROWS, COLUMNS)).permute(0, 3, 1, 4, 2, 5)
    return tiles.flatten(4, 5).flatten(2, 3)


def to_sheet_scale(latents: Tensor) -> Tensor:
    """The autoencoder's latents, already times its scaling factor, in the network's scale."""
    return (latents - LATENT_SHIFT) * LATENT_SCALE


def from_sheet_scale(latents: Tensor) -> Tensor:
    """The inverse of `to_sheet_scale`."""
    return latents / LATENT_SCALE + LATENT_SHIFT


def _noise(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal noise drawn on the CPU, so that a seed means the same on every device."""
    return torch.randn(shape, generator=generator).to(like)


@torch.no_grad()
def sample(
    model: Zero123Plus,
    frames: np.ndarray,
    sampling: Sampling,
    progress: Callable[[int, int], None],
    control: Control | None = None,
) -> np.ndarray:
    """Six views of every frame: straight uint8 (F, H, W, 4) to uint8 (F, 6, s, s, 3), opaque.

    All noise (start, steps, reference, autoencoder) comes from the seed and is the same for every frame, as STAG4D
    has it for start and steps: what changes between frames is then the input alone. Raises ModelError for a
    `view_size` that the network cannot have.
    """
    unet, vae = model.unet, model.vae
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    multiple = factor * 2 ** (len(unet.config.block_out_channels) - 1)
    if (ROWS * sampling.view_size) % multiple or (COLUMNS * sampling.view_size) % multiple:
        raise ModelError(
            f"anchors.view_size is {sampling.view_size}; expected a multiple of {multiple} for this network. Type "
            f"`anchors.view_size: {max(1, round(sampling.view_size / multiple)) * multiple}`."
        )
    generator = torch.Generator().manual_seed(sampling.seed)
    guided = sampling.guidance > 1
    latents_of, prompts = _conditions(model, frames, guided, sampling.seed)
    scheduler = EulerAncestralDiscreteScheduler.from_config(model.scheduler_config, timestep_spacing="trailing")
    scheduler.set_timesteps(sampling.steps, device=unet.device)
    side = sampling.view_size // factor
    shape = (1, unet.config.in_channels, ROWS * side, COLUMNS * side)
    start = _noise(shape, generator, latents_of) * scheduler.init_noise_sigma
    sheets = start.repeat(len(frames), 1, 1, 1)
    tokens = Tokens(fusion=sampling.fusion, branches=2 if guided else 1)
    attach(unet, tokens)
    for done, step in enumerate(scheduler.timesteps, start=1):
        tokens.anchor.clear()
        noise = _noise((tokens.branches, 1, *latents_of.shape[2:]), generator, latents_of)
        reference = scheduler.scale_model_input(scheduler.add_noise(latents_of, noise, step[None]), step)
        scaled = scheduler.scale_model_input(sheets, step)
        batches = torch.arange(len(frames)).split(sampling.frames_per_batch)
        predicted = []
        for b in batches:
            looking = control and replace(control, sheets=control.sheets[b])
            given = scaled[b], reference[:, b], prompts[:, b]
            predicted.append(predict(unet, tokens, *given, step, sampling.guidance, looking))
        # One generator a frame, all in the same state: every frame gets the same noise.
        state = torch.Generator().manual_seed(_draw(generator)).get_state()
        same = [torch.Generator().set_state(state) for _ in frames]
        sheets = scheduler.step(torch.cat(predicted), step, sheets, generator=same).prev_sample.to(start.dtype)
        progress(done, sampling.steps)
    # Still held by the network's attention processors while the autoencoder decodes.
    tokens.anchor.clear()
    return np.stack([_decode(vae, sheet) for sheet in sheets.split(1)])


def _draw(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=generator))


def predict(
    unet: UNet2DConditionModel,
    tokens: Tokens,
    sheets: Tensor,
    reference: Tensor,
    prompts: Tensor,
    step: Tensor,
    guidance: float,
    control: Control | None = None,
) -> Tensor:
    """The guided v of a batch: sheets (B, C, h, w), reference latents (S, B, ...), prompts (S, B, 77, D).

    A control acts on the sheets, never on the reference.
    """
    everything, flat = sheets.repeat(tokens.branches, 1, 1, 1), prompts.flatten(0, 1)
    added = control.residuals(everything, step, flat) if control else {}
    with tokens.writing():
        unet(reference.flatten(0, 1), step, encoder_hidden_states=flat)
    with tokens.reading():
        v = unet(everything, step, encoder_hidden_states=flat, **added).sample
    if tokens.branches == 1:
        return v
    negative, positive = v.chunk(2)
    return negative + guidance * (positive - negative)


def _conditions(model: Zero123Plus, frames: np.ndarray, guided: bool, seed: int) -> tuple[Tensor, Tensor]:
    """Reference latents (S, F, C, h, w) and prompts (S, F, 77, D) of frames (F, H, W, 4), frame by frame."""
    vae, device, dtype = model.vae, model.vae.device, model.vae.dtype
    empty = model.text_encoder(model.prompt).last_hidden_state
    latents, prompts = [], []
    for rgba in frames:
        rgb = over_grey(rgba)
        picture = model.for_vae(rgb)[None].to(device, dtype)
        pictures = [torch.zeros_like(picture), picture] if guided else [picture]
        latents.append(torch.cat([_posterior_sample(vae, each, seed) for each in pictures]))
        embedding = model.vision_encoder(model.for_clip(rgb)[None].to(device, dtype)).image_embeds
        prompt = empty + (embedding[:, None].float() * model.ramp[:, None]).to(dtype)
        prompts.append(torch.cat([empty, prompt] if guided else [prompt]))
    return torch.stack(latents, dim=1), torch.stack(prompts, dim=1)


def _posterior_sample(vae: AutoencoderKL, picture: Tensor, seed: int) -> Tensor:
    posterior = vae.encode(picture).latent_dist
    return posterior.mean + posterior.std * _noise(
        tuple(posterior.mean.shape), torch.Generator().manual_seed(seed), posterior.mean
    )


def _decode(vae: AutoencoderKL, sheet: Tensor) -> np.ndarray:
    """One sheet's latent (1, C, h, w) to its views, uint8 (6, s, s, 3)."""
    picture = vae.decode(from_sheet_scale(sheet) / vae.config.scaling_factor).sample.float() / IMAGE_SCALE
    views = views_of((picture / 2 + 0.5).clamp(0, 1))[0]
    return (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
