"""Encoders of a window of tokens, behind one interface: Mamba, GRU and attention, of about the same size.

Vocabulary and conventions
--------------------------
- *window* (N,S,D): S tokens of each of N gaussians, oldest first; the last is the current frame's. S is anything from
  1 to `length`; a short window is short, never padded.
- present (N,S) bool or None = all: what an absent token holds is never read and gets no gradient; absent tokens at the
  start give the result of the shorter window. The current token is always present.
- *age*: how many frames before the current token's a token's frame is; absent frames count.
- A block adds its result to its input (pre-norm). All blocks but the last give every token's output.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stages.lib.temporal.block import fits, mamba_block
from stages.lib.temporal.mamba import Mixer, drawn_linear, undrawn, zero_absent
from stages.settings import TemporalSettings

# Hidden sizes, in widths, at which GRU and attention have Mamba's number of parameters (width 32: 9,920 and its norm).
GRU_HIDDEN = 1.25
ATTENTION_HIDDEN = 2.75
HEADS = 4


class Encoder(nn.Module):
    """Blocks of one kind. `forward(window (N,S,D), present (N,S) or None)` gives the current token's feature (N,D)."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, window: Tensor, present: Tensor | None = None) -> Tensor:
        *inner, last = self.blocks
        for block in inner:
            window = block(window, present)
        return last.last(window, present)


class MambaBlock(nn.Module):
    """Norm and Mamba mixer."""

    def __init__(self, settings: TemporalSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width)
        self.mixer = Mixer(settings.width, generator)

    def forward(self, window: Tensor, present: Tensor | None) -> Tensor:
        window = zero_absent(window, present)
        return window + self.mixer(self.norm(window), present)

    def last(self, window: Tensor, present: Tensor | None) -> Tensor:
        if fits(window):
            return mamba_block(window, present, self.norm, self.mixer)
        return self.last_twin(window, present)

    def last_twin(self, window: Tensor, present: Tensor | None) -> Tensor:
        """The same in separate operations, on any device and precision."""
        window = zero_absent(window, present)
        return window[:, -1] + self.mixer.last(self.norm(window), present)


class GruBlock(nn.Module):
    """Norm, gated recurrent unit with nn.GRU's equations, and a projection back to D."""

    def __init__(self, settings: TemporalSettings, generator: torch.Generator) -> None:
        super().__init__()
        hidden = round(GRU_HIDDEN * settings.width)
        self.norm = nn.LayerNorm(settings.width)
        self.cell = undrawn(nn.GRUCell, settings.width, hidden)
        for parameter in self.cell.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=generator)
        self.out_proj = drawn_linear(hidden, settings.width, generator)

    def forward(self, window: Tensor, present: Tensor | None) -> Tensor:
        window = zero_absent(window, present)
        return window + self.out_proj(torch.stack(self._states(window, present), dim=1))

    def last(self, window: Tensor, present: Tensor | None) -> Tensor:
        window = zero_absent(window, present)
        return window[:, -1] + self.out_proj(self._states(window, present)[-1])

    def _states(self, window: Tensor, present: Tensor | None) -> list[Tensor]:
        """The state (N,H) after each token; an absent token leaves it as it is."""
        tokens = self.norm(window)
        state = tokens.new_zeros(len(tokens), self.cell.hidden_size)
        states = []
        for t in range(tokens.shape[1]):
            after = self.cell(tokens[:, t], state)
            state = after if present is None else torch.where(present[:, t, None], after, state)
            states.append(state)
        return states


class AttentionBlock(nn.Module):
    """Norm and causal multi-head attention with a learned bias by age, then norm and multilayer perceptron."""

    def __init__(self, settings: TemporalSettings, generator: torch.Generator) -> None:
        super().__init__()
        width = settings.width
        # The most heads, up to four, that divide the width.
        self.heads = max(count for count in range(1, HEADS + 1) if width % count == 0)
        self.norm = nn.LayerNorm(width)
        self.queries = drawn_linear(width, width, generator)
        self.keys_values = drawn_linear(width, 2 * width, generator)
        self.out_proj = drawn_linear(width, width, generator)
        # Starts as ALiBi (Press et al. 2022): each head forgets with age at its own rate.
        rates = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1) / self.heads)
        self.age_bias = nn.Parameter(-rates[:, None] * torch.arange(settings.length))
        self.perceptron_norm = nn.LayerNorm(width)
        hidden = round(ATTENTION_HIDDEN * width)
        self.perceptron = nn.Sequential(
            drawn_linear(width, hidden, generator), nn.GELU(), drawn_linear(hidden, width, generator)
        )

    def forward(self, window: Tensor, present: Tensor | None) -> Tensor:
        return self._outputs(window, present, window.shape[1])

    def last(self, window: Tensor, present: Tensor | None) -> Tensor:
        return self._outputs(window, present, 1)[:, 0]

    def _outputs(self, window: Tensor, present: Tensor | None, count: int) -> Tensor:
        """Outputs (N,Q,D) of the last Q = `count` tokens."""
        window = zero_absent(window, present)
        tokens = self.norm(window)
        size = window.shape[1]
        queries = self._split(self.queries(tokens[:, size - count :]))
        keys, values = (self._split(part) for part in self.keys_values(tokens).chunk(2, dim=-1))
        positions = torch.arange(size, device=window.device)
        ages = positions[size - count :, None] - positions
        logits = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
        logits = logits + self.age_bias[:, ages.clamp_min(0)]
        hidden = ages < 0
        if present is not None:
            # A token sees itself even if absent: a softmax over nothing is NaN, and its gradient too.
            hidden = hidden | (~present[:, None, None, :] & (ages != 0))
        mixed = torch.softmax(logits.masked_fill(hidden, -math.inf), dim=-1) @ values
        found = window[:, size - count :] + self.out_proj(mixed.transpose(1, 2).flatten(2))
        return found + self.perceptron(self.perceptron_norm(found))

    def _split(self, channels: Tensor) -> Tensor:
        """(N,S,D) to (N, heads, S, D / heads)."""
        return channels.unflatten(-1, (self.heads, -1)).transpose(1, 2)


BLOCKS = {"mamba": MambaBlock, "gru": GruBlock, "attention": AttentionBlock}


def build(settings: TemporalSettings, generator: torch.Generator) -> Encoder:
    """The encoder that the settings name, drawn from `generator`. Raises ValueError for "off"."""
    if settings.encoder not in BLOCKS:
        raise ValueError(f"encoder is {settings.encoder!r}; expected one of {', '.join(BLOCKS)}")
    return Encoder([BLOCKS[settings.encoder](settings, generator) for _ in range(settings.layers)])
