"""Differentiable rasterization of 3D gaussians: one function, Numba on the CPU, gsplat on CUDA.

Conventions
-----------
- means (N,3) and scales (N,3) in world units, quats (N,4) wxyz of any length, opacities (N,) in [0, 1],
  sh (N,K,3) with K in 1, 4, 9, 16: everything *after* activation.
- Cameras are those of `stages.lib.cameras`; pixel centres are at +0.5.
- image (V,H,W,3) is composited on the background; alpha (V,H,W) is 1 - transmittance; depth (V,H,W) is the
  sum of weight times camera z, world units, not divided by alpha (gsplat's "D").
- Semantics are gsplat 1.5 in classic mode: eps2d 0.3 pixel^2, near plane 0.01, alpha <= 0.999, contributions
  under 1/255 skipped, a pixel is finished before its transmittance would fall to 1e-4, SH colour
  max(0, SH + 0.5), slopes in the projection's Jacobian clamped 30 % outside the field of view.
- A gaussian that cannot be drawn (behind the camera, fainter than 1/255, not finite) is culled; its gradients
  are zero.
- Both cuts (1/255 and 1e-4) are steps: across them a gradient does not exist and none is given.
- Letters: V views, N gaussians, K SH bases, H W image size.

Importing this package imports neither torch nor numba nor gsplat: `render_numpy` needs no torch at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.lib.raster.arrays import RenderedArrays, render_numpy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from stages.lib.cameras import Cameras

__all__ = ["BACKENDS", "Rendered", "RenderedArrays", "choose_backend", "render", "render_numpy"]

BACKENDS = ("numba", "gsplat")
INSTALL_GSPLAT = "pip install gsplat==1.5.3"


@dataclass(frozen=True)
class Rendered:
    """image (V,H,W,3), alpha (V,H,W), depth (V,H,W) or None, visible (V,N) bool, radii (V,N) float.

    radii: larger half side, in pixels, of the box around the ellipse with alpha >= 1/255; 0 where culled.
    The first three are differentiable.
    """

    image: Tensor
    alpha: Tensor
    depth: Tensor | None
    visible: Tensor
    radii: Tensor


def choose_backend(device: str | torch.device) -> str:
    """The backend for a torch device: "gsplat" on CUDA, else "numba".

    Raises ModuleNotFoundError with the command to type when CUDA is wanted and gsplat is missing.
    """
    import importlib.util

    if str(device).split(":")[0] != "cuda":
        return "numba"
    if importlib.util.find_spec("gsplat") is None:
        raise ModuleNotFoundError(
            f"device is {device}, which renders with gsplat, and gsplat is not installed; "
            f"type `{INSTALL_GSPLAT}` or choose device cpu"
        )
    return "gsplat"


def render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    cameras: Cameras,
    background: Tensor,
    *,
    backend: str,
    means2d_offset: Tensor | None = None,
    with_depth: bool = True,
    threads: int = 1,
) -> Rendered:
    """Render N gaussians into V views, differentiably in every tensor argument.

    means (N,3), quats (N,4), scales (N,3), opacities (N,), sh (N,K,3): float32, on the CPU for "numba", on CUDA
    for "gsplat". background: (3,) or (V,3), linear in [0, 1].
    means2d_offset: (V,N,2) pixels added to the projected means. Pass zeros that require a gradient: their
    gradient is dL/d(2D mean), on which densification decides.
    with_depth: False leaves depth out (None), which saves a few per cent of the time.
    threads: CPU threads of the numba backend; the result is the same for any number.
    Raises ValueError for a wrong shape or backend, TypeError for a dtype that is not float32.
    """
    from stages.lib.raster.checks import check_tensors

    background = check_tensors(means, quats, scales, opacities, sh, background, means2d_offset, len(cameras))
    arguments = (means, quats, scales, opacities, sh, cameras, background, means2d_offset, with_depth)
    if backend == "numba":
        from stages.lib.raster import numba_backend

        return numba_backend.render(*arguments, threads)
    if backend == "gsplat":
        from stages.lib.raster import gsplat_backend

        return gsplat_backend.render(*arguments)
    raise ValueError(f"backend is {backend!r}; expected one of {', '.join(BACKENDS)} (see choose_backend)")
