"""Losses of the fits. Image losses return one number a view (V,); the caller weighs and sums them.

Letters: V views, H W pixels, N gaussians.
"""

from __future__ import annotations

import torch
from torch import Tensor


def colour_error(image: Tensor, target: Tensor) -> Tensor:
    """Mean squared colour error of images (V,H,W,3) in [0, 1], per view (V,)."""
    return (image - target).square().mean(dim=(1, 2, 3))


def mask_error(alpha: Tensor, target: Tensor) -> Tensor:
    """Mean squared alpha error of (V,H,W), per view (V,)."""
    return (alpha - target).square().mean(dim=(1, 2))


def anisotropy(log_scales: Tensor, ratio: float) -> Tensor:
    """Mean excess of largest over smallest scale above `ratio` (PhysGaussian; STAG4D's uses raw logs, by a slip)."""
    spread = log_scales.amax(dim=1) - log_scales.amin(dim=1)
    return (spread.exp() - ratio).clamp(min=0).mean()


def over(rgba: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Straight uint8 RGBA (V,H,W,4) over backgrounds (V,3): colour (V,H,W,3) and alpha (V,H,W), in [0, 1]."""
    unit = rgba.to(torch.float32) / 255
    alpha = unit[..., 3]
    colour = unit[..., :3] * alpha[..., None] + background[:, None, None] * (1 - alpha[..., None])
    return colour, alpha
