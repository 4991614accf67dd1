"""The model of a moving scene: canonical gaussians, a deformation field, and 4DSTR's temporal rectification.

The fit asks it for a sub-clip, `bake` for the whole clip frame by frame; both go through the same lines, with the
buffer of past frames handed along.

Letters: M consecutive frames, N gaussians, R rows asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from stages.lib.deformation import Deformation
from stages.lib.gaussians import take_rows
from stages.lib.rectification import Entry, Past, Rectification, Spread
from stages.settings import DynamicSettings

# What the field and the rectification look at, in the order of gaussians.NAMES without colour.
ATTRIBUTES = ("means", "quats", "log_scales", "opacity_logits")

Buffer = tuple[Entry, ...]


class Motion(nn.Module):
    """Field and, where an encoder is set, rectification."""

    def __init__(self, settings: DynamicSettings, n_frames: int, generator: torch.Generator) -> None:
        super().__init__()
        self.field = Deformation(settings.field, n_frames, generator)
        temporal = settings.temporal
        self.rectification = (
            None if temporal.encoder == "off" else Rectification(temporal, settings.field.bounds, generator)
        )

    def deformed(self, params: dict[str, Tensor], times: list[float]) -> dict[str, Tensor]:
        """Attributes (M, N, ...) after the field alone."""
        residuals = self.field(params["means"], times)
        moved = {}
        for name in ATTRIBUTES:
            value = params[name].expand(len(times), *params[name].shape)
            moved[name] = value + residuals[name] if name in residuals else value
        return moved

    def warm(
        self, params: dict[str, Tensor], times: list[float], present: Tensor | None, spread: Spread | None
    ) -> Buffer:
        """The buffer that M frames leave, without gradients; present (M, N) or None = all."""
        if self.rectification is None or not times:
            return ()
        with torch.no_grad():
            owners = attributes(params, None if spread is None else spread.rows)
            return self._through((), self.deformed(owners, times), _owned(present, spread), encode=self.keeps_features)[
                0
            ]

    def forward(
        self,
        params: dict[str, Tensor],
        times: list[float],
        present: Tensor | None,
        spread: Spread | None,
        buffer: Buffer = (),
        rows: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Buffer]:
        """Attributes (M, R, ...) of `rows` (all N without them) at M consecutive times, and the buffer after them.

        present (M, N) says which gaussians exist at which of the times; None = all.
        """
        owns_all = self.rectification is not None and spread is None
        moved = self.deformed(params if owns_all else attributes(params, rows), times)
        if self.rectification is None:
            return moved, ()
        owned = moved if owns_all else self.deformed(attributes(params, spread.rows), times)
        buffer, past = self._through(buffer, owned, _owned(present, spread))
        if spread is not None and rows is not None:
            spread = Spread(spread.rows, spread.nearest[rows], spread.weights[rows])
        residuals = self.rectification.residuals(past, moved, spread)
        moved |= {name: moved[name] + value for name, value in residuals.items()}
        if owns_all and rows is not None:
            moved = {name: value[:, rows] for name, value in moved.items()}
        return moved, buffer

    @property
    def keeps_features(self) -> bool:
        """Whether past frames leave encoder outputs in the buffer."""
        return self.rectification is not None and self.rectification.settings.buffer == "features"

    def _through(
        self, buffer: Buffer, owned: dict[str, Tensor], present: Tensor | None, encode: bool = True
    ) -> tuple[Buffer, list[Past]]:
        """Pass M frames of the buffer's owners through the buffer and, if asked, the encoder, in order."""
        past = []
        for index in range(len(owned["means"])):
            here = {name: value[index] for name, value in owned.items()}
            if encode:
                past.append(self.rectification.encode(buffer, here))
            now = None if present is None else present[index]
            buffer = self.rectification.remember(buffer, here, now, past[-1].feature if encode else None)
        return buffer, past


def restore(
    arrays: dict[str, np.ndarray], settings: DynamicSettings, device: torch.device
) -> tuple[Motion | None, Spread | None]:
    """The model of motion and its control gaussians from dynamic.safetensors; None where it has none."""

    def part(prefix: str) -> dict[str, Tensor]:
        chosen = {name: value for name, value in arrays.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): torch.from_numpy(value).to(device) for name, value in chosen.items()}

    weights, spread = part("motion."), part("spread.")
    if not weights:
        return None, None
    motion = Motion(settings, len(arrays["times"]), torch.Generator())
    motion.load_state_dict(weights)
    return motion.to(device), Spread(**spread) if spread else None


def attributes(params: dict[str, Tensor], rows: Tensor | None) -> dict[str, Tensor]:
    """The attributes that move, of `rows` or of all."""
    chosen = {name: params[name] for name in ATTRIBUTES}
    return chosen if rows is None else take_rows(chosen, rows)


def _owned(present: Tensor | None, spread: Spread | None) -> Tensor | None:
    """Presence of the buffer's owners; controls are present in every frame."""
    return None if spread is not None else present
