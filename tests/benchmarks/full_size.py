"""Time and GPU memory of Zero123++'s anchors and of Zero123's score distillation at full size, without any weights.

    python -m tests.benchmarks.full_size                      # on a GPU: float16, STAG4D's settings
    python -m tests.benchmarks.full_size --tiny --device cpu  # the same path with tiny networks: seconds

Networks have the published architectures (Zero123++ v1.1 and v1.2 share one; Zero123-XL) and random weights, made in
memory on the device and in half precision on a GPU: what they draw is noise, what it costs is not. Anchors are drawn by
the function that stage anchors calls. A step of score distillation is one random view of a frame, its two conditions
(4DSTR eq. 8), and the gradient that reaches the view's pixels; the rasterizer and the fit's own pictures are not in it.

Vocabulary: *work* is the row's own, *preparation* what comes once before it: the conditions' embeddings and the linear
encoder. The *peak* is the most that torch's allocator has held on the GPU during the work, networks included, which the
last column counts alone; both are empty on a CPU. One small call before the work, not counted, lets the libraries
choose their kernels.
"""

from __future__ import annotations

import argparse
import io
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import test_zero123 as full_zero123
import test_zero123plus as full_zero123plus
import tiny as tiny_zero123plus
import tiny_zero123

from stages.cli import Reporter
from stages.contracts import Anchors, Frames
from stages.lib.device import Device
from stages.lib.diffusion import distillation, zero123, zero123plus
from stages.lib.diffusion.zero123plus import Preprocessor, Sampling
from stages.lib.guidance import DYNAMIC_SPAN
from stages.settings import AnchorsSettings, GuidanceSettings
from tests.objects import anchors_of, frames_of

OBJECT = "mouth"
PARTS = ("anchors", "sds")
ENCODERS = ("vae", "half", "linear")
PACKAGES = ("torch", "diffusers", "transformers")
BILINEAR, BICUBIC = 2, 3
PROMPT = 77
# Begin and end of CLIP's empty prompt, and those of the tiny network.
WORDS, TINY_WORDS = (49406, 49407), (1, 2)
# Sides of the pictures that Zero123++'s encoders see, and of Zero123-XL's.
FOR_VAE, FOR_CLIP, POSED = 512, 224, 256
COLUMNS = ("work", "preparation, s", "work, s", "s each", "peak GPU memory, MB", "of it networks, MB")

Networks = dict[str, nn.Module]


@dataclass(frozen=True)
class Place:
    """Where the networks are, in which numbers, and whether they are the tiny ones."""

    device: torch.device
    dtype: torch.dtype
    tiny: bool

    def made(self, make: Callable[[], Networks]) -> Networks:
        """Networks with random weights that were never anywhere else, nor in wider numbers."""
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                return {name: network.eval().requires_grad_(False) for name, network in make().items()}
        finally:
            torch.set_default_dtype(before)

    def describe(self) -> str:
        """Device, networks and versions, in one line."""
        here = platform.machine()
        if self.device.type == "cuda":
            here = f"{torch.cuda.get_device_name(self.device)}, CUDA {torch.version.cuda}"
        networks = f"{'tiny' if self.tiny else 'full-size'} networks in {str(self.dtype).removeprefix('torch.')}"
        return ", ".join([here, networks, *(f"{package} {version(package)}" for package in PACKAGES)])


class Watch:
    """Seconds and GPU memory of what runs inside its `with`."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.cuda = device, device.type == "cuda"

    def __enter__(self) -> Watch:
        self.networks_mb, self.peak_mb = "", ""
        if self.cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.networks_mb = f"{torch.cuda.memory_allocated(self.device) / 1e6:.0f}"
        self.started = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        # The GPU works beside Python.
        if self.cuda:
            torch.cuda.synchronize(self.device)
            self.peak_mb = f"{torch.cuda.max_memory_allocated(self.device) / 1e6:.0f}"
        self.seconds = time.perf_counter() - self.started


def row(name: str, preparation: str, work: Watch, count: int) -> str:
    """One line of the table; count: of frames or steps."""
    seconds = f"{work.seconds:.2f} | {work.seconds / count:.3f}"
    return f"| {name} | {preparation} | {seconds} | {work.peak_mb} | {work.networks_mb} |"


# ------------------------------------------------------------------ anchors


def anchor_model(place: Place) -> zero123plus.Zero123Plus:
    """Zero123++ on the device, with tokens and preprocessing as published."""

    def full() -> Networks:
        return {name: getattr(full_zero123plus, f"full_size_{name}")() for name in zero123plus.COMPONENTS}

    edges = (tiny_zero123plus.VIEW,) * 2 if place.tiny else (FOR_VAE, FOR_CLIP)
    begin, end = TINY_WORDS if place.tiny else WORDS
    clip = tuple(tiny_zero123plus.MEAN_CLIP), tuple(tiny_zero123plus.STD_CLIP)
    return zero123plus.Zero123Plus(
        **place.made(tiny_zero123plus.networks if place.tiny else full),
        prompt=torch.tensor([[begin, *[end] * (PROMPT - 1)]], device=place.device),
        ramp=torch.linspace(0, 1, PROMPT, device=place.device),
        scheduler_config=tiny_zero123plus.SCHEDULER,
        for_vae=Preprocessor(edges[0], edges[0], BILINEAR, (0.5,) * 3, (0.8,) * 3),
        for_clip=Preprocessor(edges[1], edges[1], BICUBIC, *clip),
    )


def anchors(place: Place, frames: np.ndarray, settings: AnchorsSettings) -> str:
    """The row of one set of anchors of frames (F, H, W, 4)."""
    model = anchor_model(place)
    side = tiny_zero123plus.VIEW if place.tiny else settings.view_size
    batch = settings.frames_per_batch

    def draw(pictures: np.ndarray, steps: int) -> None:
        sampling = Sampling(steps, settings.guidance, settings.fusion, side, batch, seed=0)
        zero123plus.sample(model, pictures, sampling, lambda done, total: None)

    draw(frames[:batch], 1)
    with Watch(place.device) as work:
        draw(frames, settings.steps)
    name = f"anchors, {settings.steps} steps, {side} pixels, guidance {settings.guidance}, {batch} frames a batch"
    return row(f"{name}: {len(frames)} frames", "", work, len(frames))


# ------------------------------------------------------------------ score distillation


def posed_model(place: Place) -> zero123.Zero123:
    """Zero123-XL on the device."""

    def full() -> Networks:
        projection = {"clip_camera_projection": zero123.CameraProjection()}
        others = [name for name in zero123.COMPONENTS if name not in projection]
        return {name: getattr(full_zero123, f"full_size_{name}")() for name in others} | projection

    edge = tiny_zero123.SIDE if place.tiny else FOR_CLIP
    clip = tuple(tiny_zero123plus.MEAN_CLIP), tuple(tiny_zero123plus.STD_CLIP)
    return zero123.Zero123(
        **place.made(tiny_zero123.networks if place.tiny else full),
        alphas_cumprod=DDIMScheduler.from_config(tiny_zero123.SCHEDULER).alphas_cumprod.to(place.device),
        for_clip=Preprocessor(edge, edge, BICUBIC, *clip),
        pose="distance",
        side=tiny_zero123.SIDE if place.tiny else POSED,
    )


def encoder(name: str, side: int) -> tuple[str, GuidanceSettings]:
    """The row's word for one of ENCODERS, and its settings; side: of the network's pictures."""
    changed = {"vae": {}, "half": {"encode_size": side // 2}, "linear": {"encoder": "linear"}}[name]
    word = "linear" if name == "linear" else f"vae {changed.get('encode_size', side)}"
    return word, GuidanceSettings(model="zero123_xl", **changed)


def distilled(guidance: distillation.Guidance, size: int, progress: float, generator: torch.Generator) -> None:
    """One view's term and its gradient on the pixels, at random angles."""
    device, settings = guidance.conditions.latents.device, guidance.settings
    pictures = torch.rand(1, 3, size, size, generator=generator).to(device).requires_grad_()
    azimuth, elevation = (2 * torch.rand(2, 1, generator=generator).numpy() - 1) * [[180.0], [settings.elevation_deg]]
    frames = torch.randint(len(guidance.frames), (1,), generator=generator).numpy()
    guidance.values(pictures, frames, azimuth, elevation, progress, generator).mean().backward()


def sds(place: Place, clip: Frames, views: Anchors, name: str, settings: GuidanceSettings, steps: int) -> str:
    """The row of so many steps by one encoder."""
    frames, size = range(len(clip.rgba)), clip.rgba.shape[1]
    pictures = np.concatenate([clip.rgba[:, None], views.rgba], axis=1)
    quiet, generator = Reporter("sds", "", io.StringIO(), io.StringIO()), torch.Generator().manual_seed(0)
    model = posed_model(place)
    with Watch(place.device) as preparation:
        guidance = distillation.prepare(model, settings, pictures, clip, views, frames, DYNAMIC_SPAN, "random", quiet)
    # As in a stage, whose image encoder is gone when the fit begins.
    del model
    distilled(guidance, size, 0.0, generator)
    with Watch(place.device) as work:
        for step in range(steps):
            distilled(guidance, size, step / steps, generator)
    words = f"score distillation, {name}, view of {size} pixels: {steps} steps"
    return row(words, f"{preparation.seconds:.2f}", work, steps)


# ------------------------------------------------------------------ command


def main(given: list[str] | None = None) -> None:
    """Print one Markdown table; given: the command's words, those of the process unless said."""
    known = AnchorsSettings()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny networks instead")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--precision", default="auto", help="auto = float16 on CUDA, float32 on a CPU")
    parser.add_argument("--frames", type=int, default=8, help="of the clip")
    parser.add_argument("--size", type=int, default=POSED, help="side of frames and of the views that are distilled")
    parser.add_argument("--steps", type=int, default=known.steps, help="of the anchors' denoising")
    parser.add_argument("--guidance", type=float, default=known.guidance, help="of the anchors; 1 = none")
    parser.add_argument("--batch", type=int, default=known.frames_per_batch, help="the anchors' frames a batch")
    parser.add_argument("--sds-steps", type=int, default=100)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS, help="half = at half the side")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    arguments = parser.parse_args(given)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; add `--tiny --device cpu`")
    torch.set_num_threads(arguments.threads)
    device = Device(torch.device(arguments.device), "", arguments.threads)
    place = Place(device.device, getattr(torch, device.precision(arguments.precision)), arguments.tiny)
    clip = frames_of(OBJECT, arguments.frames, arguments.size)
    views = anchors_of(OBJECT, clip)
    print(f"{place.describe()}\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    if "anchors" in arguments.parts:
        chosen = {"steps": arguments.steps, "guidance": arguments.guidance, "frames_per_batch": arguments.batch}
        print(anchors(place, clip.rgba, AnchorsSettings(**chosen)), flush=True)
    if "sds" in arguments.parts:
        side = tiny_zero123.SIDE if place.tiny else POSED
        for name in arguments.encoders:
            print(sds(place, clip, views, *encoder(name, side), arguments.sds_steps), flush=True)


if __name__ == "__main__":
    main()
