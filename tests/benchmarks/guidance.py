"""What a view of score distillation costs at full size, by encoder, without any weights.

    python -m tests.benchmarks.guidance                # operations alone, on torch's meta device: seconds
    python -m tests.benchmarks.guidance --time         # and the encoders' processor time with random weights: minutes

A view is a picture of 512 pixels that is encoded with its gradient, and the denoiser's branches: input view, anchor,
and the unconditional one that they share; `2 calls` is what two separate losses would need. Operations are torch's
FlopCounter's, a multiplication and an addition being two. Torch runs on one thread; processor time does not count what
else the machine does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import test_zero123 as full

from stages.lib.diffusion import distillation, zero123
from stages.lib.diffusion.distillation import Encoder, LinearEncoder

RENDERED = 512
ENCODERS = ("vae 256", "vae 128", "vae 64", "linear")


def network() -> zero123.Zero123:
    """The full-size parts that a step runs, with random weights on the current device."""
    vae, unet = (part.eval().requires_grad_(False) for part in (full.full_size_vae(), full.full_size_unet()))
    projection = zero123.CameraProjection().requires_grad_(False)
    return zero123.Zero123(vae, unet, None, projection, torch.empty(1000), None, "distance", 256)


def encoder(name: str, model: zero123.Zero123) -> Encoder:
    if name == "linear":
        return LinearEncoder(256, torch.randn(4, 3, 8, 8), torch.zeros(4))
    return distillation.through_autoencoder(model, int(name.split()[1]))


def gradient(encode: Encoder) -> Tensor:
    """The gradient of one picture's latents by its pixels."""
    pictures = torch.zeros(1, 3, RENDERED, RENDERED, requires_grad=True)
    latents = encode(pictures)
    return torch.autograd.grad(latents, pictures, torch.ones_like(latents))[0]


def operations(run: Callable[[], object]) -> float:
    """Floating point operations, in units of 1e12."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def denoise(model: zero123.Zero123, conditions: int) -> Tensor:
    beside = torch.empty(1, conditions, 4, 32, 32)
    told = torch.empty(1, conditions, 768), beside, torch.empty(1, conditions, 4)
    return zero123.predict(model, torch.empty(1, 4, 32, 32), torch.empty(1), *told, 5.0)


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--time", action="store_true", help="measure the encoders on this machine as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        model = network()
        three, one = operations(lambda: denoise(model, 2)), operations(lambda: denoise(model, 1))
        costs = {name: operations(lambda name=name: gradient(encoder(name, model))) for name in ENCODERS}
    print(f"denoiser: {three:.3f} TFLOP a view in one call of 3 branches, {2 * one:.3f} in 2 calls of 2 branches\n")
    seconds = dict.fromkeys(ENCODERS, "")
    if arguments.time:
        parts = (None, None, torch.empty(1000), None, "distance", 256)
        vae = full.full_size_vae().eval().requires_grad_(False)
        timed = zero123.Zero123(vae, vae, *parts)
        for name in ENCODERS:
            started = time.process_time()
            gradient(encoder(name, timed))
            seconds[name] = f"{time.process_time() - started:.1f} s"
    print("| encoder | its TFLOP a view, with gradient | share of the view | whole view against vae 256 | measured |")
    print("| --- | --- | --- | --- | --- |")
    whole = costs["vae 256"] + three
    for name, cost in costs.items():
        shares = f"{cost / (cost + three):.0%} | {(cost + three) / whole:.2f}"
        print(f"| {name} | {cost:.4f} | {shares} | {seconds[name]} |")


if __name__ == "__main__":
    main()
