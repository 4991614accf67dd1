"""How fast the temporal encoders and heads are on the CPU, beside torch's nn.GRU in the same interleaved run.

    python -m tests.benchmarks.temporal                # 5,000 and 256 gaussians, windows of 10 tokens, width 32
    python -m tests.benchmarks.temporal --sequences 256 --tokens 1 4 10 --markdown

A step is forward and backward of the last token's feature, with gradients of the window and of all parameters; or
forward alone, without gradients. A round takes the best of `--repeats` steps of each contender in turn; reported are
medians and ranges over `--rounds` rounds, ratios to nn.GRU (hidden width = token width) taken inside each round. The
heads have `--rows` rows and no peer. Torch runs on one thread.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn

from stages.lib.temporal.encoders import BLOCKS, build
from stages.lib.temporal.heads import DynamicWeights, Source
from stages.lib.temporal.scan import scan_twin
from stages.settings import TemporalSettings
from tests.benchmarks.raster import _best, _summary, machine

PEER = "nn.GRU"
ATTRIBUTES = (3, 4)
# Control gaussians of the embedded default.
OWNERS = 256


def encoders(width: int, tokens: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """From a window (N,S,D) to the current token's feature (N,D), by contender."""
    generator = torch.Generator().manual_seed(0)
    gru = nn.GRU(width, width, batch_first=True)
    ours = {kind: build(TemporalSettings(encoder=kind, width=width, length=tokens), generator) for kind in BLOCKS}
    block = ours["mamba"].blocks[0]

    def twin(window: Tensor) -> Tensor:
        with mock.patch("stages.lib.temporal.mamba.selective_scan", scan_twin):
            return block.last_twin(window, None)

    return {
        PEER: lambda window: gru(window)[1][0],
        **ours,
        "mamba, scan alone compiled": lambda window: block.last_twin(window, None),
        "mamba, torch twin": twin,
    }


def head_step(width: int, tokens: int) -> Callable[[], None]:
    """Forward and backward of both heads and the sources of their weights; tokens blend 4 of 256 owners."""
    generator = torch.Generator().manual_seed(0)
    source, heads = Source(width, generator), [DynamicWeights(width, size, generator) for size in ATTRIBUTES]
    feature = torch.randn(1, OWNERS, width, generator=generator, requires_grad=True)
    known = torch.ones(1, OWNERS, dtype=torch.bool)
    changes = [torch.randn(1, OWNERS, size, generator=generator, requires_grad=True) for size in ATTRIBUTES]
    currents = [torch.randn(1, tokens, size, generator=generator, requires_grad=True) for size in ATTRIBUTES]
    nearest = torch.randint(OWNERS, (tokens, 4), generator=generator)
    weights = torch.full((tokens, 4), 0.25)

    def step() -> None:
        made = source(feature)
        both = zip(heads, changes, currents, strict=True)
        sum(h(h.rows(made, feature, change, known), now, nearest, weights).sum() for h, change, now in both).backward()

    return step


def _both_ways(encode: Callable[[Tensor], Tensor], window: Tensor, weight: Tensor) -> None:
    encode(window).backward(weight)


@torch.no_grad()
def _forward_alone(encode: Callable[[Tensor], Tensor], window: Tensor, weight: Tensor) -> None:
    encode(window)


def measure(sequences: int, tokens: int, width: int, rounds: int, repeats: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of every contender in every round, by (step, contender); all are run once before, to compile."""
    generator = torch.Generator().manual_seed(1)
    window = torch.randn(sequences, tokens, width, generator=generator, requires_grad=True)
    weight = torch.randn(sequences, width, generator=generator)
    steps = {
        (way, name): partial(step, encode, window, weight)
        for name, encode in encoders(width, tokens).items()
        for way, step in (("forward and backward", _both_ways), ("forward, no gradients", _forward_alone))
    }
    return _rounds(steps, rounds, repeats)


def _rounds(steps: dict, rounds: int, repeats: int) -> dict:
    """Milliseconds of every step in every round."""
    for step in steps.values():
        step()
    times = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            begin = time.perf_counter()
            step()
            # A step of seconds does not need a best of many.
            count = repeats if time.perf_counter() - begin < 1 else 1
            times[key].append(1e3 * _best(step, count))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, nargs="+", default=[5000, 256])
    parser.add_argument("--tokens", type=int, nargs="+", default=[10])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rows", type=int, default=15000, help="gaussians of the heads")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print a table row for each contender")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    rows = []
    for sequences in options.sequences:
        for tokens in options.tokens:
            times = measure(sequences, tokens, options.width, options.rounds, options.repeats)
            for (way, name), values in times.items():
                peer = times[way, PEER]
                ratio = _summary([value / base for value, base in zip(values, peer, strict=True)], 2)
                rows.append((f"{sequences} x {tokens}, {way}", name, _summary(values, 2), ratio))
    heads = _rounds({"heads": head_step(options.width, options.rows)}, options.rounds, options.repeats)["heads"]
    rows.append((f"{options.rows} of {OWNERS}, forward and backward", "heads", _summary(heads, 2), "-"))
    print(f"# {machine()}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    for row in rows:
        if options.markdown:
            print("| " + " | ".join(row) + " |")
        else:
            print(f"{row[0]:36s} {row[1]:28s} {row[2]:>24s} ms, {row[3]} times {PEER}")


if __name__ == "__main__":
    main()
