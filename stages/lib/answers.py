"""Answers that need no network to the question what an object looks like from six sides: what a prior has to beat.

    copied     the input view, six times
    mirrored   the same, left to right
    white      nothing at all
    mean       the mean of each view over the pictures that a small prior was trained on

Conventions: V views, H W pixels, P pixels of the input view's side, S samples; RGBA uint8, straight alpha. On disk the
mean views stand below each other in one picture.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages.lib import images


def constant_answers(
    condition: np.ndarray, views: int, side: int, mean: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Each answer (V, H, W, 4), V = `views`, H = W = `side`, for an input view (P, P, 4).

    mean: (V, H, W, 4), absent where no training is known; then there is no such answer either.
    """
    # OpenCV's area mean is the plain one: of a premultiplied picture, so that edges keep their colour.
    small = cv2.resize(images.premultiply(condition), (side, side), interpolation=cv2.INTER_AREA)
    copied = np.repeat(images.straighten(small)[None], views, axis=0)
    answers = {"copied": copied, "mirrored": copied[:, :, ::-1], "white": np.zeros_like(copied)}
    return answers if mean is None else answers | {"mean": mean}


def mean_views(rgba: np.ndarray) -> np.ndarray:
    """The mean of every view over a corpus (S, V, H, W, 4): uint8 (V, H, W, 4)."""
    total = np.zeros(rgba.shape[1:], np.float64)
    for moment in rgba:
        total += images.premultiply(moment)
    return images.straighten((total / len(rgba)).astype(np.float32))


def write_mean(path: Path, mean: np.ndarray) -> None:
    """Write mean views (V, H, W, 4) as one PNG, from which `read_mean` gets them again."""
    images.write_png(path, mean.reshape(-1, *mean.shape[2:]))


def read_mean(path: Path, views: int, side: int) -> np.ndarray:
    """Mean views (V, H, W, 4) at another size, V = `views`, H = W = `side`; raises ImageError on another picture."""
    picture = images.read(path)
    height, width, channels = picture.shape
    if channels != 4 or height != views * width:
        raise images.ImageError(
            f"{path} is {width}x{height} with {channels} channels; expected {views} square RGBA views in a column. "
            "Promote the prior again."
        )
    mean = picture.reshape(views, width, width, 4)
    if side == width:
        return mean
    window = images.padded_square(width, width)
    return np.stack([images.resample(view, window, side) for view in mean])
