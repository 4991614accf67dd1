"""Forward and backward pass of the CPU rasterizer on NumPy arrays: allocates, calls the kernels in order.

Imports no torch, so that jobs which only render start fast. Conventions and letters are those of
`stages.lib.raster`; the words record, rect, tile, entry and slot are explained in `numba_kernels`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from stages.lib.cameras import Cameras
from stages.lib.raster import numba_kernels as kernels
from stages.lib.raster.spherical_harmonics import colors_from_sh, colors_from_sh_backward

# Numba's OpenMP layer shares its thread count with torch's OpenMP: setting ours would change torch's, which then
# starts threads on the core of the neighbouring fit (a step of 84 ms took 170 to 530). The work queue has its own.
numba.config.THREADING_LAYER = "workqueue"

NO_POSITIONS = np.empty((0, 3), np.float32)
OPACITY_FLOOR = np.float32(1e-12)
EMPTY_VIEWS = np.empty((0, 0, 0), np.float32)  # an optional (V, ., .) array that is not there; never written


@dataclass(frozen=True)
class Gaussians:
    """N activated gaussians as contiguous float32: means (N,3), quats (N,4) wxyz, scales (N,3) world units,
    opacities (N,) in [0,1], sh (N,K,3)."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray


@dataclass(frozen=True)
class View:
    """V cameras as the kernels read them: matrices float32, sizes in pixels."""

    world_to_camera: np.ndarray
    intrinsics: np.ndarray
    positions: np.ndarray
    width: int
    height: int


@dataclass(frozen=True)
class ForwardState:
    """What a forward pass hands to its backward pass. Owned by one call: two live graphs share nothing."""

    colors: np.ndarray  # (V or 1, N, 3)
    covariances: np.ndarray  # (N, 6)
    records: np.ndarray  # (V, N, 8)
    rects: np.ndarray  # (V, N, 4)
    tile_starts: np.ndarray  # (V, tiles + 1)
    slot_starts: np.ndarray  # (V, N + 1)
    view_starts: np.ndarray  # (V + 1,)
    entry_gaussians: np.ndarray  # (S,)
    entry_slots: np.ndarray  # (S,)


@dataclass(frozen=True)
class ForwardResult:
    """image (V,H,W,3), alpha (V,H,W), depth (V,H,W) or empty, radii (V,N) pixels, and the state."""

    image: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    radii: np.ndarray
    state: ForwardState


@dataclass(frozen=True)
class Gradients:
    """Gradients of the five inputs; means2d (V,N,2) is empty unless it was asked for."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    means2d: np.ndarray


@contextlib.contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Run the kernels on at most `threads` threads, then restore the caller's setting.

    The result does not depend on the number, so a machine with fewer cores simply uses those.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected 1 or more")
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def contiguous(array: np.ndarray) -> np.ndarray:
    """As writable contiguous float32, copied only where needed: one array type means one compilation."""
    if array.dtype == np.float32 and array.flags.carray:
        return array
    return np.require(array, np.float32, ["C", "W"])


def view_of(cameras: Cameras, sh_bases: int) -> View:
    """Cameras in the kernels' types. Positions are left out where colours do not depend on them (K = 1)."""
    positions = contiguous(cameras.positions) if sh_bases > 1 else NO_POSITIONS
    matrices = contiguous(cameras.world_to_camera), contiguous(cameras.intrinsics)
    return View(*matrices, positions, int(cameras.width), int(cameras.height))


def forward_pass(
    gaussians: Gaussians, view: View, background: np.ndarray, shifts: np.ndarray, with_depth: bool
) -> ForwardResult:
    """Render V views. background (V,3); shifts (V,N,2) pixels added to the projected means, or empty."""
    views, n = view.world_to_camera.shape[0], gaussians.means.shape[0]
    width, height = view.width, view.height
    colors = np.empty((views if gaussians.sh.shape[1] > 1 else 1, n, 3), np.float32)
    colors_from_sh(gaussians.means, view.positions, gaussians.sh, colors)
    covariances = np.empty((n, 6), np.float32)
    records = np.empty((views, n, kernels.RECORD_SIZE), np.float32)
    rects = np.empty((views, n, 4), np.int32)
    radii = np.empty((views, n), np.float32)
    # NumPy's logarithm is vectorised, Numba's is not. The bound keeps opacity 0 finite; it is culled.
    log2_opacities = np.log2(np.maximum(gaussians.opacities, OPACITY_FLOOR))
    kernels.project(
        gaussians.means, gaussians.quats, gaussians.scales, log2_opacities,
        view.world_to_camera, view.intrinsics, width, height, shifts, covariances, records, rects, radii,
    )  # fmt: skip
    tile_columns = -(-width // kernels.TILE_W)
    tiles = tile_columns * -(-height // kernels.TILE_H)
    order = np.empty((views, n), np.int32)
    visible_count = np.empty(views, np.int64)
    tile_starts = np.empty((views, tiles + 1), np.int64)
    slot_starts = np.empty((views, n + 1), np.int64)
    kernels.sort_by_depth(records, rects, tile_columns, order, visible_count, tile_starts, slot_starts)
    view_starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(slot_starts[:, n])])
    entry_gaussians = np.empty(view_starts[-1], np.int32)
    entry_slots = np.empty(view_starts[-1], np.int32)
    kernels.list_entries(
        rects, tile_columns, order, visible_count, tile_starts, slot_starts, view_starts,
        entry_gaussians, entry_slots,
    )  # fmt: skip
    image = np.empty((views, height, width, 3), np.float32)
    alpha = np.empty((views, height, width), np.float32)
    depth = np.empty_like(alpha) if with_depth else EMPTY_VIEWS
    kernels.blend_forward(
        records, rects, colors, tile_columns, tile_starts, view_starts, entry_gaussians, background,
        image, alpha, depth,
    )  # fmt: skip
    state = ForwardState(
        colors, covariances, records, rects, tile_starts, slot_starts, view_starts, entry_gaussians, entry_slots
    )
    return ForwardResult(image, alpha, depth, radii, state)


def backward_pass(
    gaussians: Gaussians,
    view: View,
    state: ForwardState,
    outputs: tuple[np.ndarray, np.ndarray, np.ndarray],
    grad_outputs: tuple[np.ndarray, np.ndarray, np.ndarray],
    with_means2d: bool,
) -> Gradients:
    """Gradients of the inputs. outputs and grad_outputs: image (V,H,W,3), alpha (V,H,W), depth (V,H,W).

    An empty gradient of depth leaves depth out of the blending loop.
    """
    views, n = view.world_to_camera.shape[0], gaussians.means.shape[0]
    tile_columns = -(-view.width // kernels.TILE_W)
    slots = np.empty((state.entry_slots.shape[0], kernels.SLOT_SIZE), np.float32)
    kernels.blend_backward(
        state.records, state.rects, state.colors, tile_columns, state.tile_starts, state.view_starts,
        state.entry_gaussians, state.entry_slots, *outputs, *grad_outputs, slots,
    )  # fmt: skip
    inputs = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    d_means, d_quats, d_scales, d_opacities = (np.empty_like(a) for a in inputs)
    d_sh = np.zeros_like(gaussians.sh)
    d_colors = np.zeros_like(state.colors)
    d_means2d = np.empty((views, n, 2), np.float32) if with_means2d else EMPTY_VIEWS
    kernels.project_backward(
        *inputs, view.world_to_camera, view.intrinsics, view.width, view.height, state.covariances,
        state.records, state.rects, state.slot_starts, state.view_starts, slots,
        d_means, d_quats, d_scales, d_opacities, d_colors, d_means2d,
    )  # fmt: skip
    colors_from_sh_backward(gaussians.means, view.positions, gaussians.sh, state.colors, d_colors, d_sh, d_means)
    return Gradients(d_means, d_quats, d_scales, d_opacities, d_sh, d_means2d)
