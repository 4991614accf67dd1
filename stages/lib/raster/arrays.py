"""Rendering without gradients on NumPy arrays: imports no torch, and Numba only when it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.raster.checks import check_background, check_shapes

if TYPE_CHECKING:
    from stages.lib.cameras import Cameras


@dataclass(frozen=True)
class RenderedArrays:
    """float32: image (V,H,W,3) on the background, alpha (V,H,W), depth (V,H,W) = sum of weight times z."""

    image: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray


def render_numpy(
    means: np.ndarray,
    quats: np.ndarray,
    scales: np.ndarray,
    opacities: np.ndarray,
    sh: np.ndarray,
    cameras: Cameras,
    background: np.ndarray,
    *,
    threads: int = 1,
) -> RenderedArrays:
    """Render N gaussians into V views on the CPU; the pixels are those of `render` with backend "numba".

    Arguments as in `stages.lib.raster.render`, any float dtype; background (3,) or (V,3).
    Raises ValueError for a wrong shape.
    """
    from stages.lib.raster import numba_passes as passes

    check_shapes(means, quats, scales, opacities, sh)
    background = np.asarray(background, np.float32)
    check_background(background, len(cameras))
    gaussians = passes.Gaussians(*(passes.contiguous(a) for a in (means, quats, scales, opacities, sh)))
    backdrop = passes.contiguous(np.broadcast_to(background, (len(cameras), 3)))
    view = passes.view_of(cameras, sh.shape[1])
    with passes.use_threads(threads):
        result = passes.forward_pass(gaussians, view, backdrop, passes.EMPTY_VIEWS, True)
    return RenderedArrays(result.image, result.alpha, result.depth)
