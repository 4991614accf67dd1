"""Frames between the fitted ones: slow motion without evaluating the model again.

Means follow a cubic Hermite curve whose tangents are those of the parabola through three neighbours: at equal times
the spline of Catmull and Rom ("A class of local interpolating splines", 1974). Rotations turn along the shorter great
arc at constant speed (Shoemake, "Animating rotation with quaternion curves", 1985). Log-scales and opacity logits are
linear as stored.

Presence: a gaussian exists between two frames where it exists in both. A neighbour from which it is absent says
nothing about its motion, so the tangent there becomes the one-sided difference, as at the ends of the clip.

Letters: T fitted frames, N gaussians, M frames made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from stages.contracts import Moment

# Below this angle (radians) sines lose their digits and the straight line is the arc to float32.
SMALLEST_ARC = 1e-4


def tangents(means: np.ndarray, present: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Velocity (T, N, 3), world units per unit of time, of means (T, N, 3) at their own times (T,), T >= 2.

    present: (T, N) bool; a difference counts only if the gaussian is present at both of its ends.
    """
    velocity = np.diff(means, axis=0) / np.diff(times)[:, None, None]
    seen = (present[1:] & present[:-1])[..., None]
    still = np.zeros_like(means[:1])
    before, after = np.concatenate([still, velocity]), np.concatenate([velocity, still])
    none = np.zeros_like(seen[:1])
    has_before, has_after = np.concatenate([none, seen]), np.concatenate([seen, none])
    step = np.concatenate([times[:1], times, times[-1:]])
    past, future = (step[1:-1] - step[:-2])[:, None, None], (step[2:] - step[1:-1])[:, None, None]
    central = (future * before + past * after) / (past + future)
    return np.where(has_before & has_after, central, np.where(has_before, before, np.where(has_after, after, 0.0)))


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """The rotation at `fraction` in [0, 1] of the shorter arc between quaternions (N, 4) of any length; unit length."""
    start, end = (quats / np.linalg.norm(quats, axis=-1, keepdims=True) for quats in (start, end))
    cosine = (start * end).sum(axis=-1, keepdims=True)
    end = np.where(cosine < 0, -end, end)
    angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
    sine = np.sin(np.maximum(angle, SMALLEST_ARC))
    small = angle < SMALLEST_ARC
    first = np.where(small, 1.0 - fraction, np.sin((1.0 - fraction) * angle) / sine)
    second = np.where(small, fraction, np.sin(fraction * angle) / sine)
    turned = first * start + second * end
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


def instants(times: np.ndarray, between: int) -> np.ndarray:
    """The times (M,) of a clip with `between` frames evenly spaced in time between any two of `times` (T,).

    M = (T - 1) (between + 1) + 1. Raises ValueError if `between` is negative.
    """
    if between < 0:
        raise ValueError(f"between is {between}; expected 0 or more frames between two fitted ones.")
    stride = between + 1
    made = np.empty((len(times) - 1) * stride + 1, times.dtype)
    made[::stride] = times
    for step in range(1, stride):
        made[step::stride] = times[:-1] + step / stride * np.diff(times)
    return made


def insert(frames: Iterable[Moment], times: np.ndarray, between: int) -> Iterator[Moment]:
    """The frames at `instants(times, between)`, one after the other: fitted ones keep their bits.

    frames are those at times (T,), in order; four at most are held.
    """
    frames, stride = iter(frames), between + 1
    held = list(islice(frames, 2))
    for frame in range(len(times) - 1):
        # A tangent takes the frame before and the frame after, as far as there are any.
        held += islice(frames, 1)
        here = min(frame, 1)
        yield held[here]
        if between:
            yield from _between(held, times[frame - here :][: len(held)], here, stride)
        del held[:here]
    yield held[-1]


def _between(held: list[Moment], times: np.ndarray, here: int, stride: int) -> Iterator[Moment]:
    """The frames between `here` and the next one of neighbours `held` at `times`, `stride` steps apart."""
    velocity = tangents(*(np.stack([frame[name] for frame in held]) for name in ("means", "present")), times)
    start, end = held[here], held[here + 1]
    length = times[here + 1] - times[here]
    for step in range(1, stride):
        u = step / stride
        means = (
            (1 + 2 * u) * (1 - u) ** 2 * start["means"]
            + u * (1 - u) ** 2 * length * velocity[here]
            + u**2 * (3 - 2 * u) * end["means"]
            - u**2 * (1 - u) * length * velocity[here + 1]
        )
        made = {"means": means, "quats": slerp(start["quats"], end["quats"], u)}
        made |= {name: (1 - u) * start[name] + u * end[name] for name in ("log_scales", "opacity_logits")}
        made = {name: values.astype(np.float32, copy=False) for name, values in made.items()}
        yield made | {"present": start["present"] & end["present"]}
