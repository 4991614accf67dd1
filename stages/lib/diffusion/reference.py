"""Self-attention that also looks at a reference image, and at the first frame of a clip.

Vocabulary: a *branch* is one side of classifier-free guidance (S branches: 2, or 1 without guidance); the *tokens*
of a self-attention are its inputs after the block's normalisation, (S * B, L, C) for B frames, branch slowest.
*Reference tokens* come from a pass over the noised condition image (Zhang 2023, reference-only control; Shi et al.
2023, Zero123++ section 3.1), *anchor tokens* from the clip's first frame in the same denoising step.

STAG4D (Zeng et al. 2024, section 3.2) mixes the anchor's tokens into every later frame's before keys and values are
made from them. Its code caches them for all steps; here all frames go through one step together, so that one step's
tokens are kept: 54 MB a branch for the full-size network in half precision. Only the six views' own tokens are mixed,
at every layer; reference tokens stay the frame's own.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, cat


@dataclass
class Tokens:
    """What the self-attentions of one UNet exchange within one denoising step.

    fusion: weight of the anchor's tokens, 0 = off. branches: S.
    """

    fusion: float
    branches: int
    mode: str = "plain"
    reference: dict[str, Tensor] = field(default_factory=dict)
    anchor: dict[str, Tensor] = field(default_factory=dict)

    @contextmanager
    def writing(self):
        """A pass over the noised condition image: its tokens become the reference."""
        self.reference.clear()
        self.mode = "write"
        yield
        self.mode = "plain"

    @contextmanager
    def reading(self):
        """A pass over the six views, which attends to the reference and to the anchor."""
        self.mode = "read"
        yield
        self.mode = "plain"
        self.reference.clear()

    def source(self, name: str, tokens: Tensor) -> Tensor | None:
        """What keys and values of layer `name` are made from; None = the tokens themselves. tokens: (S*B, L, C)."""
        if self.mode == "plain":
            return None
        if self.mode == "write":
            self.reference[name] = tokens
            return None
        return cat([self._fused(name, tokens), self.reference.pop(name)], dim=1)

    def _fused(self, name: str, tokens: Tensor) -> Tensor:
        if self.fusion == 0:
            return tokens
        frames = tokens.unflatten(0, (self.branches, -1))
        if name in self.anchor:
            return frames.lerp(self.anchor[name], self.fusion).flatten(0, 1)
        # The first batch of a step: its first frame is the anchor and keeps its own tokens.
        # A copy, since a view would keep the tokens of the whole batch.
        self.anchor[name] = frames[:, :1].clone()
        later = frames[:, 1:].lerp(self.anchor[name], self.fusion)
        return cat([self.anchor[name], later], dim=1).flatten(0, 1)


class _Processor(AttnProcessor2_0):
    """diffusers' attention with keys and values from what `Tokens` says."""

    def __init__(self, name: str, tokens: Tokens) -> None:
        super().__init__()
        self.name, self.tokens = name, tokens

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states=None, *args, **kwargs) -> Tensor:
        return super().__call__(attn, hidden_states, self.tokens.source(self.name, hidden_states), *args, **kwargs)


def attach(unet: UNet2DConditionModel, tokens: Tokens) -> None:
    """Make every self-attention (attn1) of `unet` exchange `tokens`; cross-attentions stay as they are."""
    unet.set_attn_processor(
        {
            name: _Processor(name, tokens) if name.endswith("attn1.processor") else AttnProcessor2_0()
            for name in unet.attn_processors
        }
    )
