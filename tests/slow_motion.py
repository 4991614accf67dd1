"""A sequence in memory with frames between its own, for tests that want one at once."""

from __future__ import annotations

import numpy as np

from stages.contracts import MOVING, Moment, Sequence
from stages.lib import interpolation

CHANGING = (*MOVING, "present")


def moments(sequence: Sequence) -> list[Moment]:
    """The frames of a sequence as `bake` makes them."""
    return [{name: getattr(sequence, name)[index] for name in CHANGING} for index in range(len(sequence.times))]


def insert(sequence: Sequence, between: int) -> Sequence:
    """The sequence with `between` frames between any two."""
    made = list(interpolation.insert(iter(moments(sequence)), sequence.times, between))
    stacked = {name: np.stack([frame[name] for frame in made]) for name in CHANGING}
    times = interpolation.instants(sequence.times, between)
    return Sequence(**stacked, sh=sequence.sh, times=times, record=sequence.record)
