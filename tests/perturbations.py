"""A clip whose ground truth is known, and what the calibration does to it (tests/calibration.csv)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

FRAMES, SIDE = 12, 64


def truth() -> np.ndarray:
    """(T, H, W, 4) uint8: a textured square with a notch that moves to the right and up, faster towards the end."""
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(40, 216, (6, 6, 3), dtype=np.uint8), (24, 24), interpolation=cv2.INTER_CUBIC)
    frames = np.zeros((FRAMES, SIDE, SIDE, 4), np.uint8)
    for t in range(FRAMES):
        left, top = 6 + round(20 * (t / (FRAMES - 1)) ** 1.5), 26 - t
        frames[t, top : top + 24, left : left + 24, :3] = texture
        frames[t, top : top + 24, left : left + 24, 3] = 255
        frames[t, top : top + 9, left + 14 : left + 24] = 0
    return frames


def identity(clip: np.ndarray) -> np.ndarray:
    return clip.copy()


def blur(clip: np.ndarray) -> np.ndarray:
    """Gaussian blur of colour and alpha together, sigma 2 pixels."""
    values = clip.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 2) for frame in values])
    soft[..., :3] /= np.maximum(soft[..., 3:] / 255, 1 / 512)
    return np.clip(soft + 0.5, 0, 255).astype(np.uint8)


def shift(clip: np.ndarray) -> np.ndarray:
    """Two pixels down and to the right; nothing leaves the picture."""
    return np.roll(clip, (2, 2), axis=(1, 2))


def noise(clip: np.ndarray) -> np.ndarray:
    """New noise of 12 grey levels in the colour of every frame; alpha is kept."""
    noisy = clip.astype(np.float64)
    noisy[..., :3] += np.random.default_rng(1).normal(0, 12, noisy[..., :3].shape)
    noisy[..., :3] *= clip[..., 3:] > 0
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def shuffle(clip: np.ndarray) -> np.ndarray:
    """The same frames in another order."""
    return clip[np.random.default_rng(2).permutation(len(clip))]


def freeze(clip: np.ndarray) -> np.ndarray:
    """The middle frame all the time."""
    return np.repeat(clip[len(clip) // 2][None], len(clip), axis=0)


def drop(clip: np.ndarray) -> np.ndarray:
    """Every third frame replaced by the one before it, as a player that drops frames shows it."""
    index = np.arange(len(clip))
    return clip[np.where(index % 3 == 2, index - 1, index)]


def cut(clip: np.ndarray) -> np.ndarray:
    """The last frame missing."""
    return clip[:-1]


PERTURBATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    function.__name__: function for function in (identity, blur, shift, noise, shuffle, freeze, drop, cut)
}
