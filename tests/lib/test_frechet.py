"""Fréchet distances: analytic values, two routes held together, and everything that must not hang or turn NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import frechet
from stages.lib.frechet import FrechetError


def gaussian(count: int, dimensions: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions)) * scale + shift


def by_covariances(a: np.ndarray, b: np.ndarray) -> float:
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b)]
    return frechet.frechet_distance(a.mean(0), covariances[0], b.mean(0), covariances[1])


# ------------------------------------------------------------------ one clip


def test_closed_form_equals_the_covariance_route_of_the_script():
    # The script with NumPy < 2.2: the covariance of one clip is the 1 x 1 variance of its logits.
    a, b = gaussian(2, 400, 0, scale=2.0)
    script = ((a - b) ** 2).sum() + a.var(ddof=1) + b.var(ddof=1) - 2 * math.sqrt(a.var(ddof=1) * b.var(ddof=1))
    # The equal means vanish; the variances go through the general distance as 1 x 1 covariances.
    spread = frechet.frechet_distance(np.zeros(1), [[a.var(ddof=1)]], np.zeros(1), [[b.var(ddof=1)]])
    assert frechet.fvd_clip(a, b) == pytest.approx(script, rel=1e-12)
    assert frechet.fvd_clip(a, b) == pytest.approx(((a - b) ** 2).sum() + spread, rel=1e-12)


def test_one_clip_by_hand():
    # |p - t|^2 = 1 + 1; spreads sqrt(2) and 0.
    assert frechet.fvd_clip(np.array([1.0, -1.0]), np.array([0.0, 0.0])) == pytest.approx(2 + 2)
    assert frechet.fvd_clip(np.arange(400.0), np.arange(400.0)) == 0


def test_one_clip_refuses_sets_and_nan():
    with pytest.raises(FrechetError, match="expected one vector a side"):
        frechet.fvd_clip(gaussian(2, 400, 0), gaussian(1, 400, 1))
    with pytest.raises(FrechetError, match="predicted features hold 1 NaN or infinite values of 400"):
        frechet.fvd_clip(np.r_[np.nan, np.zeros(399)], np.zeros(400))


# ------------------------------------------------------------------ known Gaussians


def test_two_known_gaussians():
    # Commuting covariances: sum over axes of (m - n)^2 + (s - t)^2.
    mean, other = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    s, t = np.array([1.0, 2.0, 3.0]), np.array([4.0, 0.5, 3.0])
    expected = ((mean - other) ** 2).sum() + ((s - t) ** 2).sum()
    turn, _ = np.linalg.qr(gaussian(3, 3, 5))
    found = frechet.frechet_distance(turn @ mean, turn * s**2 @ turn.T, turn @ other, turn * t**2 @ turn.T)
    assert found == pytest.approx(expected, rel=1e-12)


def test_covariances_that_do_not_commute():
    # For 2 x 2 matrices tr(M^1/2) = sqrt(tr M + 2 sqrt(det M)).
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[4.0, -1.0], [-1.0, 1.0]])
    root = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    expected = np.trace(a) + np.trace(b) - 2 * root
    assert frechet.frechet_distance(np.zeros(2), a, np.zeros(2), b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_singular_covariances(rank):
    a = gaussian(8, rank, 1) @ gaussian(rank, 8, 2)
    one, two = a @ a.T, np.eye(8)
    found = frechet.frechet_distance(np.zeros(8), one, np.zeros(8), two)
    assert found == pytest.approx(np.sum((np.sqrt(np.maximum(np.linalg.eigvalsh(one), 0)) - 1) ** 2), rel=1e-6)
    assert frechet.frechet_distance(np.zeros(8), one, np.zeros(8), one) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("count", "other", "dimensions"), [(2, 2, 40), (4, 28, 40), (30, 41, 40), (60, 50, 40)])
def test_sets_equal_their_covariance_route(count, other, dimensions):
    a, b = gaussian(count, dimensions, 1, shift=0.3), gaussian(other, dimensions, 2, scale=1.5)
    assert frechet.set_distance(a, b) == pytest.approx(by_covariances(a, b), rel=1e-6)


def test_both_routes_of_sets_meet_where_they_change():
    a, b = gaussian(41, 40, 1), gaussian(41, 40, 2, scale=2.0)
    wide = [np.hstack([x, np.zeros((41, 1))]) for x in (a, b)]
    assert frechet.set_distance(a, b) == pytest.approx(frechet.set_distance(*wide), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 12), st.integers(0, 1000))
def test_sets_are_symmetric_and_never_negative(count, other, dimensions, seed):
    a, b = gaussian(count, dimensions, seed), gaussian(other, dimensions, seed + 1, scale=0.1)
    assert frechet.set_distance(a, b) == pytest.approx(frechet.set_distance(b, a), rel=1e-6, abs=1e-6)
    assert frechet.set_distance(a, b) >= 0
    assert frechet.set_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_a_shift_moves_a_set_by_its_square():
    a = gaussian(28, 400, 1)
    assert frechet.set_distance(a, a + 0.5) == pytest.approx(400 * 0.25, rel=1e-9)


@pytest.mark.parametrize(("a", "b", "text"), [
    (np.full((4, 3), np.nan), np.zeros((4, 3)), "predicted features hold 12 NaN"),
    (np.zeros((4, 3)), np.full((4, 3), np.inf), "true features hold 12 NaN or infinite"),
    (np.zeros((1, 3)), np.zeros((4, 3)), r"\(1, 3\); expected \(N, D\) with N at least 2"),
    (np.zeros((4, 3)), np.zeros((4, 2)), "3 dimensions, true ones 2"),
])  # fmt: skip
@pytest.mark.parametrize("distance", [frechet.set_distance, frechet.kernel_distance])
def test_sets_without_a_distance_are_refused(distance, a, b, text):
    with pytest.raises(FrechetError, match=text):
        distance(a, b)


def test_matrices_that_are_no_covariance_are_refused():
    with pytest.raises(FrechetError, match="not symmetric"):
        frechet.frechet_distance(np.zeros(2), [[1, 2], [0, 1]], np.zeros(2), np.eye(2))
    with pytest.raises(FrechetError, match="NaN or infinity"):
        frechet.frechet_distance(np.zeros(2), np.full((2, 2), np.nan), np.zeros(2), np.eye(2))
    with pytest.raises(FrechetError, match=r"shape \(3, 3\); expected \(2, 2\)"):
        frechet.frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(3))


# ------------------------------------------------------------------ bias


@pytest.mark.parametrize(("count", "dimensions"), [(7, 400), (28, 400), (30, 2048)])
def test_the_stated_bias_is_what_samples_of_one_gaussian_give(count, dimensions):
    found = [
        frechet.set_distance(gaussian(count, dimensions, seed), gaussian(count, dimensions, seed + 50))
        for seed in range(3)
    ]
    assert np.mean(found) == pytest.approx(frechet.small_sample_bias(count, dimensions), rel=0.03)


def test_the_kernel_distance_has_no_such_bias():
    found = [frechet.kernel_distance(gaussian(28, 400, s), gaussian(28, 400, s + 500)) for s in range(40)]
    assert abs(np.mean(found)) < 3 * np.std(found, ddof=1) / math.sqrt(len(found))
    assert frechet.kernel_distance(gaussian(28, 400, 1), gaussian(28, 400, 2, shift=0.5)) > 10 * np.std(found)


# ------------------------------------------------------------------ grouping


def test_groupings_of_frame_fid():
    a, b = (gaussian(2 * 4 * 6, 16, seed, scale=seed).reshape(2, 4, 6, 16) for seed in (1, 2))
    views = [frechet.set_distance(a[o, v], b[o, v]) for o in range(2) for v in range(4)]
    objects = [frechet.set_distance(a[o].reshape(24, 16), b[o].reshape(24, 16)) for o in range(2)]
    assert frechet.fid_frame(a, b, "view") == pytest.approx(np.mean(views))
    assert frechet.fid_frame(a, b, "object") == pytest.approx(np.mean(objects))
    assert frechet.fid_frame(a, b, "all") == pytest.approx(frechet.set_distance(a.reshape(48, 16), b.reshape(48, 16)))
    with pytest.raises(FrechetError, match="objects, views"):
        frechet.fid_frame(a[0], b[0], "view")
