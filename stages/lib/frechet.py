"""Fréchet distances between features of pictures and clips: NumPy, float64, no network and no random numbers.

Vocabulary
----------
- *Features* (N, D): one vector a picture or clip. A *set* distance holds the Gaussian fitted to one set of them
  against another's (Dowson and Landau 1982; FID: Heusel et al. 2017); it needs two vectors a side.
- `fvd_clip` is the number that Consistent4D's script prints as FVD: it holds *one* clip against one clip, so it is
  no set distance, and not comparable with one. `fvd_set` is the set distance over clips.
- `fid_frame` takes pictures as the set, within a *group*: one view, one object with its views, or everything.
  `fid_vid3d` takes clips, each one vector (DisCo's FID-VID).
- Letters: N vectors, D their length, V views, T frames.

Conventions
-----------
- Covariances are divided by N - 1 (np.cov's default, which the papers' scripts use).
- The trace of the root of a product of covariances is a sum of singular or eigenvalues, never a matrix square root:
  `scipy.linalg.sqrtm` hangs on NaN (SciPy 1.16 and 1.17) and breaks on the singular covariances that every set of
  fewer vectors than dimensions has.
- What is not finite is refused before any decomposition.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from stages.cli import StageError

Grouping = Literal["view", "object", "all"]

# A covariance loses exact symmetry to rounding only; more than this, relative to its largest entry, is no covariance.
SYMMETRY_TOLERANCE = 1e-6


class FrechetError(StageError):
    """Features that no distance exists for; the text says which, what was found and what was expected."""


def _checked(features: np.ndarray, name: str, at_least: int) -> np.ndarray:
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or len(values) < at_least:
        raise FrechetError(f"{name} features have shape {values.shape}; expected (N, D) with N at least {at_least}.")
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise FrechetError(f"{name} features hold {bad} NaN or infinite values of {values.size}; expected finite ones.")
    return values


def _both(predicted: np.ndarray, true: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = _checked(predicted, "predicted", at_least), _checked(true, "true", at_least)
    if a.shape[1] != b.shape[1]:
        raise FrechetError(f"predicted features have {a.shape[1]} dimensions, true ones {b.shape[1]}; expected equal.")
    return a, b


# ------------------------------------------------------------------ one clip against one clip


def fvd_clip(predicted: np.ndarray, true: np.ndarray) -> float:
    """Consistent4D's FVD of one clip: squared distance of two logit vectors (D,) plus that of their spreads.

    With one clip a side its script's covariance is the variance of the D logits of that clip (divided by D - 1),
    a number, so the Fréchet distance is |p - t|^2 + (s_p - s_t)^2 with s the two standard deviations. Written down
    like this it does not depend on how NumPy treats a single observation. Raises FrechetError on NaN or infinity.
    """
    a, b = _both(np.atleast_2d(predicted), np.atleast_2d(true), 1)
    if len(a) != 1 or len(b) != 1 or a.shape[1] < 2:
        raise FrechetError(f"fvd_clip was given features {a.shape} and {b.shape}; expected one vector a side.")
    return float(((a - b) ** 2).sum() + (a.std(ddof=1) - b.std(ddof=1)) ** 2)


# ------------------------------------------------------------------ set against set


def frechet_distance(mean: np.ndarray, covariance: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray) -> float:
    """Squared Fréchet (2-Wasserstein) distance of two Gaussians: means (D,), covariances (D, D), singular ones too.

    |m - n|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2); roots from eigenvalues, of which negative ones are rounding
    and count as 0. Never below 0. Raises FrechetError on NaN, infinity, or what is no covariance.
    """
    values = [np.asarray(array, np.float64) for array in (mean, mean_2, covariance, covariance_2)]
    size = values[0].size
    for array, shape in zip(values, ((size,), (size,), (size, size), (size, size)), strict=True):
        if array.shape != shape:
            raise FrechetError(
                f"a mean or covariance has shape {array.shape}; expected {shape} as the first mean says."
            )
        if not np.isfinite(array).all():
            raise FrechetError("a mean or covariance holds NaN or infinity; expected finite numbers.")
    for array in values[2:]:
        if np.abs(array - array.T).max() > SYMMETRY_TOLERANCE * max(np.abs(array).max(), np.finfo(np.float64).tiny):
            raise FrechetError("a covariance is not symmetric; expected one made from features.")
    m, n, a, b = values
    weights, vectors = np.linalg.eigh((a + a.T) / 2)
    root = (vectors * np.sqrt(np.maximum(weights, 0))) @ vectors.T
    product = root @ ((b + b.T) / 2) @ root
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0))
    return max(0.0, float(((m - n) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * roots.sum()))


def set_distance(predicted: np.ndarray, true: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features (N, D) and (M, D), N and M at least 2.

    The root's trace is the nuclear norm of the centred cross-Gram matrix (N, M) divided by sqrt((N - 1)(M - 1)): its
    singular values are the roots of the eigenvalues of the product of the covariances, which are never formed. With
    more vectors than dimensions the covariances are smaller, so `frechet_distance` is used. Raises FrechetError.
    """
    a, b = _both(predicted, true, 2)
    if min(len(a), len(b)) > a.shape[1]:
        return frechet_distance(a.mean(0), _covariance(a), b.mean(0), _covariance(b))
    mean_term = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    a, b = a - a.mean(0), b - b.mean(0)
    degrees, degrees_2 = len(a) - 1, len(b) - 1
    traces = float((a**2).sum() / degrees + (b**2).sum() / degrees_2)
    nuclear = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    return max(0.0, mean_term + traces - 2 * nuclear / math.sqrt(degrees * degrees_2))


def _covariance(features: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(features, rowvar=False))


def small_sample_bias(count: int, dimensions: int) -> float:
    """What `set_distance` gives on average for two sets of `count` vectors of one isotropic Gaussian of variance 1.

    For count well below dimensions: the centred cross-Gram is close to a Gaussian matrix, whose mean nuclear norm is
    8/(3 pi) n^(3/2) sqrt(D) (Marchenko-Pastur), n = count - 1. The true distance is 0 and the largest possible value
    2 D (1 + 1/count): with 28 clips in 400 dimensions four fifths of that scale are bias.
    """
    if not 2 <= count <= dimensions:
        raise FrechetError(
            f"the bias of {count} vectors in {dimensions} dimensions was asked; expected 2 to {dimensions}."
        )
    return 2 * dimensions * (1 + 1 / count) - 16 / (3 * math.pi) * math.sqrt(dimensions * (count - 1))


def kernel_distance(predicted: np.ndarray, true: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of (N, D) and (M, D), kernel (x.y / D + 1)^3; can be below 0.

    KID's (Binkowski et al. 2018): beside a set distance, since its mean does not depend on N. Raises FrechetError.
    """
    a, b = _both(predicted, true, 2)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        gram = kernel(x, x)
        return float((gram.sum() - np.trace(gram)) / (len(x) * (len(x) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def fvd_set(predicted: np.ndarray, true: np.ndarray) -> float:
    """FVD over the set of clips: I3D logits (N, 400) of N and M clips; as `set_distance` (Unterthiner et al. 2018)."""
    return set_distance(predicted, true)


def fid_vid3d(predicted: np.ndarray, true: np.ndarray) -> float:
    """DisCo's FID-VID: 3D-ResNet-50 features (N, 2048), one vector a clip; as `set_distance`."""
    return set_distance(predicted, true)


def fid_frame(predicted: np.ndarray, true: np.ndarray, grouping: Grouping) -> float:
    """Mean over groups of the Inception FID of their frames; features (O, V, T, D) of O objects.

    The papers' "FID-VID" most likely is "the average FID of all frames" (STAG4D issue 24), which leaves open over
    which frames one FID is taken: those of one `view`, of one `object`, or `all`. Raises FrechetError.
    """
    a, b = np.asarray(predicted), np.asarray(true)
    if a.ndim != 4 or a.shape != b.shape:
        raise FrechetError(
            f"fid_frame was given features {a.shape} and {b.shape}; expected one (objects, views, T, D)."
        )
    kept = {"view": 2, "object": 1, "all": 0}[grouping]
    groups = [array.reshape(math.prod(array.shape[:kept]), -1, array.shape[-1]) for array in (a, b)]
    return float(np.mean([set_distance(p, t) for p, t in zip(*groups, strict=True)]))
