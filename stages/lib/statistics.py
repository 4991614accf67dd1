"""Paired differences and their bootstrap interval: NumPy, one fixed seed, no other randomness.

Vocabulary
----------
- An *object* is a scene, the unit that is drawn at random: other seeds of one scene are not new evidence about
  other scenes, so seeds are averaged within their object before anything is resampled.
- A *pair* is one object and seed that both sides have; whatever only one side has is left out.
- The *interval*, 95 %, is Efron's percentile bootstrap over objects, and with fewer than six of them Student's t.

Why two: for normal differences the bootstrap covers the true mean in 75 % of cases with 3 objects (it is then their
range, so three equal signs, one chance in four, would already count), 87 % with 7, 92 % with 20. Student's t covers
95 % with any number of them, if they are normal (a test measures some of these).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 20_000
# Quantiles of Student's t for CONFIDENCE, by the number of objects.
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
BOOTSTRAP_SEED = 0

ONE_OBJECT = "one object: no interval"
NO_PAIR = "no object and seed that both sides have"
AGREES, DISAGREES, NOT_SIGNIFICANT, NOT_RUN = VERDICTS = ("agrees", "disagrees", "not significant", "not run")
# Which sign of a difference a claim expects.
DIRECTIONS = {"higher": 1.0, "lower": -1.0}

Scores = Mapping[tuple[str, str], float]
"""Score of each fit, by object and seed."""


@dataclass(frozen=True)
class Estimate:
    """Mean over objects of a paired difference, and its interval."""

    mean: float
    low: float | None
    high: float | None
    """None with one object"""
    n_objects: int
    n_pairs: int

    @property
    def significant(self) -> bool:
        """Whether there is an interval and 0 lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def bootstrap_interval(values: np.ndarray) -> tuple[float, float] | None:
    """Ends of the interval of the mean of values (n,), one an object; None when n < 2.

    Equal values in any order give equal bits.
    """
    if len(values) < 2:
        return None
    values = np.sort(np.asarray(values, np.float64))
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Ends of the interval of the mean of values (n,), one an object; None when n < 2."""
    if len(values) not in STUDENT:
        return bootstrap_interval(values)
    values = np.sort(np.asarray(values, np.float64))
    half = STUDENT[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def share_interval(shares: np.ndarray) -> tuple[float, float] | None:
    """Ends of the interval of the mean of shares (n,) in [0, 1], one a participant; None when n < 2.

    As `interval`, kept inside [0, 1]. Where all are equal, resampling them says nothing, and the interval is what n
    equal draws leave open: with CONFIDENCE a further one differs with a chance of at most 1 - (1 - CONFIDENCE)^(1/n)
    (the exact form of the "rule of three", Hanley and Lippman-Hand 1983), and may then be anything in [0, 1].
    """
    shares = np.asarray(shares, np.float64)
    found = interval(shares)
    if found is None:
        return None
    if (shares == shares[0]).all():
        same, other = float(shares[0]), 1 - (1 - CONFIDENCE) ** (1 / len(shares))
        return same * (1 - other), same * (1 - other) + other
    return max(found[0], 0.0), min(found[1], 1.0)


def paired_differences(scores: Scores, base: Scores) -> dict[tuple[str, str], float]:
    """Score minus the base's for every pair, sorted by object and seed; NaN on either side is no score."""
    differences = {key: scores[key] - base[key] for key in sorted(scores) if key in base}
    return {key: value for key, value in differences.items() if np.isfinite(value)}


def estimate(differences: Mapping[tuple[str, str], float]) -> Estimate | None:
    """Mean over objects of the mean over seeds, with its interval; None without any pair."""
    by_object: dict[str, list[float]] = {}
    for (name, _), value in sorted(differences.items()):
        by_object.setdefault(name, []).append(value)
    if not by_object:
        return None
    means = np.sort([np.mean(values) for values in by_object.values()])
    low, high = interval(means) or (None, None)
    return Estimate(float(means.mean()), low, high, len(means), len(differences))


def verdict(found: Estimate | None, direction: str) -> str:
    """What a difference says about a claim that expects it in this direction, a name of DIRECTIONS."""
    if found is None:
        return NOT_RUN
    if not found.significant:
        return NOT_SIGNIFICANT
    return AGREES if found.mean * DIRECTIONS[direction] > 0 else DISAGREES
