"""The standard Mamba mixer (v1; Gu & Dao 2023), with mamba_ssm's parameter names, shapes and initialisation.

Vocabulary and conventions
--------------------------
- N sequences of S tokens, oldest first, D channels; E = 2 D inner channels, 16 states, R = ceil(D / 16) numbers from
  which the E step sizes are made. Layers: `in_proj` to [x, z]; `conv1d` over a token and the three before it, per
  channel; `x_proj` to [step, input weights, output weights]; scan (`stages.lib.temporal.scan`); `out_proj`.
- present (N,S): an absent token enters the convolution as the zeros that stand before a sequence and leaves the
  scan's state as it is. So absent tokens at the start give the result of the shorter sequence. What a token that is
  absent holds is never read.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.lib.temporal.scan import STATES, selective_scan

EXPAND = 2
TAPS = 4
# Step sizes at the start are spread evenly in their logarithm (mamba_ssm: dt_min, dt_max, dt_init_floor).
STEP_RANGE = (1e-3, 1e-1)
SMALLEST_STEP = 1e-4


class Mixer(nn.Module):
    """Mamba's mixer of one width. `forward` gives all tokens' outputs (N,S,D), `last` the last token's (N,D)."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        inner, self.rank = EXPAND * width, math.ceil(width / 16)
        self.in_proj = drawn_linear(width, 2 * inner, generator, bias=False)
        self.conv1d = undrawn(nn.Conv1d, inner, inner, TAPS, groups=inner, padding=TAPS - 1)
        for parameter in (self.conv1d.weight, self.conv1d.bias):
            nn.init.uniform_(parameter, -(TAPS**-0.5), TAPS**-0.5, generator=generator)
        self.x_proj = drawn_linear(inner, self.rank + 2 * STATES, generator, bias=False)
        self.dt_proj = undrawn(nn.Linear, self.rank, inner)
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5, generator=generator)
        low, high = (math.log(step) for step in STEP_RANGE)
        steps = torch.exp(torch.rand(inner, generator=generator) * (high - low) + low).clamp_min(SMALLEST_STEP)
        with torch.no_grad():
            # The inverse of softplus.
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))
        self.A_log = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = drawn_linear(inner, width, generator, bias=False)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Outputs (N,S,D) of tokens (N,S,D); those of absent tokens mean nothing."""
        x, scan_input = self._before_scan(tokens, present)
        output_weights = functional.linear(x, self.x_proj.weight[self.rank + STATES :])
        y = selective_scan(*scan_input, output_weights, self.D)
        gate = functional.linear(zero_absent(tokens, present), self.in_proj.weight[len(self.D) :])
        return self.out_proj(y * functional.silu(gate))

    def last(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Output (N,D) of the last token, which is always present."""
        x, scan_input = self._before_scan(tokens, present)
        output_weights = functional.linear(x[:, -1], self.x_proj.weight[self.rank + STATES :])
        y = selective_scan(*scan_input, output_weights, self.D)
        gate = functional.linear(tokens[:, -1], self.in_proj.weight[len(self.D) :])
        return self.out_proj(y * functional.silu(gate))

    def _before_scan(self, tokens: Tensor, present: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x (N,S,E) after the convolution, and the scan's input: x, delta, decay and input weights."""
        inner = len(self.D)
        x = functional.linear(zero_absent(tokens, present), self.in_proj.weight[:inner])
        x = functional.silu(self.conv1d(x.transpose(1, 2))[..., : tokens.shape[1]].transpose(1, 2))
        step, input_weights = functional.linear(x, self.x_proj.weight[: self.rank + STATES]).split(
            [self.rank, STATES], dim=-1
        )
        delta = functional.softplus(self.dt_proj(step))
        if present is not None:
            delta = delta * present[..., None]
        return x, (x, delta, -torch.exp(self.A_log), input_weights)


def zero_absent(tokens: Tensor, present: Tensor | None) -> Tensor:
    """Tokens with zeros where absent; a product would let NaN through."""
    return tokens if present is None else torch.where(present[..., None], tokens, 0.0)


def undrawn(kind: type[nn.Module], *sizes: int, **options: int | bool) -> nn.Module:
    """A layer whose numbers are still to be filled in, so that torch's global generator is not drawn from.

    As nn.utils.skip_init, which imports sympy for it, most of a second.
    """
    layer = kind(*sizes, **options, device="meta")
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    return layer


def drawn_linear(inputs: int, outputs: int, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    """A linear layer with torch's usual initialisation, drawn from `generator`."""
    layer = undrawn(nn.Linear, inputs, outputs, bias=bias)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer
