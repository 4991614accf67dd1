"""Closed-form matting: alpha of the pixels that a trimap leaves open, from the picture's own colours.

Vocabulary: a *trimap* says of each pixel whether it is surely object, surely background, or *open*. In a window of 3x3
pixels alpha is taken to be a linear function of the colour, which holds where object and background have one colour
each, or colours on a line (Levin, Lischinski and Weiss 2008, "A closed-form solution to natural image matting"). The
squared deviations from it, added up over all windows, are alpha' L alpha, with the *matting Laplacian* L; alpha of the
open pixels minimises it with the others held.

Open pixels are few and lie along outlines, so L is kept window by window, for the windows that hold one, and the
minimum found by conjugate gradients: no sparse solver is needed.

Conventions: pictures (H, W, 3) in [0, 1]; K windows, which lie inside the picture; pixels counted row by row.
"""

from __future__ import annotations

import cv2
import numpy as np

WINDOW = 9
# Added to the colours' covariance in a window, times its pixels. Levin's is 1e-7, for pictures without noise; this is a
# standard deviation of 1/255, below which colours of 8 bits say nothing.
EPSILON = WINDOW / 255**2
# Conjugate gradients end when the residual has fallen by this, which is far below a step of 8 bits, or after so many
# rounds (an outline takes less than 50), where the colours say nothing and alpha stays near its start.
TOLERANCE = 1e-4
MOST_ROUNDS = 300
# Where alpha is linear in the colours already, the residual is rounding errors, below this in every pixel.
ROUNDING = 1e-10


def solve(picture: np.ndarray, start: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Alpha (H, W) in [0, 1] of a picture (H, W, 3) in [0, 1].

    start: (H, W), alpha where it is known, and a guess of it in the open pixels (`is_open`, bool), which is kept where
    the colours say nothing.
    """
    windows = windows_around(is_open)
    laplacians = window_laplacians(picture.reshape(-1, 3)[windows].astype(np.float64))
    free = is_open.ravel()
    alpha = start.astype(np.float64).ravel()

    def gradient(values: np.ndarray) -> np.ndarray:
        """Rows of L for the open pixels, times `values` (H * W,); 0 in the others."""
        terms = laplacians @ values[windows][..., None]
        return np.where(free, np.bincount(windows.ravel(), terms.ravel(), minlength=len(free)), 0.0)

    residual = -gradient(alpha)
    direction, squared = residual, (residual**2).sum()
    enough = max(TOLERANCE**2 * squared, ROUNDING**2 * len(free))
    for _ in range(MOST_ROUNDS):
        if squared <= enough:
            break
        applied = gradient(direction)
        step = squared / (direction * applied).sum()
        alpha = alpha + step * direction
        residual = residual - step * applied
        before, squared = squared, (residual**2).sum()
        direction = residual + squared / before * direction
    return np.clip(alpha, 0, 1).reshape(start.shape)


def windows_around(is_open: np.ndarray) -> np.ndarray:
    """Pixels (K, 9) of every window inside the picture that holds an open pixel; is_open: (H, W) bool."""
    centres = cv2.dilate(is_open.astype(np.uint8), np.ones((3, 3), np.uint8))
    centres[[0, -1]] = 0
    centres[:, [0, -1]] = 0
    steps = np.arange(-1, 2)
    return np.flatnonzero(centres)[:, None] + (steps[:, None] * is_open.shape[1] + steps).ravel()


def window_laplacians(colours: np.ndarray) -> np.ndarray:
    """What each window adds to L, (K, 9, 9), from its colours (K, 9, 3); equation 12 of Levin et al. (2008)."""
    deviation = colours - colours.mean(axis=1, keepdims=True)
    covariance = deviation.transpose(0, 2, 1) @ deviation / WINDOW
    inverse = np.linalg.inv(covariance + EPSILON / WINDOW * np.eye(3))
    return np.eye(WINDOW) - (1 + deviation @ inverse @ deviation.transpose(0, 2, 1)) / WINDOW
