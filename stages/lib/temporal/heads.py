"""Head whose weights are made per token from its feature: the dynamic weighting of ADAPT (Aydemir et al. 2023).

Vocabulary and conventions
--------------------------
- N tokens, D channels of a feature, P numbers of the attribute (scale 3, quaternion 4).
- The feature, through a residual perceptron, gives the weights of a small network for that token alone:
  W1 (P,D), b1 (P,), W2 (P,P), b2 (P,). Its input f (D,) is made of the feature, the current attribute, the change
  since the past one and a flag that tells whether there is a past one; it gives W2 relu(norm(W1 f + b1)) + b2.
- W2 and b2 start at zero for every feature, so the residual does; the layers that make them learn from the first step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.lib.temporal.mamba import drawn_linear


class DynamicWeights(nn.Module):
    """Residual (N,P) of an attribute from feature (N,D), current and past attribute (N,P) and has_past (N,) bool."""

    def __init__(self, width: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.project = drawn_linear(width + 2 * size + 1, width, generator)
        self.hidden = drawn_linear(width, width, generator)
        self.residual = drawn_linear(width, width, generator)
        # All generated weights as one matrix: [W1, b1, W2, b2].
        self.weights = drawn_linear(width, size * (width + 1 + size + 1), generator)
        with torch.no_grad():
            self.weights.weight[size * (width + 1) :] = 0
            self.weights.bias[size * (width + 1) :] = 0
        self.norm = nn.LayerNorm(size)

    def forward(self, feature: Tensor, current: Tensor, past: Tensor, has_past: Tensor) -> Tensor:
        known = has_past[:, None]
        change = torch.where(known, current - past, 0.0)
        entering = self.project(torch.cat([feature, current, change, known.to(feature.dtype)], dim=1))
        source = feature + self.residual(torch.relu(self.hidden(feature)))
        size, width = self.size, feature.shape[1]
        first, first_bias, second, second_bias = self.weights(source).split(
            [size * width, size, size * size, size], dim=1
        )
        inner = (first.unflatten(1, (size, width)) * entering[:, None]).sum(-1) + first_bias
        inner = torch.relu(self.norm(inner))
        return (second.unflatten(1, (size, size)) * inner[:, None]).sum(-1) + second_bias
