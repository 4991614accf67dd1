"""The SIMD type against NumPy, lane by lane."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from stages.lib.raster import simd

f4 = np.float32


@njit
def _apply(values, out):
    x = simd.load(values, np.uint64(1))
    seven = simd.splat(f4(7.0))
    big = (x > seven) & ~(x >= simd.splat(f4(9.5)))
    simd.store(out, np.uint64(0), (x * x - seven) / (x + seven))
    simd.store(out, np.uint64(8), simd.select(big, -x, simd.ramp()))
    simd.store(out, np.uint64(16), simd.maximum(simd.minimum(simd.floor(x), seven), simd.square_root(simd.ceil(x))))
    return simd.lane_sum(x)


def test_operators_lane_by_lane_and_at_odd_addresses():
    values = (np.arange(9) * 1.4 - 0.1).astype(np.float32)
    out = np.zeros(24, np.float32)
    total = _apply(values, out)
    x = values[1:]
    assert out[:8] == pytest.approx((x * x - 7) / (x + 7), rel=1e-6)
    assert out[8:16] == pytest.approx(np.where((x > 7) & (x < 9.5), -x, np.arange(8)))
    assert out[16:] == pytest.approx(np.maximum(np.minimum(np.floor(x), 7), np.sqrt(np.ceil(x))))
    assert total == pytest.approx(x.sum(), rel=1e-6)


@njit
def _exp2(values, out):
    for i in range(0, values.shape[0], simd.LANES):
        simd.store(out, np.uint64(i), simd.exp2_of_negative(simd.load(values, np.uint64(i))))


def test_exp2_is_accurate_to_four_parts_in_ten_million():
    exponents = np.linspace(-99.5, 0.0, 8000).astype(np.float32)
    out = np.empty_like(exponents)
    _exp2(exponents, out)
    assert np.abs(out / np.exp2(exponents.astype(np.float64)) - 1).max() < 4e-7
    assert out[-1] == pytest.approx(1.0, abs=1e-7)
    # Far below any alpha that is drawn the result stays at 2**-100; NaN becomes that too.
    edge = np.array([-1e30, -np.inf, np.nan, -100, -101, -200, -1e9, -150], np.float32)
    _exp2(edge, out)
    assert out[:8] == pytest.approx(2.0**-100, rel=1e-6)


@njit
def _sums(values, out):
    zero = np.uint64(0)
    simd.prefetch(values, np.uint64(63))
    rows = simd.load(values, zero), simd.load(values, np.uint64(8)), simd.load(values, np.uint64(16))
    more = simd.load(values, np.uint64(24)), simd.load(values, np.uint64(32)), simd.load(values, np.uint64(40))
    last = simd.load(values, np.uint64(48)), simd.load(values, np.uint64(56))
    sums = simd.lane_sums(rows[0], rows[1], rows[2], more[0], more[1], more[2], last[0], last[1])
    simd.store(out, zero, sums)


def test_eight_lane_sums_at_once():
    values = (2.0 ** np.arange(64).reshape(8, 8) % 8191).astype(np.float32)
    out = np.empty(8, np.float32)
    _sums(values.reshape(-1), out)
    assert out.tolist() == values.sum(1).tolist()
