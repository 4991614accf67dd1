"""A sequence of gaussians that stays in its file: one frame is read when it is used.

For stages that look at one frame after the other, so that memory does not grow with a clip's length. The file is
opened anew for every row: as long as it stays open it is mapped, and what was read of it counts as the process's
memory.

Letters: T frames, N gaussians.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from stages.contracts import MOVING, ContractError, Sequence

ROWS = (*MOVING, "present")


def _unreadable(path: Path, error: Exception) -> ContractError:
    return ContractError(
        f"{path} cannot be read as a Sequence ({error}). Delete it and run the same command again to bake it anew."
    )


class Rows:
    """A tensor (T, ...) of a safetensors file: an index gives one frame's array, several indices give Rows again."""

    def __init__(self, path: Path, name: str, at: np.ndarray) -> None:
        self._path, self._name, self._at = path, name, at

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, key) -> Rows | np.ndarray:
        """One frame's array; raises ContractError naming file, tensor and frame where it is not finite."""
        chosen = self._at[key]
        if chosen.ndim:
            return Rows(self._path, self._name, chosen)
        frame = int(chosen)
        try:
            with safe_open(self._path, framework="numpy") as file:
                row = file.get_slice(self._name)[frame : frame + 1][0]
        except (OSError, SafetensorError) as error:
            raise _unreadable(self._path, error) from None
        if not np.isfinite(row).all():
            raise ContractError(
                f"{self._path} holds NaN or infinity in {self._name} of frame {frame}; expected finite numbers. Delete "
                "it and run the same command again to bake it anew."
            )
        return row


def sequence_on_disk(path: Path) -> Sequence:
    """A Sequence whose tensors over time are Rows; raises ContractError on another file and on shapes that disagree.

    Its `frame` and `at` work as ever. Finiteness is checked frame by frame, when a frame is read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            lengths = {name: file.get_slice(name).get_shape()[0] for name in ROWS}
            sh, times = file.get_tensor("sh"), file.get_tensor("times")
            record = json.loads(file.metadata()["record"])
    except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from None
    if set(lengths.values()) != {len(times)}:
        raise _unreadable(path, ValueError(f"frames: {lengths}, times: {len(times)}"))
    rows = {name: Rows(path, name, np.arange(len(times))) for name in ROWS}
    first = {name: row[0][None] for name, row in rows.items()}
    try:
        Sequence(**first, sh=sh, times=times[:1]).check()
    except ContractError as error:
        raise _unreadable(path, error) from None
    return Sequence(**rows, sh=sh, times=times, record=record)
