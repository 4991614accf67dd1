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

import numpy as np

from stages.contracts import Sequence

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


def insert(sequence: Sequence, between: int) -> Sequence:
    """The sequence with `between` frames evenly spaced in time between any two; fitted frames keep their bits.

    M = (T - 1) (between + 1) + 1. Returns the sequence itself for `between` 0 or a single frame. Raises ValueError if
    `between` is negative.
    """
    if between < 0:
        raise ValueError(f"between is {between}; expected 0 or more frames between two fitted ones.")
    if between == 0 or len(sequence.times) == 1:
        return sequence
    stride = between + 1
    count = (len(sequence.times) - 1) * stride + 1
    names = ("means", "quats", "log_scales", "opacity_logits", "present", "times")
    made = {name: np.empty((count, *(old := getattr(sequence, name)).shape[1:]), old.dtype) for name in names}
    for name in names:
        made[name][::stride] = getattr(sequence, name)
    times = sequence.times
    velocity = tangents(sequence.means, sequence.present, times)
    for frame in range(len(times) - 1):
        here, there = slice(frame, frame + 1), slice(frame + 1, frame + 2)
        length = times[frame + 1] - times[frame]
        for step in range(1, stride):
            u = step / stride
            row = frame * stride + step
            made["times"][row] = times[frame] + u * length
            made["present"][row] = sequence.present[frame] & sequence.present[frame + 1]
            made["means"][row] = (
                (1 + 2 * u) * (1 - u) ** 2 * sequence.means[here]
                + u * (1 - u) ** 2 * length * velocity[here]
                + u**2 * (3 - 2 * u) * sequence.means[there]
                - u**2 * (1 - u) * length * velocity[there]
            )[0]
            made["quats"][row] = slerp(sequence.quats[frame], sequence.quats[frame + 1], u)
            for name in ("log_scales", "opacity_logits"):
                values = getattr(sequence, name)
                made[name][row] = (1 - u) * values[frame] + u * values[frame + 1]
    return Sequence(**made, sh=sequence.sh, record={**sequence.record, "between": between})
