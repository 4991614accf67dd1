"""Shape and type checks at the door of the rasterizer, for NumPy arrays and torch tensors alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SH_BASES = (1, 4, 9, 16)


def check_shapes(means, quats, scales, opacities, sh) -> None:
    """Raise ValueError unless the shapes are (N,3), (N,4), (N,3), (N,), (N,K,3) with K in 1, 4, 9, 16."""
    n = means.shape[0] if means.ndim else -1
    expected = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
    for (name, shape), array in zip(expected.items(), (means, quats, scales, opacities), strict=True):
        if tuple(array.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(array.shape)}; expected {shape}, N from means")
    if sh.ndim != 3 or tuple(sh.shape) != (n, sh.shape[1], 3) or sh.shape[1] not in SH_BASES:
        raise ValueError(f"sh has shape {tuple(sh.shape)}; expected ({n}, K, 3) with K one of {SH_BASES}")


def check_background(background, views: int) -> None:
    """Raise ValueError unless background is (3,) or (V,3)."""
    if tuple(background.shape) not in ((3,), (views, 3)):
        raise ValueError(f"background has shape {tuple(background.shape)}; expected (3,) or ({views}, 3)")


def check_tensors(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    background: Tensor,
    means2d_offset: Tensor | None,
    views: int,
) -> Tensor:
    """Check every tensor argument of `render`; return the background as (V,3)."""
    import torch

    named = {"means": means, "quats": quats, "scales": scales, "opacities": opacities, "sh": sh}
    named |= {"background": background}
    if means2d_offset is not None:
        named |= {"means2d_offset": means2d_offset}
    for name, tensor in named.items():
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name} is {tensor.dtype}; expected torch.float32, so pass {name}.float()")
        if tensor.device != means.device:
            raise ValueError(f"{name} is on {tensor.device} and means on {means.device}; expected one device")
    check_shapes(means, quats, scales, opacities, sh)
    check_background(background, views)
    if means2d_offset is not None and tuple(means2d_offset.shape) != (views, means.shape[0], 2):
        shape = (views, means.shape[0], 2)
        raise ValueError(f"means2d_offset has shape {tuple(means2d_offset.shape)}; expected {shape}")
    return background.expand(views, 3)
