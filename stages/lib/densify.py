"""Adaptive growth and pruning of gaussians, on (params, optimiser, statistics) that the caller owns.

Growth (3DGS, with STAG4D's adaptive threshold): gaussians whose mean 2D-mean gradient is among the top
`fraction` are densified; small ones are cloned, large ones split in two. Gradients are taken in NDC units
(pixels times half the image side), so that thresholds do not depend on the image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.cli import StageError
from stages.lib.gaussians import replace_rows
from stages.settings import DensifySettings

# A split child's scale is the parent's over this (3DGS).
SPLIT_SHRINK = 1.6
SPLIT_CHILDREN = 2
# `fixed_threshold` (2e-4) was meant for a loss whose colour term weighs 20000 (STAG4D) on gradients of ours at 1.
STAG4D_RGB_WEIGHT = 20000.0


@dataclass
class Statistics:
    """Sums since the last round: gradient norms (N,), how often each gaussian was visible (N,), largest radius (N,)."""

    gradient: Tensor
    visible: Tensor
    radius: Tensor

    @classmethod
    def zeros(cls, count: int, device: torch.device) -> Statistics:
        return cls(*(torch.zeros(count, device=device) for _ in range(3)))

    def add(self, means2d_gradient: Tensor, visible: Tensor, radii: Tensor, side: int) -> None:
        """Add one step: gradient (V,N,2) of the loss by projected means, visible (V,N), radii (V,N); in pixels."""
        norms = means2d_gradient.norm(dim=-1) * (0.5 * side)
        self.gradient += (norms * visible).sum(0)
        self.visible += visible.sum(0)
        self.radius = torch.maximum(self.radius, (radii * visible).amax(0) / side)


@dataclass(frozen=True)
class Round:
    """What one round did."""

    cloned: int
    split: int
    pruned: int
    total: int


def due(settings: DensifySettings, step: int, steps: int) -> bool:
    """Whether a round is due after `step` (counted from 1) of `steps`."""
    inside = settings.start * steps <= step <= settings.stop * steps
    return settings.mode != "off" and inside and step % settings.interval == 0


def chosen(statistics: Statistics, settings: DensifySettings) -> Tensor:
    """Which gaussians are densified, (N,) bool, before the cap."""
    mean = statistics.gradient / statistics.visible.clamp(min=1)
    if settings.mode == "fixed_threshold":
        return mean * STAG4D_RGB_WEIGHT > settings.threshold
    seen = mean[statistics.visible > 0]
    if seen.numel() == 0:
        return torch.zeros_like(mean, dtype=torch.bool)
    return (mean > torch.quantile(seen, 1 - settings.fraction)) & (mean > 0)


def densify(
    params: dict[str, Tensor],
    adam: torch.optim.Adam,
    statistics: Statistics,
    settings: DensifySettings,
    generator: torch.Generator,
) -> Round:
    """Prune, then clone and split under the cap; the caller starts new statistics afterwards.

    Pruning comes first so that its room is used in the same round, and so that the screen test still sees the
    radii (in STAG4D they are zeroed just before).
    """
    grow = chosen(statistics, settings)
    largest = params["log_scales"].detach().exp().amax(dim=1)
    pruned = _pruned(params, largest, statistics, settings)
    if bool(pruned.all()):
        raise StageError(
            "every gaussian would be pruned; lower densify.prune_opacity or prune_min_scale, "
            "or look at the mattes in frames.npz."
        )
    grow &= ~pruned
    room = max(0, settings.max_gaussians - int((~pruned).sum()))
    grow = _under_cap(grow, statistics, room)
    clone = grow & (largest <= settings.clone_max_scale)
    split = grow & ~clone
    keep = torch.nonzero(~pruned & ~split)[:, 0]
    clones, parents = torch.nonzero(clone)[:, 0], torch.nonzero(split)[:, 0].repeat(SPLIT_CHILDREN)
    offsets = _split_offsets(params, parents, generator)

    def surgery(name: str, value: Tensor) -> Tensor:
        children = value[parents]
        if name == "means":
            children = children + offsets
        elif name == "log_scales":
            children = children - torch.log(torch.tensor(SPLIT_SHRINK))
        return torch.cat([value[keep], value[clones], children])

    replace_rows(params, adam, surgery, keep)
    return Round(len(clones), len(parents) // SPLIT_CHILDREN, int(pruned.sum()), len(params["means"]))


def _pruned(params: dict[str, Tensor], largest: Tensor, statistics: Statistics, settings: DensifySettings) -> Tensor:
    opacity = params["opacity_logits"].detach().sigmoid()
    outside = (largest > settings.prune_max_scale) | (largest < settings.prune_min_scale)
    return (opacity < settings.prune_opacity) | outside | (statistics.radius > settings.prune_screen_fraction)


def _under_cap(grow: Tensor, statistics: Statistics, room: int) -> Tensor:
    """The `room` gaussians of `grow` with the largest gradients; every growth adds one gaussian."""
    if int(grow.sum()) <= room:
        return grow
    score = torch.where(grow, statistics.gradient / statistics.visible.clamp(min=1), -1.0)
    best = torch.argsort(score, descending=True, stable=True)[:room]
    limited = torch.zeros_like(grow)
    limited[best] = True
    return limited & grow


def _split_offsets(params: dict[str, Tensor], parents: Tensor, generator: torch.Generator) -> Tensor:
    """World offsets (M, 3) drawn from each parent's own normal distribution."""
    scales = params["log_scales"].detach()[parents].exp()
    noise = torch.randn(len(parents), 3, generator=generator).to(scales.device) * scales
    w, x, y, z = torch.nn.functional.normalize(params["quats"].detach()[parents], dim=1).unbind(1)
    vector = torch.stack([x, y, z], dim=1)
    turned = 2 * torch.linalg.cross(vector, noise)
    return noise + w[:, None] * turned + torch.linalg.cross(vector, turned)
