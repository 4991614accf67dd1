"""Closed-form matting against its definition written out, and on pictures whose alpha is known."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lib import closed_form


def slow_laplacian(picture: np.ndarray) -> np.ndarray:
    """L (H W, H W), pair by pair: equation 12 of Levin et al. (2008)."""
    height, width = picture.shape[:2]
    laplacian = np.zeros((height * width, height * width))
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            places = [(y, x) for y in (row - 1, row, row + 1) for x in (column - 1, column, column + 1)]
            colours = np.array([picture[place] for place in places])
            mean = sum(colours) / 9
            covariance = sum(np.outer(c - mean, c - mean) for c in colours) / 9
            inverse = np.linalg.inv(covariance + closed_form.EPSILON / 9 * np.eye(3))
            for i, place in enumerate(places):
                for j, other in enumerate(places):
                    affinity = (1 + (colours[i] - mean) @ inverse @ (colours[j] - mean)) / 9
                    laplacian[place[0] * width + place[1], other[0] * width + other[1]] += (i == j) - affinity
    return laplacian


def test_against_the_dense_system():
    random = np.random.default_rng(0)
    picture, start = random.random((9, 11, 3)), random.integers(0, 2, (9, 11)).astype(float)
    is_open = np.zeros((9, 11), bool)
    is_open[2:7, 3:6] = is_open[0, 8] = is_open[8, 10] = True
    laplacian, free = slow_laplacian(picture), is_open.ravel()
    expected = start.ravel().copy()
    expected[free] = np.linalg.solve(laplacian[np.ix_(free, free)], -laplacian[np.ix_(free, ~free)] @ expected[~free])
    found = closed_form.solve(picture, start, is_open)
    assert found.ravel() == pytest.approx(np.clip(expected, 0, 1), abs=1e-3)
    assert (found[~is_open] == start[~is_open]).all()


def disc(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A two-coloured disc with a soft edge over grey: picture in steps of 8 bits, alpha."""
    y, x = np.mgrid[:size, :size] + 0.5
    alpha = np.clip((20 - np.hypot(x - 32, y - 32)) / 3 + 0.5, 0, 1)
    colour = np.where((x < 32)[..., None], [0.9, 0.3, 0.1], [0.1, 0.4, 0.9])
    picture = alpha[..., None] * colour + (1 - alpha[..., None]) * 0.5
    return np.round(picture * 255) / 255, alpha


def test_a_soft_edge_is_found_from_colours():
    picture, alpha = disc()
    is_open = (alpha > 0) & (alpha < 1)
    found = closed_form.solve(picture, np.where(is_open, 0.5, alpha), is_open)
    assert np.abs(found - alpha)[is_open].mean() < 0.03


def test_where_colours_say_nothing_the_guess_stays():
    guess = np.tile(np.linspace(0.2, 0.8, 8), (8, 1))
    flat = closed_form.solve(np.full((8, 8, 3), 0.5), np.full((8, 8), 0.3), np.ones((8, 8), bool))
    assert flat == pytest.approx(np.full((8, 8), 0.3), abs=1e-6)
    nothing_open = closed_form.solve(np.full((8, 8, 3), 0.5), guess, np.zeros((8, 8), bool))
    assert (nothing_open == guess).all()


def test_a_picture_smaller_than_a_window():
    start = np.array([[0.1, 0.9]])
    assert (closed_form.solve(np.zeros((1, 2, 3)), start, np.ones((1, 2), bool)) == start).all()
