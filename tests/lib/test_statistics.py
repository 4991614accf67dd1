"""Paired differences and the bootstrap: degenerate cases, order, pairing, and coverage on simulated data."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from stages.lib.statistics import bootstrap_interval, estimate, interval, paired_differences, share_interval


def covered(method, n_objects: int, trials: int = 250) -> float:
    """Share of intervals of normal data with mean 0 that hold 0."""
    rng = np.random.default_rng(5)
    intervals = [method(rng.normal(size=n_objects)) for _ in range(trials)]
    return float(np.mean([low <= 0 <= high for low, high in intervals]))


@pytest.mark.parametrize(
    ("method", "n_objects", "expected"),
    [(bootstrap_interval, 3, 0.75), (bootstrap_interval, 20, 0.92), (interval, 3, 0.95), (interval, 20, 0.92)],
)
def test_coverage_on_normal_data(method, n_objects, expected):
    assert covered(method, n_objects) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_objects_get_students_interval(count):
    values = np.arange(count, dtype=float)
    half = scipy.stats.t.ppf(0.975, count - 1) * scipy.stats.sem(values)
    low, high = interval(values)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=2e-3)
    assert interval(np.arange(6.0)) == bootstrap_interval(np.arange(6.0))


def test_of_three_objects_the_interval_is_their_range():
    assert bootstrap_interval(np.array([0.5, -1.0, 2.0])) == (-1.0, 2.0)


def test_the_interval_approaches_the_normal_one():
    values = np.random.default_rng(1).normal(3.0, 2.0, 200)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_equal_values_have_an_interval_of_one_point():
    assert bootstrap_interval(np.full(4, 0.25)) == (0.25, 0.25)
    found = estimate({("a", "0"): 0.0, ("b", "0"): 0.0})
    assert (found.mean, found.low, found.high, found.significant) == (0.0, 0.0, 0.0, False)


def test_one_object_has_no_interval():
    assert bootstrap_interval(np.array([1.0])) is None
    found = estimate({("a", "0"): 1.0, ("a", "1"): 3.0})
    assert (found.mean, found.low, found.high, found.n_objects, found.n_pairs) == (2.0, None, None, 1, 2)
    assert not found.significant


def test_without_a_pair_there_is_no_estimate():
    assert estimate({}) is None
    assert paired_differences({("a", "0"): 1.0}, {("a", "1"): 1.0}) == {}


def test_order_does_not_matter():
    values = np.random.default_rng(2).normal(size=9)
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1])
    pairs = {(f"object{i}", str(seed)): float(values[i] + 0.1 * seed) for i in range(9) for seed in range(3)}
    assert estimate(pairs) == estimate(dict(reversed(pairs.items())))


def test_seeds_are_averaged_within_their_object():
    # Ten seeds of one object must not outvote one seed of another.
    pairs = {("a", str(seed)): 1.0 for seed in range(10)} | {("b", "0"): 3.0}
    found = estimate(pairs)
    assert (found.mean, found.n_objects, found.n_pairs) == (2.0, 2, 11)
    assert (found.low, found.high) == pytest.approx((2 - 12.706, 2 + 12.706))
    assert not found.significant


def test_differences_are_paired_by_object_and_seed():
    own = {("b", "0"): 5.0, ("a", "0"): 2.0, ("a", "1"): 3.0, ("c", "0"): math.nan}
    base = {("a", "1"): 1.0, ("a", "0"): 1.5, ("b", "1"): 9.0, ("c", "0"): 1.0}
    assert paired_differences(own, base) == {("a", "0"): 0.5, ("a", "1"): 2.0}


# ------------------------------------------------------------------ shares


def test_the_interval_of_shares_stays_in_range():
    shares = np.array([0.0, 0.1, 0.9])
    low, high = interval(shares)
    assert low < 0 < 1 < high
    assert share_interval(shares) == (0.0, 1.0)
    spread = np.array([0.2, 0.3, 0.5, 0.4, 0.3, 0.2, 0.6])
    assert share_interval(spread) == bootstrap_interval(spread)


@pytest.mark.parametrize(("share", "n"), [(0.0, 3), (1.0, 3), (0.5, 10), (1.0, 30)])
def test_equal_shares_leave_room_for_a_participant_who_differs(share, n):
    low, high = share_interval(np.full(n, share))
    differs = 1 - 0.05 ** (1 / n)
    assert (low, high) == pytest.approx((share * (1 - differs), share * (1 - differs) + differs))
    assert low <= share <= high
    # Nobody of n differs with a chance of 5 % when each differs with that chance.
    assert (1 - differs) ** n == pytest.approx(0.05)


def test_one_participant_has_no_interval():
    assert share_interval(np.array([0.4])) is None
