"""4DSTR's temporal rectification (arXiv 2511.07241, eqs. 2 to 5): past frames correct a gaussian's scale and rotation.

Vocabulary and conventions
--------------------------
- *token*: position, log-scale, quaternion and opacity of one gaussian at one frame, 11 numbers, embedded to D.
- *buffer*: at most T - 1 entries of past frames, oldest first, one row a gaussian. It starts empty and grows, so
  the first frames have a short window and never a padded one. A gaussian absent from a frame is masked there.
- *window*: the buffer's tokens and the current one. The encoder turns it into one feature a gaussian (eq. 3).
- *features* or *attributes*: what a frame leaves in the buffer, its feature (eq. 5) or its plain token.
- *controls*: the few gaussians that own a buffer row when `controls` is set; the others blend the features and
  past changes of their nearest controls (*spread*). Controls are present in every frame.
- A round of growth touches no history: entries live within a sub-clip or a baked clip and each gaussian owns its row,
  so a new or removed one changes nobody else's result. With `controls` it does, a little: after every round they are
  chosen anew and everyone hears other neighbours, in frames that the round did not touch as well. `controls: null`
  keeps those frames exactly (while their window is untouched).
- Residuals are added before activation; the heads start at zero, so an untrained module changes nothing.

Letters: F frames of the clip, N gaussians, C controls (or N), D channels, S tokens of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.cli import StageError
from stages.lib.deformation import linear
from stages.lib.temporal.encoders import build
from stages.lib.temporal.heads import DynamicWeights, Source
from stages.settings import TemporalSettings

TOKEN_SIZE = 11
# Log-scales of fitted gaussians lie around log(0.03) world units with a spread near 1; the layers expect that of 0.
LOG_SCALE_CENTRE = -3.5


@dataclass(frozen=True)
class Spread:
    """Control rows (C,), and for every gaussian its nearest controls (N, k) as places in `rows` and weights (N, k)."""

    rows: Tensor
    nearest: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Entry:
    """What a past frame left in the buffer: token (C,D), log_scales (C,3), quats (C,4), present (C,) or None = all."""

    token: Tensor
    log_scales: Tensor
    quats: Tensor
    present: Tensor | None


@dataclass(frozen=True)
class Past:
    """Feature (C,D) of the current frame, and how log-scales (C,3) and quaternions (C,4) changed since the nearest past
    frame in the buffer; `known` (C,) is False where there is none, and the change is zero."""

    feature: Tensor
    log_scales: Tensor
    quats: Tensor
    known: Tensor


class Rectification(nn.Module):
    """Encoder and heads of the temporal rectification; state is passed as the buffer, a tuple of entries."""

    def __init__(self, settings: TemporalSettings, bounds: float, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.bounds = bounds
        self.embed = linear(TOKEN_SIZE, settings.width, generator)
        self.encoder = build(settings, generator)
        self.source = Source(settings.width, generator)
        self.scale_head = DynamicWeights(settings.width, 3, generator)
        self.quat_head = DynamicWeights(settings.width, 4, generator)

    def token(self, gaussians: dict[str, Tensor]) -> Tensor:
        """Embedded attributes (C, D) of gaussians at one frame."""
        parts = (
            gaussians["means"] / self.bounds,
            gaussians["log_scales"] - LOG_SCALE_CENTRE,
            nn.functional.normalize(gaussians["quats"], dim=-1),
            gaussians["opacity_logits"].sigmoid()[..., None],
        )
        return self.embed(torch.cat(parts, dim=-1))

    def remember(
        self, buffer: tuple[Entry, ...], gaussians: dict[str, Tensor], present: Tensor | None, feature: Tensor | None
    ) -> tuple[Entry, ...]:
        """The buffer after a frame; `feature` is needed where features are kept."""
        token = feature if self.settings.buffer == "features" else self.token(gaussians)
        entry = Entry(token, gaussians["log_scales"], gaussians["quats"], present)
        return (*buffer, entry)[-self.settings.length + 1 :] if self.settings.length > 1 else ()

    def encode(self, buffer: tuple[Entry, ...], gaussians: dict[str, Tensor]) -> Past:
        """Feature and past changes of the current frame, whose gaussians all count as present."""
        token = self.token(gaussians)
        window = torch.stack([*(entry.token for entry in buffer), token], dim=1)
        everyone = torch.ones(len(token), dtype=torch.bool, device=token.device)
        now = gaussians["log_scales"], gaussians["quats"]
        if all(entry.present is None for entry in buffer):
            # The common case, without masks: everyone's nearest past frame is the last one.
            last = (buffer[-1].log_scales, buffer[-1].quats) if buffer else now
            changes = (here - before for here, before in zip(now, last, strict=True))
            return Past(self.encoder(window, None), *changes, everyone if buffer else ~everyone)
        found = [everyone if entry.present is None else entry.present for entry in buffer]
        known, (log_scales, quats) = ~everyone, now
        for entry, here in zip(buffer, found, strict=True):
            known = known | here
            log_scales = torch.where(here[:, None], entry.log_scales, log_scales)
            quats = torch.where(here[:, None], entry.quats, quats)
        present = torch.stack([*found, everyone], dim=1)
        return Past(self.encoder(window, present), now[0] - log_scales, now[1] - quats, known)

    def residuals(self, past: list[Past], gaussians: dict[str, Tensor], spread: Spread | None) -> dict[str, Tensor]:
        """Residuals of log_scales (M,N,3) and quats (M,N,4) of M frames, from the attributes (M,N,...) before them."""
        feature = torch.stack([p.feature for p in past])
        source, known = self.source(feature), torch.stack([p.known for p in past])
        nearest, weights = (None, None) if spread is None else (spread.nearest, spread.weights)
        changes = {"log_scales": [p.log_scales for p in past], "quats": [p.quats for p in past]}
        currents = {"log_scales": gaussians["log_scales"] - LOG_SCALE_CENTRE, "quats": gaussians["quats"]}
        heads = {"log_scales": self.scale_head, "quats": self.quat_head}
        return {
            name: head(head.rows(source, feature, torch.stack(changes[name]), known), currents[name], nearest, weights)
            for name, head in heads.items()
        }


def spread_over(means: Tensor, present: Tensor, settings: TemporalSettings) -> Spread | None:
    """Controls chosen far apart among the gaussians present in all frames, and everyone's nearest ones.

    means (N,3), present (F,N). None when every gaussian is its own control. Raises StageError when no gaussian is
    present throughout.
    """
    if settings.controls is None:
        return None
    points = means.detach()
    lasting = torch.nonzero(present.all(0))[:, 0]
    if not len(lasting):
        raise StageError(
            "no gaussian is present in every frame, so none can be a control of the temporal rectification. "
            "Type `dynamic: {temporal: {controls: null}}`, or lower densify.prune_opacity."
        )
    rows = lasting[_far_apart(points[lasting], min(settings.controls, len(lasting)))]
    distance, nearest = torch.cdist(points, points[rows]).topk(min(settings.neighbours, len(rows)), largest=False)
    # Inverse squared distance; the floor, a hundredth of the field, keeps a control itself finite.
    weights = 1 / (distance.square() + 1e-4)
    return Spread(rows, nearest, weights / weights.sum(1, keepdim=True))


def _far_apart(points: Tensor, count: int) -> Tensor:
    """Places (count,) of farthest-point samples, from the point nearest to the middle on; none occurs twice."""
    chosen = [int((points - points.mean(0)).square().sum(1).argmin())]
    distance = (points - points[chosen[0]]).square().sum(1)
    for _ in range(count - 1):
        # Clones lie where their parents do, so a distance of 0 does not tell that a point was taken.
        distance[chosen[-1]] = -1
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen, device=points.device)
