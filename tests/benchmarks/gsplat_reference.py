"""gsplat's own PyTorch reference rasterizer, made to run on a CPU: the peer of `tests/benchmarks/raster.py`.

`gsplat.rendering._rasterization` (gsplat 1.5.3) is differentiable torch except for three parts that exist only
in CUDA: `isect_tiles`, `rasterize_to_indices_in_range`, and nerfacc's two functions. They are written here in
vectorised torch from their documented meaning. The stand-ins are generous to the peer: pixel pairs come from
each gaussian's own bounding box, not from whole tiles.
Letters: I images, N gaussians, M pairs of a gaussian and a pixel, E pairs of a gaussian and a tile.
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

GSPLAT_VERSION = "1.5.3"
INSTALL = f"pip install --no-deps gsplat=={GSPLAT_VERSION} jaxtyping wadler_lindig"
ALPHA_MIN = 1 / 255
TRANSMITTANCE_MIN = 1e-4


def _boxes(first: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All cells of E boxes (first (E,2), size (E,2)): owner (M,), x (M,), y (M,), row by row."""
    area = size.prod(-1)
    owner = torch.repeat_interleave(torch.arange(len(area)), area)
    within = torch.arange(len(owner)) - (area.cumsum(0) - area)[owner]
    width = size[owner, 0]
    return owner, first[owner, 0] + within % width, first[owner, 1] + within // width


@torch.no_grad()
def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height, **_):
    """Stand-in for `gsplat.isect_tiles`: tiles per gaussian, sorted 64-bit keys, and gaussian ids (E,)."""
    count = means2d.shape[-2]
    low, high = (means2d - radii) / tile_size, (means2d + radii) / tile_size
    limit = torch.tensor([tile_width, tile_height])
    first = torch.minimum(low.floor().long().clamp(min=0), limit).reshape(-1, 2)
    last = torch.minimum(high.ceil().long().clamp(min=0), limit).reshape(-1, 2)
    size = (last - first) * (radii > 0).all(-1).reshape(-1, 1)
    owner, x, y = _boxes(first, size)
    tile_bits = (tile_width * tile_height).bit_length()
    tile = (owner // count << tile_bits) | (y * tile_width + x)
    keys, order = torch.sort((tile << 32) | depths.reshape(-1).view(torch.int32)[owner].long(), stable=True)
    return size.prod(-1).reshape(radii.shape[:-1]).int(), keys, owner[order].int()


def _segment_starts(ids: Tensor) -> Tensor:
    """Index (M,) of the first element of each run of equal ids."""
    counts = torch.unique_consecutive(ids, return_counts=True)[1]
    return torch.repeat_interleave(counts.cumsum(0) - counts, counts)


def _exclusive_transmittance(alphas: Tensor, ids: Tensor) -> Tensor:
    """Product of (1 - alpha) over the earlier elements of the same run; in float64 logs, as the sum is long."""
    logs = torch.log1p(-alphas.double())
    before = logs.cumsum(0) - logs
    return torch.exp(before - before[_segment_starts(ids)])


@torch.no_grad()
def rasterize_to_indices_in_range(
    range_start, range_end, transmittances, means2d, conics, opacities,
    image_width, image_height, tile_size, isect_offsets, flatten_ids,
):  # fmt: skip
    """Stand-in for gsplat's function: gaussian, pixel and image of each blended pair, front to back per pixel."""
    offsets = isect_offsets.flatten().long()
    ends = torch.cat([offsets[1:], torch.tensor([len(flatten_ids)])])
    tile = torch.repeat_interleave(torch.arange(len(offsets)), ends - offsets)
    batch = (torch.arange(len(flatten_ids)) - offsets[tile]) // tile_size**2
    wanted = (batch >= range_start) & (batch < range_end)
    tile, ids = tile[wanted], flatten_ids[wanted].long()
    rows, columns = isect_offsets.shape[-2:]
    image, corner = tile // (rows * columns), torch.stack([tile % columns, tile // columns % rows], -1) * tile_size
    centre, conic, opacity = means2d.reshape(-1, 2)[ids], conics.reshape(-1, 3)[ids], opacities.reshape(-1)[ids]
    a, b, c = conic.unbind(-1)
    reach2 = 2 * torch.log((opacity / ALPHA_MIN).clamp(min=1))
    reach = torch.sqrt(torch.stack([c, a], -1) * (reach2 / (a * c - b * b))[:, None])
    size = torch.tensor([image_width, image_height])
    first = torch.maximum((centre - reach - 0.5).floor().long(), corner)
    last = torch.minimum(torch.minimum((centre + reach + 0.5).ceil().long(), corner + tile_size), size)
    owner, x, y = _boxes(first, (last - first).clamp(min=0))
    dx, dy = x + 0.5 - centre[owner, 0], y + 0.5 - centre[owner, 1]
    sigma = 0.5 * (a[owner] * dx * dx + c[owner] * dy * dy) + b[owner] * dx * dy
    alpha = (opacity[owner] * torch.exp(-sigma)).clamp(max=0.999)
    seen = torch.nonzero(alpha >= ALPHA_MIN)[:, 0]
    owner, alpha = owner[seen], alpha[seen]
    pixel, order = torch.sort(image[owner] * image_width * image_height + y[seen] * image_width + x[seen], stable=True)
    owner, alpha = owner[order], alpha[order]
    after = transmittances.reshape(-1)[pixel] * _exclusive_transmittance(alpha, pixel) * (1 - alpha)
    open_ = after > TRANSMITTANCE_MIN
    owner, pixel = owner[open_], pixel[open_]
    area = image_width * image_height
    return ids[owner] % means2d.shape[-2], pixel % area, pixel // area


def render_weight_from_alpha(alphas: Tensor, ray_indices: Tensor, n_rays: int) -> tuple[Tensor, Tensor]:
    """Stand-in for nerfacc: blending weights and transmittances of samples sorted by ray."""
    transmittance = _exclusive_transmittance(alphas, ray_indices).to(alphas.dtype)
    return alphas * transmittance, transmittance


def accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
    """Stand-in for nerfacc: sum of weight times value per ray, (n_rays, C)."""
    contributions = weights[:, None] if values is None else weights[:, None] * values
    return contributions.new_zeros(n_rays, contributions.shape[-1]).index_add(0, ray_indices, contributions)


@contextlib.contextmanager
def _on_cpu() -> Iterator[types.ModuleType]:
    """gsplat.rendering with the CUDA-only parts replaced, for the length of the block."""
    import gsplat.cuda._torch_impl
    import gsplat.cuda._wrapper
    import gsplat.rendering

    nerfacc = types.ModuleType("nerfacc")
    nerfacc.render_weight_from_alpha = render_weight_from_alpha
    nerfacc.accumulate_along_rays = accumulate_along_rays
    encode = gsplat.cuda._torch_impl._isect_offset_encode
    with (
        mock.patch.dict(sys.modules, {"nerfacc": nerfacc}),
        mock.patch.object(gsplat.rendering, "isect_tiles", isect_tiles),
        mock.patch.object(gsplat.rendering, "isect_offset_encode", encode),
        mock.patch.object(gsplat.cuda._wrapper, "rasterize_to_indices_in_range", rasterize_to_indices_in_range),
    ):
        yield gsplat.rendering


def render_gsplat_reference(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    background: Tensor,
) -> tuple[Tensor, Tensor]:
    """Image (V,H,W,3) and alpha (V,H,W) by gsplat's `_rasterization`, differentiable by torch's autograd.

    colors (N,3) after activation; world_to_camera (V,4,4); intrinsics (V,3,3); background (3,).
    Raises ModuleNotFoundError when gsplat is not installed (`INSTALL` says what to type).
    """
    with _on_cpu() as rendering:
        image, alpha, _ = rendering._rasterization(
            means, quats, scales, opacities, colors, world_to_camera, intrinsics, width, height,
            backgrounds=background.expand(len(world_to_camera), 3),
        )  # fmt: skip
    return image, alpha[..., 0]
