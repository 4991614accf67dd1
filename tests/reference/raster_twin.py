"""The slow, plain rasterizer: float64 torch, every pixel against every gaussian, gradients by autograd.

Written from the definition (EWA splatting, Zwicker et al. 2001; compositing of Kerbl et al. 2023 with gsplat
1.5's constants) and not from the kernels, so that both can be wrong only independently. Conventions are those
of `stages.lib.raster`. Memory grows as V H W N: meant for images of some 64 pixels and a thousand gaussians.

The model has four steps that jump or bend where float32 and float64 may fall on different sides: the cuts
at alpha 1/255 and transmittance 1e-4, the clamp of alpha at 0.999, and the order of nearly equal depths.
`TwinRendered.margin` says how near a scene comes to them, relative: a comparison to float32 precision is
fair only on scenes with a margin well above 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.lib.cameras import Cameras

EPS2D = 0.3
NEAR_PLANE = 0.01
ALPHA_MIN = 1 / 255
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4


@dataclass(frozen=True)
class TwinRendered:
    """image (V,H,W,3), alpha (V,H,W), depth (V,H,W), float64; margin: relative distance to the nearest step."""

    image: Tensor
    alpha: Tensor
    depth: Tensor
    margin: float


def rounded(cameras: Cameras) -> Cameras:
    """The same cameras with float32 values, so that a comparison does not measure the rounding of inputs."""
    as_float32 = [a.astype(np.float32).astype(np.float64) for a in (cameras.world_to_camera, cameras.intrinsics)]
    return Cameras(*as_float32, cameras.width, cameras.height)


def rotation_matrix(quats: Tensor) -> Tensor:
    """(N,3,3) of quaternions wxyz (N,4) of any length, by rotating the three axes with q v q*."""
    w, vector = (quats / quats.norm(dim=-1, keepdim=True)).split([1, 3], dim=-1)
    columns = []
    for axis in torch.eye(3, dtype=quats.dtype):
        turned = torch.linalg.cross(vector, axis.expand_as(vector))
        columns.append(axis + 2 * w * turned + 2 * torch.linalg.cross(vector, turned))
    return torch.stack(columns, dim=-1)


def sh_basis(direction: Tensor, bases: int) -> Tensor:
    """(..., K) real spherical harmonics of unit directions (..., 3), INRIA's order and signs, in polynomial form."""
    x, y, z = direction.unbind(-1)
    one = torch.ones_like(x)
    polynomials = [
        0.28209479177387814 * one,
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * z * z - x * x - y * y),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (x * x - y * y),
        -0.5900435899266435 * y * (3 * x * x - y * y),
        2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
        0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
        1.445305721320277 * z * (x * x - y * y),
        -0.5900435899266435 * x * (x * x - 3 * y * y),
    ]
    return torch.stack(polynomials[:bases], dim=-1)


def _project_view(means, covariances, rotation, translation, intrinsics, width, height):
    """Pixels (N,2), 2D covariances (N,2,2) and camera z (N,) of one view."""
    x, y, z = (means @ rotation.T + translation).unbind(-1)
    focal_x, focal_y = intrinsics[0, 0], intrinsics[1, 1]
    centre_x, centre_y = intrinsics[0, 2], intrinsics[1, 2]
    pixels = torch.stack([focal_x * x / z + centre_x, focal_y * y / z + centre_y], dim=-1)
    margin_x, margin_y = 0.3 * 0.5 * width / focal_x, 0.3 * 0.5 * height / focal_y
    slope_x = (x / z).clamp(-centre_x / focal_x - margin_x, (width - centre_x) / focal_x + margin_x)
    slope_y = (y / z).clamp(-centre_y / focal_y - margin_y, (height - centre_y) / focal_y + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [focal_x / z, zero, -focal_x * slope_x / z, zero, focal_y / z, -focal_y * slope_y / z], dim=-1
    ).reshape(-1, 2, 3)
    transform = jacobian @ rotation
    covariance = transform @ covariances @ transform.transpose(-1, -2)
    return pixels, covariance + EPS2D * torch.eye(2, dtype=means.dtype), z


def _composite(pixels, covariances, z, opacities, colors, background, width, height):
    """Image (H,W,3), alpha (H,W), depth (H,W) of gaussians sorted by depth, and the margin to the steps."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).to(pixels.dtype) + 0.5
    offset = centres[:, :, None] - pixels
    distance2 = torch.einsum("hwni,nij,hwnj->hwn", offset, torch.linalg.inv(covariances), offset)
    unclamped = opacities * torch.exp(-0.5 * distance2)
    alpha = unclamped.clamp(max=ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    after = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], dim=-1)
    # A pixel is finished by the first gaussian that would bring it to the cut; products only fall.
    weights = torch.where(after > TRANSMITTANCE_MIN, alpha * before, 0.0)
    total = weights.sum(-1)
    image = torch.einsum("hwn,nc->hwc", weights, colors) + (1 - total)[..., None] * background
    steps = [(unclamped / ALPHA_MIN).log(), (unclamped / ALPHA_MAX).log(), (after / TRANSMITTANCE_MIN).log()]
    steps.append((z[1:] / z[:-1]).log() + 0)
    margin = min([float(s.detach().abs().min()) for s in steps if s.numel()], default=float("inf"))
    return image, total, torch.einsum("hwn,n->hw", weights, z), margin


def render_twin(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    sh: Tensor,
    cameras: Cameras,
    background: Tensor,
    means2d_offset: Tensor | None = None,
) -> TwinRendered:
    """As `stages.lib.raster.render`, for float64 tensors: means (N,3), quats (N,4), scales (N,3), opacities (N,),
    sh (N,K,3), background (3,) or (V,3), means2d_offset (V,N,2) pixels or None."""
    axes = rotation_matrix(quats) * scales[:, None]
    covariances = axes @ axes.transpose(-1, -2)
    matrices, intrinsics = torch.from_numpy(cameras.world_to_camera), torch.from_numpy(cameras.intrinsics)
    background = background.expand(len(cameras), 3)
    results = []
    for v in range(len(cameras)):
        rotation, translation = matrices[v, :3, :3], matrices[v, :3, 3]
        z = means @ rotation[2] + translation[2]
        # Zero opacity and what is behind the near plane is left out before projecting, where z may be 0.
        drawn = torch.nonzero((z > NEAR_PLANE) & (opacities >= ALPHA_MIN))[:, 0]
        drawn = drawn[torch.argsort(z[drawn], stable=True)]
        pixels, covariances2d, z = _project_view(
            means[drawn], covariances[drawn], rotation, translation, intrinsics[v], cameras.width, cameras.height
        )
        if means2d_offset is not None:
            pixels = pixels + means2d_offset[v, drawn]
        direction = torch.nn.functional.normalize(means[drawn] + translation @ rotation, dim=-1)
        basis = sh_basis(direction, sh.shape[1])
        colors = (torch.einsum("nk,nkc->nc", basis, sh[drawn]) + 0.5).clamp_min(0)
        results.append(
            _composite(pixels, covariances2d, z, opacities[drawn], colors, background[v], cameras.width, cameras.height)
        )
    image, alpha, depth, margins = zip(*results, strict=True)
    return TwinRendered(torch.stack(image), torch.stack(alpha), torch.stack(depth), min(margins))
