"""Colours from spherical harmonics, degree 0 to 3, as Numba kernels (no torch).

Basis and signs are those of the INRIA 3DGS code and gsplat (real harmonics with the Condon-Shortley phase,
Sloan 2013). colour = max(0, SH(direction) + 0.5), direction = (mean - camera position), normalised.
Letters: V views, N gaussians, K = (degree + 1)^2 bases. sh is (N,K,3), colours (V,N,3); with K = 1 the
colour does not depend on the view and is stored once, (1,N,3).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

f4 = np.float32

SH_C0 = f4(math.sqrt(1 / math.pi) / 2)
SH_C1 = f4(math.sqrt(3 / math.pi) / 2)
SH_C2_XY = f4(math.sqrt(15 / math.pi) / 2)
SH_C2_ZZ = f4(math.sqrt(5 / math.pi) / 4)
SH_C2_XX = f4(math.sqrt(15 / math.pi) / 4)
SH_C3_OUTER = f4(math.sqrt(35 / (2 * math.pi)) / 4)
SH_C3_XYZ = f4(math.sqrt(105 / math.pi) / 2)
SH_C3_INNER = f4(math.sqrt(21 / (2 * math.pi)) / 4)
SH_C3_ZZZ = f4(math.sqrt(7 / math.pi) / 4)
SH_C3_XX_YY = f4(math.sqrt(105 / math.pi) / 4)

GAUSSIANS_PER_BLOCK = 256  # one task of the thread pool: big enough to hide its start
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}  # not nnan: sh may hold NaN
JIT = {"fastmath": FASTMATH, "error_model": "numpy", "cache": True}


def bases_of_degree(degree: int) -> int:
    """K = (degree + 1)^2."""
    return (degree + 1) ** 2


@njit(**JIT)
def fill_basis(x, y, z, basis):
    """The K basis functions at a unit direction, written into basis (K,)."""
    count = basis.shape[0]
    basis[0] = SH_C0
    if count < 4:
        return
    basis[1] = -SH_C1 * y
    basis[2] = SH_C1 * z
    basis[3] = -SH_C1 * x
    if count < 9:
        return
    xx, yy, zz = x * x, y * y, z * z
    basis[4] = SH_C2_XY * x * y
    basis[5] = -SH_C2_XY * y * z
    basis[6] = SH_C2_ZZ * (f4(2.0) * zz - xx - yy)
    basis[7] = -SH_C2_XY * x * z
    basis[8] = SH_C2_XX * (xx - yy)
    if count < 16:
        return
    basis[9] = -SH_C3_OUTER * y * (f4(3.0) * xx - yy)
    basis[10] = SH_C3_XYZ * x * y * z
    basis[11] = -SH_C3_INNER * y * (f4(4.0) * zz - xx - yy)
    basis[12] = SH_C3_ZZZ * z * (f4(2.0) * zz - f4(3.0) * xx - f4(3.0) * yy)
    basis[13] = -SH_C3_INNER * x * (f4(4.0) * zz - xx - yy)
    basis[14] = SH_C3_XX_YY * z * (xx - yy)
    basis[15] = -SH_C3_OUTER * x * (xx - f4(3.0) * yy)


@njit(**JIT)
def add_direction_gradient(x, y, z, weights, gradient):
    """Add sum_k weights[k] d basis[k] / d(x, y, z) to gradient (3,). weights is (K,), K >= 4."""
    two, three, four, six, eight = f4(2.0), f4(3.0), f4(4.0), f4(6.0), f4(8.0)
    gradient[0] -= SH_C1 * weights[3]
    gradient[1] -= SH_C1 * weights[1]
    gradient[2] += SH_C1 * weights[2]
    if weights.shape[0] < 9:
        return
    w4, w5, w7 = SH_C2_XY * weights[4], SH_C2_XY * weights[5], SH_C2_XY * weights[7]
    w6, w8 = SH_C2_ZZ * weights[6], SH_C2_XX * weights[8]
    gradient[0] += w4 * y - w7 * z - two * w6 * x + two * w8 * x
    gradient[1] += w4 * x - w5 * z - two * w6 * y - two * w8 * y
    gradient[2] += four * w6 * z - w5 * y - w7 * x
    if weights.shape[0] < 16:
        return
    xx, yy, zz = x * x, y * y, z * z
    w9, w15 = SH_C3_OUTER * weights[9], SH_C3_OUTER * weights[15]
    w11, w13 = SH_C3_INNER * weights[11], SH_C3_INNER * weights[13]
    w10, w12, w14 = SH_C3_XYZ * weights[10], SH_C3_ZZZ * weights[12], SH_C3_XX_YY * weights[14]
    gradient[0] += -six * w9 * x * y + w10 * y * z + two * w11 * x * y - six * w12 * x * z
    gradient[0] += w13 * (three * xx + yy - four * zz) + two * w14 * x * z + three * w15 * (yy - xx)
    gradient[1] += three * w9 * (yy - xx) + w10 * x * z + w11 * (xx + three * yy - four * zz)
    gradient[1] += -six * w12 * y * z + two * w13 * x * y - two * w14 * y * z + six * w15 * x * y
    gradient[2] += w10 * x * y - eight * w11 * y * z + w12 * (six * zz - three * xx - three * yy)
    gradient[2] += -eight * w13 * x * z + w14 * (xx - yy)


@njit(**JIT)
def unit_direction(mean, position):
    """Unit vector from a camera to a mean, and 1 / distance (0 where they coincide)."""
    dx, dy, dz = mean[0] - position[0], mean[1] - position[1], mean[2] - position[2]
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    inverse = f4(1.0) / length if length > f4(0.0) else f4(0.0)
    return dx * inverse, dy * inverse, dz * inverse, inverse


@njit(**JIT)
def constant_colors(sh, colors):
    """`colors_from_sh` for K = 1, where the direction does not matter: (N,1,3) to (N,3)."""
    for i in range(sh.shape[0]):
        for c in range(3):
            colors[i, c] = max(SH_C0 * sh[i, 0, c] + f4(0.5), f4(0.0))


@njit(**JIT)
def constant_colors_backward(colors, d_colors, d_sh):
    """`colors_from_sh_backward` for K = 1: d_colors (N,3) to d_sh (N,1,3)."""
    for i in range(d_sh.shape[0]):
        for c in range(3):
            d_sh[i, 0, c] = SH_C0 * d_colors[i, c] if colors[i, c] > f4(0.0) else f4(0.0)


@njit(**JIT, parallel=True)
def colors_from_sh(means, positions, sh, colors):
    """Fill colors (V or 1, N, 3) from means (N,3), camera positions (V,3) and sh (N,K,3)."""
    if sh.shape[1] == 1:
        constant_colors(sh, colors[0])
        return
    n, count = sh.shape[0], sh.shape[1]
    for block in prange((n + GAUSSIANS_PER_BLOCK - 1) // GAUSSIANS_PER_BLOCK):
        basis = np.empty(count, np.float32)
        first = block * GAUSSIANS_PER_BLOCK
        for i in range(first, min(n, first + GAUSSIANS_PER_BLOCK)):
            for v in range(colors.shape[0]):
                x, y, z, _ = unit_direction(means[i], positions[v])
                fill_basis(x, y, z, basis)
                for c in range(3):
                    value = f4(0.5)
                    for k in range(count):
                        value += basis[k] * sh[i, k, c]
                    colors[v, i, c] = max(value, f4(0.0))


@njit(**JIT, parallel=True)
def colors_from_sh_backward(means, positions, sh, colors, d_colors, d_sh, d_means):
    """Chain d_colors (V or 1, N, 3) to d_sh (N,K,3) and d_means (N,3); both are added to.

    Where the colour is clamped at 0 no gradient passes. With K = 1 the direction has no gradient.
    """
    if sh.shape[1] == 1:
        constant_colors_backward(colors[0], d_colors[0], d_sh)
        return
    n, count = sh.shape[0], sh.shape[1]
    for block in prange((n + GAUSSIANS_PER_BLOCK - 1) // GAUSSIANS_PER_BLOCK):
        basis = np.empty(count, np.float32)
        weights = np.empty(count, np.float32)
        gradient = np.empty(3, np.float32)
        first = block * GAUSSIANS_PER_BLOCK
        for i in range(first, min(n, first + GAUSSIANS_PER_BLOCK)):
            for v in range(d_colors.shape[0]):
                x, y, z, inverse = unit_direction(means[i], positions[v])
                fill_basis(x, y, z, basis)
                weights[:] = f4(0.0)
                for c in range(3):
                    d = d_colors[v, i, c]
                    if d == f4(0.0) or not (colors[v, i, c] > f4(0.0)):
                        continue
                    for k in range(count):
                        d_sh[i, k, c] += basis[k] * d
                        weights[k] += sh[i, k, c] * d
                gradient[:] = f4(0.0)
                add_direction_gradient(x, y, z, weights, gradient)
                # d(unit direction) / d(mean) = (identity - direction direction^T) / distance
                along = gradient[0] * x + gradient[1] * y + gradient[2] * z
                d_means[i, 0] += (gradient[0] - along * x) * inverse
                d_means[i, 1] += (gradient[1] - along * y) * inverse
                d_means[i, 2] += (gradient[2] - along * z) * inverse
