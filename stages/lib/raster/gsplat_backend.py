"""The CUDA backend: gsplat 1.5.3's projection, tile intersection and rasterization called one by one.

`gsplat.rasterization` would do the same in one call, but leaves no place to add an offset to the projected means.
gsplat is imported inside, since it is absent on machines without CUDA.
Letters: V views, N gaussians, C channels (3, or 4 with depth), H W image size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stages.lib.cameras import Cameras
from stages.lib.raster import INSTALL_GSPLAT, Rendered

TILE_SIZE = 16  # gsplat's default; its kernels are tuned for it
EPS2D = 0.3  # pixels^2
NEAR_PLANE = 0.01  # world units


def _gsplat():
    """The gsplat package, or ModuleNotFoundError with the command to type."""
    try:
        import gsplat
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the gsplat backend needs the package gsplat; type `{INSTALL_GSPLAT}` or use backend 'numba'"
        ) from error
    return gsplat


def _colors(gsplat, means: Tensor, sh: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
    """Colours (V,N,3) of sh (N,K,3) seen from positions (V,3); `seen` (V,N) says where they are needed."""
    degree = round(sh.shape[1] ** 0.5) - 1
    directions = means[None] - positions[:, None]
    coefficients = sh[None].expand(len(positions), *sh.shape)
    colors = gsplat.spherical_harmonics(degree, directions, coefficients, masks=seen)
    return (colors + 0.5).clamp_min(0.0)


def _background_only(background: Tensor, cameras: Cameras, with_depth: bool) -> Rendered:
    """What N = 0 gaussians look like; gsplat's kernels do not take an empty set."""
    size = (len(cameras), cameras.height, cameras.width)
    image = background[:, None, None].expand(*size, 3)
    empty = background.new_zeros(size)
    nothing = background.new_zeros(len(cameras), 0)
    return Rendered(image, empty, empty.clone() if with_depth else None, nothing > 0, nothing)


def render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    cameras: Cameras,
    background: Tensor,
    means2d_offset: Tensor | None,
    with_depth: bool,
) -> Rendered:
    """`stages.lib.raster.render` on CUDA; its arguments are already checked, background is (V,3).

    `radii` are gsplat's, rounded up to whole pixels. Raises ModuleNotFoundError without gsplat.
    """
    if means.shape[0] == 0:
        return _background_only(background, cameras, with_depth)
    gsplat = _gsplat()
    views, width, height = len(cameras), cameras.width, cameras.height

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(means.device)

    # The opacities only tighten the radii here, so no gradient goes this way.
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means, None, quats, scales, on_device(cameras.world_to_camera), on_device(cameras.intrinsics), width, height,
        eps2d=EPS2D, near_plane=NEAR_PLANE, opacities=opacities.detach(),
    )  # fmt: skip
    if means2d_offset is not None:
        means2d = means2d + means2d_offset
    seen = (radii > 0).all(dim=-1)
    features = _colors(gsplat, means, sh, on_device(cameras.positions), seen)
    backgrounds = background
    if with_depth:
        features = torch.cat([features, depths[..., None]], dim=-1)
        backgrounds = torch.cat([background, background.new_zeros(views, 1)], dim=-1)
    tile_columns, tile_rows = -(-width // TILE_SIZE), -(-height // TILE_SIZE)
    _, keys, flat_ids = gsplat.isect_tiles(means2d, radii, depths, TILE_SIZE, tile_columns, tile_rows)
    offsets = gsplat.isect_offset_encode(keys, views, tile_columns, tile_rows)
    pixels, alpha = gsplat.rasterize_to_pixels(
        means2d, conics, features, opacities[None].expand(views, -1), width, height, TILE_SIZE, offsets, flat_ids,
        backgrounds=backgrounds,
    )  # fmt: skip
    depth = pixels[..., 3] if with_depth else None
    return Rendered(pixels[..., :3], alpha[..., 0], depth, seen, radii.amax(dim=-1).float())
