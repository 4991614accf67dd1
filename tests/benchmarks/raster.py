"""How fast the CPU rasterizer is, beside gsplat's PyTorch reference in the same interleaved run.

    python -m tests.benchmarks.raster                  # 128 x 128, 5,000 gaussians, 7 views
    python -m tests.benchmarks.raster --size 256 --gaussians 20000 --markdown

One step is forward and backward: render, and from fixed random gradients of image and alpha the gradients of means,
quaternions, scales, opacities and colours; a loss would be torch's time, the same for all. A round takes the best of
`--repeats` steps of each contender in turn; reported are medians and ranges over `--rounds` rounds, ratios taken
inside each round. Torch runs on one thread. Without gsplat only our own numbers are printed, and what to install.
On a CUDA machine the backend "gsplat" takes part: gaussians stay on the device, a step lasts until its work is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.lib.cameras import Cameras, orbit
from stages.lib.raster import render
from tests.benchmarks.gsplat_reference import INSTALL, render_gsplat_reference

SH_C0 = 0.28209479177387814
RADIUS = 3.0
FOVY_DEG = 45.0
# Standard deviations on screen, as a fit has them: lognormal, median in pixels and spread of the logarithm.
MEDIAN_PIXELS = 0.85
LOG_SPREAD = 0.4


@dataclass(frozen=True)
class Scene:
    """float32 means (N,3), quats (N,4), scales (N,3), opacities (N,), sh (N,K,3), and V cameras on a ring."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    cameras: Cameras

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The five gaussian arrays in the order of `render`."""
        return self.means, self.quats, self.scales, self.opacities, self.sh

    def tensors(self) -> list[Tensor]:
        """The five gaussian arrays as trainable tensors."""
        return [torch.from_numpy(array.copy()).requires_grad_() for array in self.arrays]


def random_scene(gaussians: int, size: int, views: int, seed: int = 0, bases: int = 1) -> Scene:
    """Centres uniform in the unit ball, footprints of some 33 pixels (median) at any size, all opacities."""
    draw = np.random.default_rng(seed)
    direction = draw.standard_normal((gaussians, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    means = direction * draw.random((gaussians, 1)) ** (1 / 3)
    pixel = RADIUS * 2 * np.tan(np.radians(FOVY_DEG / 2)) / size
    scales = MEDIAN_PIXELS * pixel * np.exp(LOG_SPREAD * draw.standard_normal((gaussians, 3)))
    opacities = np.clip(1 / (1 + np.exp(-1.5 * draw.standard_normal(gaussians))), 0.03, 0.99)
    quats = draw.standard_normal((gaussians, 4))
    sh = np.concatenate(
        [(draw.random((gaussians, 1, 3)) - 0.5) / SH_C0, 0.1 * draw.standard_normal((gaussians, bases - 1, 3))], axis=1
    )
    arrays = (array.astype(np.float32) for array in (means, quats, scales, opacities, sh))
    return Scene(*arrays, orbit(np.arange(views) * 360.0 / views, 10.0, RADIUS, FOVY_DEG, size, size))


def _steps(scene: Scene) -> dict[str, Callable[[], Tensor]]:
    """One callable per contender; each runs a whole step and returns the image."""
    cameras, background = scene.cameras, torch.ones(3)
    generator = torch.Generator().manual_seed(0)
    shape = (len(cameras), cameras.height, cameras.width)
    weights = torch.randn(*shape, 3, generator=generator)
    alpha_weights = torch.randn(*shape, generator=generator)
    matrices, intrinsics = (torch.from_numpy(a).float() for a in (cameras.world_to_camera, cameras.intrinsics))

    def step(draw: Callable[[list[Tensor]], tuple[Tensor, Tensor]]) -> Tensor:
        inputs = scene.tensors()
        image, alpha = draw(inputs)
        torch.autograd.backward([image, alpha], [weights, alpha_weights])
        return image.detach()

    def ours(threads: int, with_depth: bool):
        def draw(inputs):
            rendered = render(*inputs, cameras, background, backend="numba", with_depth=with_depth, threads=threads)
            return rendered.image, rendered.alpha

        return lambda: step(draw)

    def reference(inputs):
        *geometry, sh = inputs
        colors = (SH_C0 * sh[:, 0] + 0.5).clamp_min(0)
        size = (cameras.width, cameras.height)
        return render_gsplat_reference(*geometry, colors, matrices, intrinsics, *size, background)

    steps = {"ours, 1 thread": ours(1, False), "ours, 1 thread, with depth": ours(1, True)}
    if (os.cpu_count() or 1) > 1:
        steps["ours, 2 threads"] = ours(2, False)
    if importlib.util.find_spec("gsplat") is not None:
        steps["gsplat torch reference"] = lambda: step(reference)
        if torch.cuda.is_available():
            steps["gsplat on CUDA"] = _cuda_step(scene, background, weights, alpha_weights)
    return steps


def _cuda_step(scene: Scene, background: Tensor, weights: Tensor, alpha_weights: Tensor) -> Callable[[], Tensor]:
    """A step by gsplat's kernels; kernels start late, so it waits for them."""
    resident = [tensor.detach().cuda() for tensor in scene.tensors()]
    background, weights, alpha_weights = background.cuda(), weights.cuda(), alpha_weights.cuda()

    def step() -> Tensor:
        inputs = [tensor.clone().requires_grad_() for tensor in resident]
        rendered = render(*inputs, scene.cameras, background, backend="gsplat", with_depth=False)
        torch.autograd.backward([rendered.image, rendered.alpha], [weights, alpha_weights])
        torch.cuda.synchronize()
        return rendered.image.detach()

    return step


def _best(step: Callable[[], Tensor], repeats: int) -> float:
    """Shortest of `repeats` runs, seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return min(times)


def machine() -> str:
    """CPU, cores and versions in one line."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    names = ("numba", "numpy", "torch", "gsplat")
    versions = " ".join(f"{name} {version(name)}" for name in names if importlib.util.find_spec(name))
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores{gpu}, Python {platform.python_version()}, {versions}"


def _summary(values: list[float], digits: int) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def measure(scene: Scene, rounds: int, repeats: int) -> dict[str, list[float]]:
    """Milliseconds per image of every contender in every round; all are run once before, to compile."""
    steps = _steps(scene)
    images = {name: step().cpu() for name, step in steps.items()}
    ours = images["ours, 1 thread"]
    for name, image in images.items():
        print(f"# {name}: largest difference to ours, 1 thread: {float((image - ours).abs().max()):.1e}")
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(1e3 * _best(step, repeats) / len(scene.cameras))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="image width and height, pixels")
    parser.add_argument("--gaussians", type=int, default=5000)
    parser.add_argument("--views", type=int, default=7, help="images in one call")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print a table row for each contender")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    times = measure(random_scene(options.gaussians, options.size, options.views), options.rounds, options.repeats)
    print(f"# {machine()}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    if "gsplat torch reference" not in times:
        print(f"# gsplat is not installed, so there is no peer to compare with; type `{INSTALL}`")
    base = times["ours, 1 thread"]
    size = f"{options.size}^2, {options.gaussians} gaussians, {options.views} views"
    for name, values in times.items():
        ratio = _summary([value / own for value, own in zip(values, base, strict=True)], 2)
        cells = (size, name, _summary(values, 2), ratio)
        if options.markdown:
            print("| " + " | ".join(cells) + " |")
        else:
            print(f"{cells[1]:28s} {cells[2]:>24s} ms per image, {cells[3]} times ours on 1 thread")


if __name__ == "__main__":
    main()
