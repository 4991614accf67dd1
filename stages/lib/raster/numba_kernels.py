"""Numba kernels of the CPU rasterizer: plain NumPy arrays in and out, no torch.

Vocabulary
----------
- *record*: what blending needs of one gaussian in one view, 8 float32 (columns below).
- *rect*: first row, last row, first column, last column (inclusive, pixels) of the ellipse on which
  alpha >= 1/255, clipped to the image. An invisible gaussian has first row 1 and last row 0.
- *tile*: TILE_H x TILE_W pixels. A (view, tile) pair is one task of the thread pool.
- *entry*: one (tile, gaussian) pair; the entries of a tile are sorted by depth.
- *segment*: LANES neighbouring pixels of one row in one entry, the unit of blending.
- *slot*: where one entry leaves its partial gradient. Slots of one gaussian are neighbours and are
  added in a fixed order, so gradients are bit-identical for any number of threads, without atomics.
- *plane*: one channel of one row inside a tile's scratch, STRIDE float32 long.
- Letters: V views, N gaussians, H W image size in pixels, S slots. All floats are float32.

Why it is fast
--------------
- Rows of the exact ellipse are visited instead of its bounding box, LANES pixels at a time, in explicit SIMD
  (`simd`). Sums over pixels stay in registers and lanes are added up once per entry.
- The segments of a batch of entries are listed first and blended then: neither waits for the other's latency, and a
  loop over a known count of segments leaves the processor little to guess wrong.
- Depth order visits gaussians at random, so their memory is asked for some entries before: waiting for it was a third
  of the time.
- Projection, both ways, runs on blocks of gaussians in planes at constant distances in one array, so that LLVM
  proves that they do not overlap and vectorises the loop.
- `error_model="numpy"`: Python's check for division by zero alone keeps a loop scalar.
- The backward pass also runs front to back, with one scalar remainder per pixel instead of stored lists.
- A pixel that reached the transmittance cut is marked by a negative transmittance: no branch.

The image model is that of gsplat 1.5 in classic mode (Ye et al. 2024, arXiv:2409.06765), itself EWA
splatting (Zwicker et al. 2001) as used by 3D Gaussian Splatting (Kerbl et al. 2023).
All kernels live in this one file because Numba's cache notices changes of the caller's file only; after a change
in `simd` delete `__pycache__`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from stages.lib.raster.simd import (
    ceil,
    exp2_of_negative,
    floor,
    lane_sum,
    lane_sums,
    load,
    maximum,
    minimum,
    prefetch,
    ramp,
    select,
    splat,
    square_root,
    store,
)

f4 = np.float32

EPS2D = f4(0.3)  # pixels^2 added to the 2D covariance: gsplat's low-pass filter
NEAR_PLANE = f4(0.01)  # world units: gsplat's default
FAR_PLANE = f4(1e10)
ALPHA_MAX = f4(0.999)
ALPHA_MIN = f4(1.0 / 255.0)  # a fainter contribution is skipped
TRANSMITTANCE_MIN = f4(1e-4)  # a gaussian that would bring a pixel to or below this is not blended
FRUSTUM_MARGIN = f4(0.3)  # the projection's slope is clamped at the field of view plus 30 %
FLOAT_MAX = f4(3e38)
LOG2_255 = f4(math.log2(255.0))
REACH2_PER_LOG2 = f4(2.0 * math.log(2.0))
LOG2_E = f4(1.0 / math.log(2.0))
HALF = f4(0.5)

# Columns of a record. (X, Y) projected mean in pixels; (CONIC_XX, XY, YY) inverse of the 2D covariance;
# REACH2 squared Mahalanobis radius at which alpha falls to 1/255; LOG2_OPACITY; DEPTH in camera z.
RECORD_SIZE = 8
X, Y, CONIC_XX, CONIC_XY, CONIC_YY, REACH2, LOG2_OPACITY, DEPTH = range(8)

RECT_SIZE = 4

# Columns of a slot: sums over the pixels of one entry, with v = alpha dL/dalpha and w the blending weight.
SLOT_SIZE = 10
# v, v dx, v dy, v dx^2, v dx dy, v dy^2, then w dL/d(red, green, blue, depth).
V_0, V_X, V_Y, V_XX, V_XY, V_YY, W_RED, W_GREEN, W_BLUE, W_DEPTH = range(10)

TILE_H = 32  # rows: fewer cost more entries (16 measured 5 % slower), more leave too few tasks for the threads
TILE_W = 128  # columns: the scratch of one tile stays inside a 256 KiB L2 cache; 32 measured slower
STRIDE = 144  # TILE_W and two bodies of padding, where the last lanes of a row may write
LANES = 8  # rows are 5 to 6 pixels wide in practice; 16 lanes measured slower
AHEAD = 16  # entries from asking for memory to reading it: depth order is random in memory

BLOCK = 64  # gaussians projected together: a block's 50 planes of this length stay inside a 32 KiB L1 cache

# No nnan or ninf: inputs may hold NaN, and culling relies on comparisons with it.
FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}
JIT = {"fastmath": FASTMATH, "error_model": "numpy", "cache": True}
PARALLEL_JIT = {**JIT, "parallel": True}
INLINE_JIT = {**JIT, "inline": "always"}


@njit(**INLINE_JIT)
def rotation_of_unit_quat(w, x, y, z):
    """Rotation matrix, row by row (9 scalars), of a unit quaternion wxyz."""
    one, two = f4(1.0), f4(2.0)
    return (
        one - two * (y * y + z * z),
        two * (x * y - w * z),
        two * (x * z + w * y),
        two * (x * y + w * z),
        one - two * (x * x + z * z),
        two * (y * z - w * x),
        two * (x * z - w * y),
        two * (y * z + w * x),
        one - two * (x * x + y * y),
    )


@njit(**INLINE_JIT)
def covariance_3d(quat, scale):
    """Upper triangle (xx xy xz yy yz zz) of R diag(scale^2) R^T, world units^2. quat: 4 scalars of any length.

    A zero quaternion gives NaN, and its gaussian is then culled as not finite.
    """
    w, x, y, z = quat
    n = f4(1.0) / math.sqrt(w * w + x * x + y * y + z * z)
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = rotation_of_unit_quat(w * n, x * n, y * n, z * n)
    a, b, c = scale[0] * scale[0], scale[1] * scale[1], scale[2] * scale[2]
    return (
        r0 * r0 * a + r1 * r1 * b + r2 * r2 * c,
        r0 * r3 * a + r1 * r4 * b + r2 * r5 * c,
        r0 * r6 * a + r1 * r7 * b + r2 * r8 * c,
        r3 * r3 * a + r4 * r4 * b + r5 * r5 * c,
        r3 * r6 * a + r4 * r7 * b + r5 * r8 * c,
        r6 * r6 * a + r7 * r7 * b + r8 * r8 * c,
    )


@njit(**JIT)
def pose_of(matrix):
    """A world-to-camera matrix (4,4) as 12 scalars, row by row: a scalar cannot overlap a plane."""
    return (
        matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3],
        matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3],
        matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3],
    )  # fmt: skip


@njit(**JIT)
def lens_of(intrinsics, width, height):
    """Focal x y, centre x y (pixels), then gsplat's bounds low, high of x/z and of y/z in the Jacobian."""
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    margin_x = FRUSTUM_MARGIN * HALF * f4(width) / fx
    margin_y = FRUSTUM_MARGIN * HALF * f4(height) / fy
    return (
        fx, fy, cx, cy,
        -cx / fx - margin_x, (f4(width) - cx) / fx + margin_x,
        -cy / fy - margin_y, (f4(height) - cy) / fy + margin_y,
    )  # fmt: skip


@njit(**INLINE_JIT)
def camera_point(pose, mean):
    """Camera coordinates (3 scalars) of a world point (3 scalars)."""
    x, y, z = mean
    return (
        pose[0] * x + pose[1] * y + pose[2] * z + pose[3],
        pose[4] * x + pose[5] * y + pose[6] * z + pose[7],
        pose[8] * x + pose[9] * y + pose[10] * z + pose[11],
    )


@njit(**INLINE_JIT)
def jacobian_rows(pose, gx, gy, slope_x, slope_y):
    """Rows u and v (3 scalars each) of d(pixel)/d(world point). gx, gy: focal / z; the slopes already clamped."""
    return (
        (gx * (pose[0] - slope_x * pose[8]), gx * (pose[1] - slope_x * pose[9]), gx * (pose[2] - slope_x * pose[10])),
        (gy * (pose[4] - slope_y * pose[8]), gy * (pose[5] - slope_y * pose[9]), gy * (pose[6] - slope_y * pose[10])),
    )


@njit(**INLINE_JIT)
def dot(a, b):
    """Scalar product of two vectors of 3 scalars."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(**INLINE_JIT)
def symmetric_times(s, vector):
    """Product of a symmetric 3x3 matrix (upper triangle s, 6 scalars) and a vector (3 scalars)."""
    a, b, c = vector
    return s[0] * a + s[1] * b + s[2] * c, s[1] * a + s[3] * b + s[4] * c, s[2] * a + s[4] * b + s[5] * c


@njit(**INLINE_JIT)
def project_one(mean, covariance, reach2, shift, pose, lens, width, height):
    """One gaussian in one view, without a branch, so that several run in the lanes of one instruction.

    mean (3 scalars), covariance (6), shift (2, pixels); width and height as float32.
    Returns x, y, conic xx, xy, yy, depth, radius, first row, last row, first column, last column; radius 0 and
    last row < first row where the gaussian cannot be seen. The pixel bounds are clamped while still floats,
    since casting 1e20 to an integer is undefined.
    """
    fx, fy, centre_x, centre_y, low_x, high_x, low_y, high_y = lens
    zero, one = f4(0.0), f4(1.0)
    cx, cy, cz = camera_point(pose, mean)
    ahead = (cz > NEAR_PLANE) & (cz < FAR_PLANE) & (reach2 > zero)
    iz = one / (cz if ahead else one)
    sx = min(max(cx * iz, low_x), high_x)
    sy = min(max(cy * iz, low_y), high_y)
    u, v = jacobian_rows(pose, fx * iz, fy * iz, sx, sy)
    covariance_v = symmetric_times(covariance, v)
    xx = dot(u, symmetric_times(covariance, u)) + EPS2D
    xy = dot(u, covariance_v)
    yy = dot(v, covariance_v) + EPS2D
    determinant = xx * yy - xy * xy
    x = fx * cx * iz + centre_x + shift[0]
    y = fy * cy * iz + centre_y + shift[1]
    # Comparisons with NaN are false, so these three also say that everything is finite.
    finite = (determinant > zero) & (xx * yy < FLOAT_MAX) & (abs(x) + abs(y) < FLOAT_MAX)
    reach = reach2 if ahead else zero
    reach_x = math.sqrt(reach * xx)
    reach_y = math.sqrt(reach * yy)
    row_first = min(max(np.ceil(y - reach_y - HALF), zero), height)
    row_last = max(min(np.floor(y + reach_y - HALF), height - one), -one)
    column_first = min(max(np.ceil(x - reach_x - HALF), zero), width)
    column_last = max(min(np.floor(x + reach_x - HALF), width - one), -one)
    seen = ahead & finite & (row_first <= row_last) & (column_first <= column_last)
    inverse = one / (determinant if seen else one)
    return (
        x if seen else zero,
        y if seen else zero,
        yy * inverse if seen else one,
        -xy * inverse if seen else zero,
        xx * inverse if seen else one,
        cz if seen else one,
        max(reach_x, reach_y) if seen else zero,
        row_first if seen else one,
        row_last if seen else zero,
        column_first if seen else one,
        column_last if seen else zero,
    )


@njit(**INLINE_JIT)
def at(plane, j):
    """Element j of a projection plane. Unsigned, since Numba's wrapping of negative indices costs a select."""
    return np.uint64(plane * BLOCK) + j


@njit(**INLINE_JIT)
def load_3(planes, plane, j):
    """Three neighbouring planes at j."""
    return planes[at(plane, j)], planes[at(plane + 1, j)], planes[at(plane + 2, j)]


@njit(**INLINE_JIT)
def load_4(planes, plane, j):
    """Four neighbouring planes at j."""
    return planes[at(plane, j)], planes[at(plane + 1, j)], planes[at(plane + 2, j)], planes[at(plane + 3, j)]


@njit(**INLINE_JIT)
def load_6(planes, plane, j):
    """Six neighbouring planes at j."""
    return (
        planes[at(plane, j)], planes[at(plane + 1, j)], planes[at(plane + 2, j)],
        planes[at(plane + 3, j)], planes[at(plane + 4, j)], planes[at(plane + 5, j)],
    )  # fmt: skip


# First planes of a forward block: inputs, the 3D covariance, and the eleven results of `project_one`.
F_MEAN, F_QUAT, F_SCALE, F_REACH2, F_SHIFT, F_COVARIANCE, F_RESULT, F_PLANES = 0, 3, 7, 10, 11, 13, 19, 30


@njit(**JIT)
def project_block_covariances(planes):
    """Fill the covariance planes of a forward block."""
    for j in range(np.uint64(BLOCK)):
        s = covariance_3d(load_4(planes, F_QUAT, j), load_3(planes, F_SCALE, j))
        planes[at(F_COVARIANCE, j)] = s[0]
        planes[at(F_COVARIANCE + 1, j)] = s[1]
        planes[at(F_COVARIANCE + 2, j)] = s[2]
        planes[at(F_COVARIANCE + 3, j)] = s[3]
        planes[at(F_COVARIANCE + 4, j)] = s[4]
        planes[at(F_COVARIANCE + 5, j)] = s[5]


@njit(**JIT)
def project_block(planes, pose, lens, width, height):
    """Fill the result planes of a forward block for one view."""
    for j in range(np.uint64(BLOCK)):
        r = project_one(
            load_3(planes, F_MEAN, j), load_6(planes, F_COVARIANCE, j), planes[at(F_REACH2, j)],
            (planes[at(F_SHIFT, j)], planes[at(F_SHIFT + 1, j)]), pose, lens, width, height,
        )  # fmt: skip
        planes[at(F_RESULT, j)] = r[0]
        planes[at(F_RESULT + 1, j)] = r[1]
        planes[at(F_RESULT + 2, j)] = r[2]
        planes[at(F_RESULT + 3, j)] = r[3]
        planes[at(F_RESULT + 4, j)] = r[4]
        planes[at(F_RESULT + 5, j)] = r[5]
        planes[at(F_RESULT + 6, j)] = r[6]
        planes[at(F_RESULT + 7, j)] = r[7]
        planes[at(F_RESULT + 8, j)] = r[8]
        planes[at(F_RESULT + 9, j)] = r[9]
        planes[at(F_RESULT + 10, j)] = r[10]


@njit(**JIT)
def load_planes(planes, plane, array, first, count):
    """Transpose rows first .. first + count of array (N,C) into C planes."""
    for c in range(array.shape[1]):
        for j in range(count):
            planes[(plane + c) * BLOCK + j] = array[first + j, c]


@njit(**JIT)
def store_planes(planes, plane, array, first, count):
    """Transpose C planes into rows first .. first + count of array (N,C)."""
    for c in range(array.shape[1]):
        for j in range(count):
            array[first + j, c] = planes[(plane + c) * BLOCK + j]


@njit(**PARALLEL_JIT)
def project(
    means, quats, scales, log2_opacities, world_to_camera, intrinsics, width, height, shifts,
    covariances, records, rects, radii,
):  # fmt: skip
    """Project N gaussians into V views.

    In: means (N,3), quats (N,4), scales (N,3), log2_opacities (N,), world_to_camera (V,4,4), intrinsics (V,3,3),
    shifts (V,N,2) pixels or empty. Out: covariances (N,6), records (V,N,8), rects (V,N,4), radii (V,N).
    """
    n = means.shape[0]
    for block in prange((n + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        count = min(BLOCK, n - first)
        planes = np.zeros(F_PLANES * BLOCK, np.float32)
        load_planes(planes, F_MEAN, means, first, count)
        load_planes(planes, F_QUAT, quats, first, count)
        load_planes(planes, F_SCALE, scales, first, count)
        for j in range(count):
            # alpha = opacity exp(-reach2 / 2) = 1/255, solved for reach2.
            planes[F_REACH2 * BLOCK + j] = REACH2_PER_LOG2 * (log2_opacities[first + j] + LOG2_255)
        project_block_covariances(planes)
        store_planes(planes, F_COVARIANCE, covariances, first, count)
        for v in range(world_to_camera.shape[0]):
            if shifts.shape[0] > 0:
                load_planes(planes, F_SHIFT, shifts[v], first, count)
            lens = lens_of(intrinsics[v], width, height)
            project_block(planes, pose_of(world_to_camera[v]), lens, f4(width), f4(height))
            for j in range(count):
                record, rect = records[v, first + j], rects[v, first + j]
                result = F_RESULT * BLOCK + j
                record[X], record[Y] = planes[result], planes[result + BLOCK]
                record[CONIC_XX] = planes[result + 2 * BLOCK]
                record[CONIC_XY] = planes[result + 3 * BLOCK]
                record[CONIC_YY] = planes[result + 4 * BLOCK]
                record[REACH2] = planes[F_REACH2 * BLOCK + j]
                record[LOG2_OPACITY] = log2_opacities[first + j]
                record[DEPTH] = planes[result + 5 * BLOCK]
                radii[v, first + j] = planes[result + 6 * BLOCK]
                for k in range(4):
                    rect[k] = np.int32(planes[result + (7 + k) * BLOCK])


@njit(**JIT)
def radix_argsort(keys, values):
    """Stable sort of `values` (int32) by `keys` (uint32), three passes of 11 bits; both are overwritten."""
    n = keys.shape[0]
    other_keys = np.empty(n, np.uint32)
    other_values = np.empty(n, np.int32)
    starts = np.zeros((3, 2048), np.int64)
    for j in range(n):
        key = keys[j]
        starts[0, key & np.uint32(2047)] += 1
        starts[1, (key >> np.uint32(11)) & np.uint32(2047)] += 1
        starts[2, key >> np.uint32(22)] += 1
    for digit in range(3):
        total = 0
        for b in range(2048):
            count = starts[digit, b]
            starts[digit, b] = total
            total += count
    for digit in range(3):
        shift = np.uint32(11 * digit)
        for j in range(n):
            b = (keys[j] >> shift) & np.uint32(2047)
            target = starts[digit, b]
            starts[digit, b] = target + 1
            other_keys[target] = keys[j]
            other_values[target] = values[j]
        keys, other_keys = other_keys, keys
        values, other_values = other_values, values
    return values


@njit(**JIT)
def tile_rect(rect):
    """First and last tile row and tile column that a rect touches."""
    return rect[0] // TILE_H, rect[1] // TILE_H, rect[2] // TILE_W, rect[3] // TILE_W


@njit(**PARALLEL_JIT)
def sort_by_depth(records, rects, tile_columns, order, visible_count, tile_starts, slot_starts):
    """Sort each view by depth and count the entries of each tile and the slots of each gaussian.

    Out: order (V,N) gaussians front to back, its first visible_count[v] are valid; tile_starts (V,tiles+1)
    and slot_starts (V,N+1): running totals inside the view.
    """
    views, n = rects.shape[0], rects.shape[1]
    for v in prange(views):
        keys = np.empty(n, np.uint32)
        visible = np.empty(n, np.int32)
        count = 0
        slots = 0
        starts = tile_starts[v]
        starts[:] = 0
        for i in range(n):
            slot_starts[v, i] = slots
            if rects[v, i, 1] < rects[v, i, 0]:
                continue
            # The bits of positive floats sort like the floats.
            keys[count] = f4(records[v, i, DEPTH]).view(np.uint32)
            visible[count] = i
            count += 1
            top, bottom, left, right = tile_rect(rects[v, i])
            slots += (bottom - top + 1) * (right - left + 1)
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    starts[row * tile_columns + column + 1] += 1
        slot_starts[v, n] = slots
        for t in range(starts.shape[0] - 1):
            starts[t + 1] += starts[t]
        visible_count[v] = count
        order[v, :count] = radix_argsort(keys[:count], visible[:count])


@njit(**PARALLEL_JIT)
def list_entries(
    rects, tile_columns, order, visible_count, tile_starts, slot_starts, view_starts, entry_gaussians, entry_slots
):  # fmt: skip
    """Write the depth-sorted entries of every tile: gaussian and slot of each, both (S,) int32.

    view_starts (V+1,): where each view's entries begin.
    """
    for v in prange(rects.shape[0]):
        cursor = tile_starts[v].copy()
        begin = view_starts[v]
        for j in range(visible_count[v]):
            later = min(j + AHEAD, visible_count[v] - 1)
            prefetch(rects[v], np.uint64(order[v, later]) * np.uint64(RECT_SIZE))
            i = order[v, j]
            slot = begin + slot_starts[v, i]
            top, bottom, left, right = tile_rect(rects[v, i])
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    t = row * tile_columns + column
                    entry_gaussians[begin + cursor[t]] = i
                    entry_slots[begin + cursor[t]] = slot
                    cursor[t] += 1
                    slot += 1


@njit(**INLINE_JIT)
def record_of(records, i):
    """The eight columns of record i."""
    return (
        records[i, X], records[i, Y], records[i, CONIC_XX], records[i, CONIC_XY], records[i, CONIC_YY],
        records[i, REACH2], records[i, LOG2_OPACITY], records[i, DEPTH],
    )  # fmt: skip


@njit(**INLINE_JIT)
def rect_of(rects, i):
    """The four columns of rect i."""
    return rects[i, 0], rects[i, 1], rects[i, 2], rects[i, 3]


# What `fill_segments` keeps of each segment, as planes of one array: where its first pixel lies in the scratch (a whole
# number), dx and dy of that pixel, log2(alpha)'s constant and linear term in dx, last column minus first of its row.
BATCH = 32  # entries whose segments are listed together: some 200 segments, which stay in a 32 KiB L1 cache
SEGMENTS = 2048
POSITION, DX, DY, CONSTANT, LINEAR, WIDTH = (np.uint64(k * SEGMENTS) for k in range(6))
SEGMENTS_SIZE = 6 * SEGMENTS
# A batch ends where the largest gaussian might not fit; its last lanes may write past its end.
SEGMENTS_FULL = SEGMENTS - TILE_H * (TILE_W // LANES) - LANES


@njit(**INLINE_JIT)
def prefetch_gaussian(records, rects, colors, i):
    """Ask for what blending reads of gaussian i."""
    i = np.uint64(i)
    prefetch(records, i * np.uint64(RECORD_SIZE))
    prefetch(rects, i * np.uint64(RECT_SIZE))
    prefetch(colors, i * np.uint64(3))


@njit(**INLINE_JIT)
def fill_segments(record, rect, bounds, row_stride, n, segments):
    """List the segments of one gaussian in one tile from index n on, LANES rows at once; returns their end.

    record: its eight columns. rect: its four. row_stride: float32 from one row of the scratch to the next.
    A row outside the ellipse gets a segment too, in which no pixel reaches 1/255: cheaper than a branch.
    """
    row_first, row_last, column_first, column_last = bounds
    x, y, xx, xy, yy, reach2, log2_opacity, _ = record
    first, last = max(rect[0], row_first), min(rect[1], row_last)
    count = np.uint64(last - first + 1)
    inverse_xx = f4(1.0) / xx
    ratio = splat(xy * inverse_xx)
    reach2_over_xx = splat(reach2 * inverse_xx)
    curvature = splat((xx * yy - xy * xy) * inverse_xx * inverse_xx)
    left, right, beyond = splat(f4(column_first)), splat(f4(column_last)), splat(f4(column_last + 1))
    for chunk in range(np.uint64(0), count, np.uint64(LANES)):
        row = ramp() + splat(f4(first - row_first) + f4(chunk))
        dy = row + splat(f4(row_first) + HALF - y)
        centre = splat(x - HALF) - ratio * dy
        half_width = square_root(maximum(reach2_over_xx - curvature * dy * dy, splat(f4(0.0))))
        begin = minimum(maximum(ceil(centre - half_width), left), beyond)
        end = minimum(floor(centre + half_width), right)
        k = n + chunk
        store(segments, POSITION + k, row * splat(f4(row_stride)) + (begin - left))
        store(segments, DX + k, begin + splat(HALF - x))
        store(segments, DY + k, dy)
        store(segments, CONSTANT + k, splat(log2_opacity) - splat(HALF * LOG2_E * yy) * dy * dy)
        store(segments, LINEAR + k, splat(-LOG2_E * xy) * dy)
        store(segments, WIDTH + k, end - begin)
    total = n + count
    # What is wider than a segment goes on behind. Deciding by the rect is early: by each row's width, a wrong guess
    # of the branch would be noticed only after the square root.
    for part in range(LANES, min(rect[3], column_last) - max(rect[2], column_first) + 1, LANES):
        shift = f4(part)
        for k in range(n, n + count):
            segments[POSITION + total] = segments[POSITION + k] + shift
            segments[DX + total] = segments[DX + k] + shift
            segments[DY + total] = segments[DY + k]
            segments[CONSTANT + total] = segments[CONSTANT + k]
            segments[LINEAR + total] = segments[LINEAR + k]
            total += np.uint64(1) if segments[WIDTH + k] >= shift else np.uint64(0)
    return total


@njit(**INLINE_JIT)
def blend_tile(with_depth, records, rects, colors, gaussians, bounds, scratch):
    """Blend a tile's gaussians front to back into `scratch`, rows of planes (T, r, g, b, depth).

    gaussians: the tile's entries in depth order. bounds: (row_first, row_last, column_first, column_last).
    On return T is the transmittance, negative where the pixel reached the cut.
    """
    segments = np.empty(SEGMENTS_SIZE, np.float32)
    ends = np.empty(BATCH, np.uint64)
    zero, alpha_max, alpha_min = splat(f4(0.0)), splat(ALPHA_MAX), splat(ALPHA_MIN)
    transmittance_min = splat(TRANSMITTANCE_MIN)
    for k in range(bounds[1] - bounds[0] + 1):
        scratch[k * 5 * STRIDE : (k * 5 + 1) * STRIDE] = f4(1.0)
        scratch[(k * 5 + 1) * STRIDE : (k * 5 + 5) * STRIDE] = f4(0.0)
    total = np.uint64(gaussians.shape[0])
    first = np.uint64(0)
    while first < total:
        batch, n = np.uint64(0), np.uint64(0)
        while batch < min(total - first, np.uint64(BATCH)) and n <= SEGMENTS_FULL:
            i = np.uint64(gaussians[first + batch])
            later = min(first + batch + np.uint64(AHEAD), total - np.uint64(1))
            prefetch_gaussian(records, rects, colors, gaussians[later])
            n = fill_segments(record_of(records, i), rect_of(rects, i), bounds, 5 * STRIDE, n, segments)
            ends[batch] = n
            batch += np.uint64(1)
        s = np.uint64(0)
        for e in range(batch):
            i = np.uint64(gaussians[first + e])
            depth = splat(records[i, DEPTH])
            red, green, blue = splat(colors[i, 0]), splat(colors[i, 1]), splat(colors[i, 2])
            quadratic = splat(-HALF * LOG2_E * records[i, CONIC_XX])
            while s < ends[e]:
                p = np.uint64(np.int64(segments[POSITION + s]))
                dx = ramp() + splat(segments[DX + s])
                linear, constant = splat(segments[LINEAR + s]), splat(segments[CONSTANT + s])
                alpha = minimum(exp2_of_negative((quadratic * dx + linear) * dx + constant), alpha_max)
                alpha = select(alpha >= alpha_min, alpha, zero)
                t = load(scratch, p)
                weight = alpha * t
                after = t - weight
                open_ = after > transmittance_min
                weight = select(open_, weight, zero)
                store(scratch, p, select(open_, after, minimum(t, -t)))
                p += np.uint64(STRIDE)
                store(scratch, p, load(scratch, p) + weight * red)
                p += np.uint64(STRIDE)
                store(scratch, p, load(scratch, p) + weight * green)
                p += np.uint64(STRIDE)
                store(scratch, p, load(scratch, p) + weight * blue)
                if with_depth:
                    p += np.uint64(STRIDE)
                    store(scratch, p, load(scratch, p) + weight * depth)
                s += np.uint64(1)
        first += batch


@njit(**JIT)
def blend_tile_color(records, rects, colors, gaussians, bounds, scratch):
    """`blend_tile` without the depth channel, decided at compile time."""
    blend_tile(False, records, rects, colors, gaussians, bounds, scratch)


@njit(**JIT)
def blend_tile_color_depth(records, rects, colors, gaussians, bounds, scratch):
    """`blend_tile` with the depth channel, decided at compile time."""
    blend_tile(True, records, rects, colors, gaussians, bounds, scratch)


@njit(**JIT)
def tile_bounds(tile, tile_columns, width, height):
    """First row, last row, first column, last column (inclusive) of a tile, clipped to the image."""
    row = (tile // tile_columns) * TILE_H
    column = (tile % tile_columns) * TILE_W
    return row, min(row + TILE_H, height) - 1, column, min(column + TILE_W, width) - 1


@njit(**PARALLEL_JIT)
def blend_forward(
    records, rects, colors, tile_columns, tile_starts, view_starts, entry_gaussians, background, image, alpha, depth
):  # fmt: skip
    """Blend all views. colors (V or 1, N, 3); background (V,3).

    Out: image (V,H,W,3), alpha (V,H,W), depth (V,H,W) or empty: then no depth is blended.
    """
    tiles = tile_starts.shape[1] - 1
    height, width = alpha.shape[1], alpha.shape[2]
    with_depth = depth.shape[0] > 0
    color_views = colors.shape[0]
    for task in prange(alpha.shape[0] * tiles):
        v, tile = task // tiles, task % tiles
        bounds = tile_bounds(tile, tile_columns, width, height)
        first, last = view_starts[v] + tile_starts[v, tile], view_starts[v] + tile_starts[v, tile + 1]
        color = colors[v if color_views > 1 else 0]
        scratch = np.empty(TILE_H * 5 * STRIDE, np.float32)
        if with_depth:
            blend_tile_color_depth(records[v], rects[v], color, entry_gaussians[first:last], bounds, scratch)
        else:
            blend_tile_color(records[v], rects[v], color, entry_gaussians[first:last], bounds, scratch)
        for row in range(bounds[0], bounds[1] + 1):
            start = (row - bounds[0]) * 5 * STRIDE - bounds[2]
            for column in range(bounds[2], bounds[3] + 1):
                p = start + column
                t = abs(scratch[p])
                alpha[v, row, column] = f4(1.0) - t
                for c in range(3):
                    image[v, row, column, c] = scratch[p + (c + 1) * STRIDE] + t * background[v, c]
                if with_depth:
                    depth[v, row, column] = scratch[p + 4 * STRIDE]


@njit(**INLINE_JIT)
def blend_tile_backward(with_depth, records, rects, colors, gaussians, slots, bounds, scratch, gradients):
    """Gradients of `blend_tile`, front to back; entry e leaves its ten sums in row slots[e] of the flat gradients.

    scratch: rows of planes (T, remainder, dL/d red, dL/d green, dL/d blue, dL/d depth). With g the gradient of
    the pixel's outputs, the remainder is what g collects behind the current gaussian,
    R = <pixel, g> - sum of <contributions so far, g>, and
    alpha dL/dalpha = weight <color, g> - R alpha / (1 - alpha).
    """
    segments = np.empty(SEGMENTS_SIZE, np.float32)
    ends = np.empty(BATCH, np.uint64)
    zero, one, alpha_max, alpha_min = splat(f4(0.0)), splat(f4(1.0)), splat(ALPHA_MAX), splat(ALPHA_MIN)
    transmittance_min = splat(TRANSMITTANCE_MIN)
    total = np.uint64(gaussians.shape[0])
    first = np.uint64(0)
    while first < total:
        batch, n = np.uint64(0), np.uint64(0)
        while batch < min(total - first, np.uint64(BATCH)) and n <= SEGMENTS_FULL:
            i = np.uint64(gaussians[first + batch])
            later = min(first + batch + np.uint64(AHEAD), total - np.uint64(1))
            prefetch_gaussian(records, rects, colors, gaussians[later])
            n = fill_segments(record_of(records, i), rect_of(rects, i), bounds, 6 * STRIDE, n, segments)
            slot = np.uint64(slots[first + batch]) * np.uint64(SLOT_SIZE)
            prefetch(gradients, slot)
            prefetch(gradients, slot + np.uint64(SLOT_SIZE - 1))
            ends[batch] = n
            batch += np.uint64(1)
        s = np.uint64(0)
        for e in range(batch):
            i = np.uint64(gaussians[first + e])
            depth = splat(records[i, DEPTH])
            red, green, blue = splat(colors[i, 0]), splat(colors[i, 1]), splat(colors[i, 2])
            quadratic = splat(-HALF * LOG2_E * records[i, CONIC_XX])
            v_0, v_x, v_y, v_xx, v_xy, v_yy = zero, zero, zero, zero, zero, zero
            w_red, w_green, w_blue, w_depth = zero, zero, zero, zero
            while s < ends[e]:
                p = np.uint64(np.int64(segments[POSITION + s]))
                dx, dy = ramp() + splat(segments[DX + s]), splat(segments[DY + s])
                linear, constant = splat(segments[LINEAR + s]), splat(segments[CONSTANT + s])
                unclamped = exp2_of_negative((quadratic * dx + linear) * dx + constant)
                seen = unclamped >= alpha_min
                alpha = select(seen, minimum(unclamped, alpha_max), zero)
                t = load(scratch, p)
                weight = alpha * t
                after = t - weight
                open_ = after > transmittance_min
                weight = select(open_, weight, zero)
                store(scratch, p, select(open_, after, minimum(t, -t)))
                g_red = load(scratch, p + np.uint64(2 * STRIDE))
                g_green = load(scratch, p + np.uint64(3 * STRIDE))
                g_blue = load(scratch, p + np.uint64(4 * STRIDE))
                gain = red * g_red + green * g_green + blue * g_blue
                w_red += weight * g_red
                w_green += weight * g_green
                w_blue += weight * g_blue
                if with_depth:
                    g_depth = load(scratch, p + np.uint64(5 * STRIDE))
                    gain += depth * g_depth
                    w_depth += weight * g_depth
                gain *= weight
                p += np.uint64(STRIDE)
                remainder = load(scratch, p) - gain
                store(scratch, p, remainder)
                v = gain - remainder * (alpha / (one - alpha))
                v = select(seen & open_ & (unclamped < alpha_max), v, zero)
                vx, vy = v * dx, v * dy
                v_0 += v
                v_x += vx
                v_y += vy
                v_xx += vx * dx
                v_xy += vx * dy
                v_yy += vy * dy
                s += np.uint64(1)
            slot = np.uint64(slots[first + e]) * np.uint64(SLOT_SIZE)
            store(gradients, slot, lane_sums(v_0, v_x, v_y, v_xx, v_xy, v_yy, w_red, w_green))
            gradients[slot + np.uint64(W_BLUE)] = lane_sum(w_blue)
            gradients[slot + np.uint64(W_DEPTH)] = lane_sum(w_depth) if with_depth else f4(0.0)
        first += batch


@njit(**JIT)
def blend_tile_backward_color(records, rects, colors, gaussians, slots, bounds, scratch, gradients):
    """`blend_tile_backward` without a gradient of depth, decided at compile time."""
    blend_tile_backward(False, records, rects, colors, gaussians, slots, bounds, scratch, gradients)


@njit(**JIT)
def blend_tile_backward_color_depth(records, rects, colors, gaussians, slots, bounds, scratch, gradients):
    """`blend_tile_backward` with a gradient of depth, decided at compile time."""
    blend_tile_backward(True, records, rects, colors, gaussians, slots, bounds, scratch, gradients)


@njit(**PARALLEL_JIT)
def blend_backward(
    records, rects, colors, tile_columns, tile_starts, view_starts, entry_gaussians, entry_slots,
    image, alpha, depth, grad_image, grad_alpha, grad_depth, gradients,
):  # fmt: skip
    """Backward of `blend_forward`: gradients (S,10) of every slot.

    grad_image (V,H,W,3), grad_alpha (V,H,W), grad_depth (V,H,W) or empty: then depth is not differentiated.
    """
    tiles = tile_starts.shape[1] - 1
    height, width = alpha.shape[1], alpha.shape[2]
    with_depth = grad_depth.shape[0] > 0
    flat = gradients.reshape(-1)
    color_views = colors.shape[0]
    for task in prange(alpha.shape[0] * tiles):
        v, tile = task // tiles, task % tiles
        bounds = tile_bounds(tile, tile_columns, width, height)
        first, last = view_starts[v] + tile_starts[v, tile], view_starts[v] + tile_starts[v, tile + 1]
        color = colors[v if color_views > 1 else 0]
        # Zero, so that the padding lanes hold no NaN left in memory.
        scratch = np.zeros(TILE_H * 6 * STRIDE, np.float32)
        for row in range(bounds[0], bounds[1] + 1):
            start = (row - bounds[0]) * 6 * STRIDE - bounds[2]
            for column in range(bounds[2], bounds[3] + 1):
                p = start + column
                remainder = -grad_alpha[v, row, column] * (f4(1.0) - alpha[v, row, column])
                for c in range(3):
                    g = grad_image[v, row, column, c]
                    scratch[p + (c + 2) * STRIDE] = g
                    remainder += g * image[v, row, column, c]
                if with_depth:
                    g = grad_depth[v, row, column]
                    scratch[p + 5 * STRIDE] = g
                    remainder += g * depth[v, row, column]
                scratch[p] = f4(1.0)
                scratch[p + STRIDE] = remainder
        gaussians, slots = entry_gaussians[first:last], entry_slots[first:last]
        if with_depth:
            blend_tile_backward_color_depth(records[v], rects[v], color, gaussians, slots, bounds, scratch, flat)
        else:
            blend_tile_backward_color(records[v], rects[v], color, gaussians, slots, bounds, scratch, flat)


@njit(**INLINE_JIT)
def project_one_backward(mean, covariance, conic, sums, seen, pose, lens):
    """Chain one view's sums over pixels to the 3D parameters of one gaussian, without a branch.

    mean (3 scalars), covariance (6), conic (3), sums (6: v_0 is not used here, then the depth's), seen: bool.
    Returns d mean (3 scalars), d covariance (6; off-diagonals once, of the full symmetric matrix), d mean2d (2).
    """
    fx, fy, _, _, low_x, high_x, low_y, high_y = lens
    zero, one, two = f4(0.0), f4(1.0), f4(2.0)
    v_x, v_y, v_xx, v_xy, v_yy, w_depth = sums
    a, b, c = conic
    grad_x, grad_y = a * v_x + b * v_y, b * v_x + c * v_y
    # d(covariance) = -conic d(conic) conic, with d(conic) = -1/2 [v_xx v_xy; v_xy v_yy].
    h0, h1 = a * v_xx + b * v_xy, a * v_xy + b * v_yy
    h2, h3 = b * v_xx + c * v_xy, b * v_xy + c * v_yy
    d_xx, d_xy, d_yy = HALF * (h0 * a + h1 * b), HALF * (h0 * b + h1 * c), HALF * (h2 * b + h3 * c)
    cx, cy, cz = camera_point(pose, mean)
    iz = one / (cz if seen else one)
    slope_x, slope_y = cx * iz, cy * iz
    sx, sy = min(max(slope_x, low_x), high_x), min(max(slope_y, low_y), high_y)
    gx, gy = fx * iz, fy * iz
    u, v = jacobian_rows(pose, gx, gy, sx, sy)
    e = (d_xx * u[0] + d_xy * v[0], d_xx * u[1] + d_xy * v[1], d_xx * u[2] + d_xy * v[2])
    f = (d_xy * u[0] + d_yy * v[0], d_xy * u[1] + d_yy * v[1], d_xy * u[2] + d_yy * v[2])
    # Gradients of the Jacobian's rows are 2 covariance e and 2 covariance f; along the camera's axes:
    d_u, d_v = symmetric_times(covariance, e), symmetric_times(covariance, f)
    right_u = two * (pose[0] * d_u[0] + pose[1] * d_u[1] + pose[2] * d_u[2])
    forward_u = two * (pose[8] * d_u[0] + pose[9] * d_u[1] + pose[10] * d_u[2])
    down_v = two * (pose[4] * d_v[0] + pose[5] * d_v[1] + pose[6] * d_v[2])
    forward_v = two * (pose[8] * d_v[0] + pose[9] * d_v[1] + pose[10] * d_v[2])
    # The slope x/z reaches the projected mean always, the Jacobian only where it is not clamped.
    d_slope_x = fx * grad_x - (gx * forward_u if sx == slope_x else zero)
    d_slope_y = fy * grad_y - (gy * forward_v if sy == slope_y else zero)
    d_iz = fx * (right_u - sx * forward_u) + fy * (down_v - sy * forward_v) + d_slope_x * cx + d_slope_y * cy
    d_cx, d_cy, d_cz = d_slope_x * iz, d_slope_y * iz, w_depth - iz * iz * d_iz
    return (
        pose[0] * d_cx + pose[4] * d_cy + pose[8] * d_cz if seen else zero,
        pose[1] * d_cx + pose[5] * d_cy + pose[9] * d_cz if seen else zero,
        pose[2] * d_cx + pose[6] * d_cy + pose[10] * d_cz if seen else zero,
        u[0] * e[0] + v[0] * f[0] if seen else zero,
        u[0] * e[1] + v[0] * f[1] if seen else zero,
        u[0] * e[2] + v[0] * f[2] if seen else zero,
        u[1] * e[1] + v[1] * f[1] if seen else zero,
        u[1] * e[2] + v[1] * f[2] if seen else zero,
        u[2] * e[2] + v[2] * f[2] if seen else zero,
        grad_x if seen else zero,
        grad_y if seen else zero,
    )


@njit(**INLINE_JIT)
def covariance_3d_backward(quat, scale, s):
    """Chain the gradient s (6 scalars) of the 3D covariance to the quaternion as given (4) and the scales (3)."""
    two, four = f4(2.0), f4(4.0)
    n = f4(1.0) / math.sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3])
    w, x, y, z = quat[0] * n, quat[1] * n, quat[2] * n, quat[3] * n
    r0, r1, r2, r3, r4, r5, r6, r7, r8 = rotation_of_unit_quat(w, x, y, z)
    # Columns of S R: dotted with R's they give d(scale^2), times 2 scale^2 they are d(R).
    m0, m3, m6 = symmetric_times(s, (r0, r3, r6))
    m1, m4, m7 = symmetric_times(s, (r1, r4, r7))
    m2, m5, m8 = symmetric_times(s, (r2, r5, r8))
    d_scale_x = two * scale[0] * (m0 * r0 + m3 * r3 + m6 * r6)
    d_scale_y = two * scale[1] * (m1 * r1 + m4 * r4 + m7 * r7)
    d_scale_z = two * scale[2] * (m2 * r2 + m5 * r5 + m8 * r8)
    a, b, c = two * scale[0] * scale[0], two * scale[1] * scale[1], two * scale[2] * scale[2]
    m0, m3, m6 = a * m0, a * m3, a * m6
    m1, m4, m7 = b * m1, b * m4, b * m7
    m2, m5, m8 = c * m2, c * m5, c * m8
    d_w = two * (z * (m3 - m1) + y * (m2 - m6) + x * (m7 - m5))
    d_x = two * (y * (m1 + m3) + z * (m2 + m6) + w * (m7 - m5)) - four * x * (m4 + m8)
    d_y = two * (x * (m1 + m3) + z * (m5 + m7) + w * (m2 - m6)) - four * y * (m0 + m8)
    d_z = two * (x * (m2 + m6) + y * (m5 + m7) + w * (m3 - m1)) - four * z * (m0 + m4)
    # Only the part across the quaternion turns anything: its length is normalised away.
    along = w * d_w + x * d_x + y * d_y + z * d_z
    return (
        (d_w - w * along) * n,
        (d_x - x * along) * n,
        (d_y - y * along) * n,
        (d_z - z * along) * n,
        d_scale_x,
        d_scale_y,
        d_scale_z,
    )


# First planes of a backward block: inputs of all views, inputs of one view, then what is summed over views.
B_MEAN, B_COVARIANCE, B_QUAT, B_SCALE, B_CONIC, B_SUMS, B_SEEN = 0, 3, 9, 13, 16, 19, 29
B_D_MEAN, B_D_COVARIANCE, B_D_MEAN2D, B_ALPHA, B_ANY_SEEN, B_D_QUAT, B_D_SCALE = 30, 33, 39, 41, 42, 43, 47
B_PLANES = 50


@njit(**JIT)
def project_block_backward(planes, pose, lens):
    """Add one view's gradients to the planes of a backward block."""
    for j in range(np.uint64(BLOCK)):
        seen = planes[at(B_SEEN, j)] > f4(0.0)
        sums = (
            planes[at(B_SUMS + V_X, j)], planes[at(B_SUMS + V_Y, j)], planes[at(B_SUMS + V_XX, j)],
            planes[at(B_SUMS + V_XY, j)], planes[at(B_SUMS + V_YY, j)], planes[at(B_SUMS + W_DEPTH, j)],
        )  # fmt: skip
        g = project_one_backward(
            load_3(planes, B_MEAN, j), load_6(planes, B_COVARIANCE, j), load_3(planes, B_CONIC, j),
            sums, seen, pose, lens,
        )  # fmt: skip
        planes[at(B_D_MEAN, j)] += g[0]
        planes[at(B_D_MEAN + 1, j)] += g[1]
        planes[at(B_D_MEAN + 2, j)] += g[2]
        planes[at(B_D_COVARIANCE, j)] += g[3]
        planes[at(B_D_COVARIANCE + 1, j)] += g[4]
        planes[at(B_D_COVARIANCE + 2, j)] += g[5]
        planes[at(B_D_COVARIANCE + 3, j)] += g[6]
        planes[at(B_D_COVARIANCE + 4, j)] += g[7]
        planes[at(B_D_COVARIANCE + 5, j)] += g[8]
        planes[at(B_D_MEAN2D, j)] = g[9]
        planes[at(B_D_MEAN2D + 1, j)] = g[10]
        planes[at(B_ALPHA, j)] += planes[at(B_SUMS + V_0, j)]
        planes[at(B_ANY_SEEN, j)] += planes[at(B_SEEN, j)]


@njit(**JIT)
def covariance_block_backward(planes):
    """Fill the planes of d quat and d scale of a backward block; zero where no view sees the gaussian."""
    zero = f4(0.0)
    for j in range(np.uint64(BLOCK)):
        seen = planes[at(B_ANY_SEEN, j)] > zero
        g = covariance_3d_backward(
            load_4(planes, B_QUAT, j), load_3(planes, B_SCALE, j), load_6(planes, B_D_COVARIANCE, j)
        )
        planes[at(B_D_QUAT, j)] = g[0] if seen else zero
        planes[at(B_D_QUAT + 1, j)] = g[1] if seen else zero
        planes[at(B_D_QUAT + 2, j)] = g[2] if seen else zero
        planes[at(B_D_QUAT + 3, j)] = g[3] if seen else zero
        planes[at(B_D_SCALE, j)] = g[4] if seen else zero
        planes[at(B_D_SCALE + 1, j)] = g[5] if seen else zero
        planes[at(B_D_SCALE + 2, j)] = g[6] if seen else zero


@njit(**JIT)
def gather_slots(planes, records, rects, slot_starts, view_start, slots, first, count):
    """Add up the slots of each gaussian of a block in one view, always in the same order."""
    for j in range(count):
        i = first + j
        seen = rects[i, 0] <= rects[i, 1]
        planes[B_SEEN * BLOCK + j] = f4(1.0) if seen else f4(0.0)
        planes[B_CONIC * BLOCK + j] = records[i, CONIC_XX]
        planes[(B_CONIC + 1) * BLOCK + j] = records[i, CONIC_XY]
        planes[(B_CONIC + 2) * BLOCK + j] = records[i, CONIC_YY]
        begin, end = view_start + slot_starts[i], view_start + slot_starts[i + 1]
        for k in range(SLOT_SIZE):
            planes[(B_SUMS + k) * BLOCK + j] = slots[begin, k] if begin < end else f4(0.0)
        for s in range(begin + 1, end):
            for k in range(SLOT_SIZE):
                planes[(B_SUMS + k) * BLOCK + j] += slots[s, k]


@njit(**PARALLEL_JIT)
def project_backward(
    means, quats, scales, opacities, world_to_camera, intrinsics, width, height, covariances, records, rects,
    slot_starts, view_starts, slots,
    d_means, d_quats, d_scales, d_opacities, d_colors, d_means2d,
):  # fmt: skip
    """Add up the slots of every gaussian and chain them to the 3D parameters. d_colors comes in as zeros.

    d_colors (V or 1, N, 3): one row for all views sums over them. d_means2d (V,N,2) or empty.
    """
    n = means.shape[0]
    color_views = d_colors.shape[0]
    for block in prange((n + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        count = min(BLOCK, n - first)
        planes = np.zeros(B_PLANES * BLOCK, np.float32)
        load_planes(planes, B_MEAN, means, first, count)
        load_planes(planes, B_COVARIANCE, covariances, first, count)
        load_planes(planes, B_QUAT, quats, first, count)
        load_planes(planes, B_SCALE, scales, first, count)
        for v in range(world_to_camera.shape[0]):
            gather_slots(planes, records[v], rects[v], slot_starts[v], view_starts[v], slots, first, count)
            project_block_backward(planes, pose_of(world_to_camera[v]), lens_of(intrinsics[v], width, height))
            color_view = v if color_views > 1 else 0
            for j in range(count):
                for c in range(3):
                    d_colors[color_view, first + j, c] += planes[(B_SUMS + W_RED + c) * BLOCK + j]
            if d_means2d.shape[0] > 0:
                store_planes(planes, B_D_MEAN2D, d_means2d[v], first, count)
        covariance_block_backward(planes)
        store_planes(planes, B_D_MEAN, d_means, first, count)
        store_planes(planes, B_D_QUAT, d_quats, first, count)
        store_planes(planes, B_D_SCALE, d_scales, first, count)
        for j in range(count):
            # A visible gaussian has an opacity above 1/255; the others have a sum of zero.
            seen = planes[B_ANY_SEEN * BLOCK + j] > f4(0.0)
            d_opacities[first + j] = planes[B_ALPHA * BLOCK + j] / opacities[first + j] if seen else f4(0.0)
