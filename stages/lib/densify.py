"""Adaptive growth and pruning of gaussians, on (params, optimiser, presence, statistics) that the caller owns.

Vocabulary and conventions
--------------------------
- *presence* (F, N): which gaussian exists in which frame. A gaussian present nowhere is deleted.
- *rows* (R) of the statistics: one for the whole clip (STAG4D), or one a frame (4DSTR's spatial rectification).
- Growth (3DGS, with STAG4D's adaptive threshold; 4DSTR eq. 6 a frame): gaussians whose mean 2D-mean gradient is
  among a row's top `fraction` are densified; small ones are cloned, large ones split in two. The new ones exist in
  the rows' frames and their neighbours, where the old one existed; a split takes the old one out of those frames
  only. So frames outside are rendered exactly as before.
- Pruning (4DSTR eq. 7): by opacity, world scale and screen size of that row's frames. What is too large and due to
  be densified is split instead (in STAG4D, which densifies first, too).
- The cap is on gaussian-frames, `max_gaussians` times F. A round may use its share of what is left of it, so that
  the last rounds, which know the motion best, still have some; the largest gradients come first.
- Gradients are taken in NDC units (pixels times half the image side), so that thresholds do not depend on its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.cli import StageError
from stages.lib.gaussians import replace_rows
from stages.lib.optimisers import Adam
from stages.settings import DensifySettings

# A split child's scale is the parent's over this (3DGS).
SPLIT_SHRINK = 1.6
SPLIT_CHILDREN = 2
# `fixed_threshold` (2e-4) was meant for a loss whose colour term weighs 20000 (STAG4D) on gradients of ours at 1.
STAG4D_RGB_WEIGHT = 20000.0
# Bins of the saved histograms of log10 gradients: four a decade over what float32 fits ever show.
HISTOGRAM_EDGES = np.arange(-9.0, 1.01, 0.25)
# Lilliefors' 5 % bound on the Kolmogorov-Smirnov distance, times the root of the sample's size.
LILLIEFORS = 0.886


@dataclass
class Statistics:
    """Sums since the last round, each (R, N): gradient norms, how often visible, largest screen radius."""

    gradient: Tensor
    visible: Tensor
    radius: Tensor

    @classmethod
    def zeros(cls, rows: int, count: int, device: torch.device) -> Statistics:
        return cls(*(torch.zeros(rows, count, device=device) for _ in range(3)))

    def add(
        self, row: int, drawn: Tensor | None, means2d_gradient: Tensor, visible: Tensor, radii: Tensor, side: int
    ) -> None:
        """Add V views of one frame: gradient (V,M,2) of the loss by projected means, visible (V,M), radii (V,M), in
        pixels, of the gaussians `drawn` (M,), None = all."""
        norms = means2d_gradient.norm(dim=-1) * (0.5 * side)
        place = slice(None) if drawn is None else drawn
        self.gradient[row, place] += (norms * visible).sum(0)
        self.visible[row, place] += visible.sum(0)
        self.radius[row, place] = torch.maximum(self.radius[row, place], (radii * visible).amax(0) / side)

    def mean(self) -> Tensor:
        """Mean gradient norm (R, N) over the views a gaussian was visible in; 0 where it never was."""
        return self.gradient / self.visible.clamp(min=1)


@dataclass(frozen=True)
class Round:
    """What one round did; `total` gaussians are left, and `frames` (F,) of them exist in each frame."""

    cloned: int
    split: int
    pruned: int
    total: int
    frames: tuple[int, ...]


def round_steps(settings: DensifySettings, steps: int) -> list[int]:
    """The steps (counted from 1) of a run of `steps` after which a round is due: evenly from start to stop."""
    if settings.mode == "off":
        return []
    places = np.linspace(settings.start, settings.stop, settings.rounds) * steps
    return sorted({min(max(math.ceil(place), 1), steps) for place in places.tolist()})


def chosen(statistics: Statistics, present: Tensor, settings: DensifySettings, wanted: int = 0) -> Tensor:
    """Which gaussians are densified in which row, (R, N) bool, before the cap; `wanted` of them in mode match."""
    mean = statistics.mean()
    if settings.mode == "fixed_threshold":
        return mean * STAG4D_RGB_WEIGHT > settings.threshold
    grow = torch.zeros_like(mean, dtype=torch.bool)
    for row, values in enumerate(mean):
        seen = values[statistics.visible[row] > 0]
        if settings.mode == "match":
            grow[row, torch.argsort(values, descending=True, stable=True)[:wanted]] = True
        elif seen.numel():
            grow[row] = values > torch.quantile(seen, 1 - settings.fraction)
    grow &= mean > 0
    return grow & _by_row(present, len(mean))


def densify(
    params: dict[str, Tensor],
    adam: Adam,
    present: Tensor,
    statistics: Statistics,
    settings: DensifySettings,
    generator: torch.Generator,
    shapes: tuple[Tensor, Tensor] | None = None,
    rounds: int = 1,
) -> tuple[Round, Tensor]:
    """Prune, then clone and split under the cap; returns what was done and the new presence.

    shapes: largest scales and opacity logits (R,N) in each row; None = the parameters' own. rounds: how many are
    left, this one included. The caller starts new statistics afterwards. Pruning comes first so that its
    room is used in the same round, and so that the screen test still sees the radii (in STAG4D they are zeroed just
    before). Raises StageError when a frame would be left without gaussians.
    """
    rows, (frames, _) = len(statistics.gradient), present.shape
    largest, opacity_logits = shapes or (
        largest_scales(params["log_scales"].detach()[None]),
        params["opacity_logits"].detach()[None],
    )
    too_large = largest > settings.prune_max_scale
    out = _pruned(largest, opacity_logits.sigmoid(), statistics, settings)
    room = _share(settings, present & ~(out | too_large), rounds)
    grow = chosen(statistics, present & ~out, settings, math.ceil(room / frames))
    pruned = (out | (too_large & ~grow)) & _by_row(present, rows)
    left = present & ~pruned
    empty = torch.nonzero(~left.any(1))[:, 0]
    if len(empty):
        where = "every gaussian" if rows == 1 else f"every gaussian of frame {int(empty[0])}"
        raise StageError(
            f"{where} would be pruned; lower densify.prune_opacity or prune_min_scale, "
            "or look at the mattes in frames.npz."
        )
    new = left & (grow if rows == 1 else _dilated(grow, settings.neighbourhood))
    new &= _under_cap(new.sum(0), torch.where(grow, statistics.mean(), 0.0).amax(0), _share(settings, left, rounds))
    grown = new.any(0)
    clone = grown & (torch.where(grow, largest, 0.0).amax(0) <= settings.clone_max_scale)
    split = grown & ~clone
    left = left & ~(new & split)
    keep = torch.nonzero(left.any(0))[:, 0]
    clones, parents = torch.nonzero(clone)[:, 0], torch.nonzero(split)[:, 0].repeat(SPLIT_CHILDREN)
    offsets = _split_offsets(params, parents, generator)

    def surgery(name: str, value: Tensor) -> Tensor:
        children = value[parents]
        if name == "means":
            children = children + offsets
        elif name == "log_scales":
            children = children - math.log(SPLIT_SHRINK)
        return torch.cat([value[keep], value[clones], children])

    replace_rows(params, adam, surgery, keep)
    present = torch.cat([left[:, keep], new[:, clones], new[:, parents]], dim=1)
    counts = tuple(present.sum(1).tolist())
    cells = int(pruned.sum()) if rows > 1 else int(pruned.any(0).sum())
    return Round(len(clones), len(parents) // SPLIT_CHILDREN, cells, len(params["means"]), counts), present


def largest_scales(log_scales: Tensor) -> Tensor:
    """The largest of each gaussian's three scales, (..., N, 3) to (..., N), world units."""
    return log_scales.exp().amax(dim=-1)


def gradient_rows(statistics: Statistics) -> list[list[float]]:
    """How the mean gradients of each row are distributed: row, count, then of their log10: mean, standard deviation,
    skewness, excess kurtosis, Kolmogorov-Smirnov distance to the normal fitted to them, its 5 % bound (Lilliefors), and
    the histogram over HISTOGRAM_EDGES. 4DSTR says that the gradients are log-normal."""
    found = []
    for row, values in enumerate(statistics.mean().cpu().double().numpy()):
        logs = np.sort(np.log10(values[values > 0]))
        if len(logs) < 2 or logs[0] == logs[-1]:
            continue
        scores = (logs - logs.mean()) / logs.std()
        expected = torch.special.ndtr(torch.from_numpy(scores)).numpy()
        steps = np.arange(len(logs) + 1) / len(logs)
        distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
        shape = [logs.mean(), logs.std(), (scores**3).mean(), (scores**4).mean() - 3, distance]
        histogram, _ = np.histogram(np.clip(logs, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), HISTOGRAM_EDGES)
        found.append([row, len(logs), *shape, LILLIEFORS / math.sqrt(len(logs)), *histogram])
    return [[float(value) for value in line] for line in found]


GRADIENT_COLUMNS = (
    *("row", "count", "mean_log10", "std_log10", "skewness", "excess_kurtosis", "ks_distance", "ks_bound"),
    *(f"from_{edge:g}" for edge in HISTOGRAM_EDGES[:-1]),
)


def _by_row(present: Tensor, rows: int) -> Tensor:
    """Presence (R, N): a frame a row, or whether a gaussian exists in any frame of the clip."""
    return present if rows > 1 else present.any(0, keepdim=True)


def _dilated(grow: Tensor, reach: int) -> Tensor:
    """(F, N) bool, true up to `reach` frames before and after every true one; at the clip's ends the window moves
    inside, so that every frame's choice lives equally long."""
    frames = len(grow)
    length = min(2 * reach + 1, frames)
    wide = torch.zeros_like(grow)
    for frame in range(frames):
        first = min(max(frame - reach, 0), frames - length)
        wide[first : first + length] |= grow[frame]
    return wide


def _pruned(largest: Tensor, opacity: Tensor, statistics: Statistics, settings: DensifySettings) -> Tensor:
    """Everything that prunes but too large a scale."""
    too_small = largest < settings.prune_min_scale
    return (opacity < settings.prune_opacity) | too_small | (statistics.radius > settings.prune_screen_fraction)


def _share(settings: DensifySettings, left: Tensor, rounds: int) -> int:
    """Gaussian-frames that a round may add to those left, `rounds` of which share the cap's room."""
    room = max(0, settings.max_gaussians * len(left) - int(left.sum()))
    return math.ceil(room / rounds)


def _under_cap(cost: Tensor, score: Tensor, room: int) -> Tensor:
    """Which gaussians (N,) may grow by `cost` gaussian-frames each: the highest scores that fit into `room`.

    Every growth adds its cost once: a clone is one more, a split two more in frames that lose one.
    """
    best = torch.argsort(torch.where(cost > 0, score, -1.0), descending=True, stable=True)
    allowed = torch.zeros_like(cost, dtype=torch.bool)
    allowed[best] = torch.cumsum(cost[best], 0) <= room
    return allowed


def _split_offsets(params: dict[str, Tensor], parents: Tensor, generator: torch.Generator) -> Tensor:
    """World offsets (M, 3) drawn from each parent's own normal distribution."""
    scales = params["log_scales"].detach()[parents].exp()
    noise = torch.randn(len(parents), 3, generator=generator).to(scales.device) * scales
    w, x, y, z = torch.nn.functional.normalize(params["quats"].detach()[parents], dim=1).unbind(1)
    vector = torch.stack([x, y, z], dim=1)
    turned = 2 * torch.linalg.cross(vector, noise)
    return noise + w[:, None] * turned + torch.linalg.cross(vector, turned)
