"""Losses of the fits. Image losses return one number a view (V,); the caller weighs and sums them.

Letters: V views, H W pixels, N gaussians.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from stages.lib.raster.simd import FAST


def image_errors(image: Tensor, alpha: Tensor, rgba: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared errors of colour (V,) and alpha (V,) of images (V,H,W,3) and alphas (V,H,W) drawn over
    backgrounds (V,3), against straight uint8 RGBA (V,H,W,4) over the same backgrounds; all in [0, 1].

    One pass over the pixels on the CPU in float32; elsewhere the slow twin `image_errors_twin`.
    """
    if image.device.type != "cpu" or image.dtype != torch.float32:
        return image_errors_twin(image, alpha, rgba, background)
    return _ImageErrors.apply(image, alpha, rgba, background)


def image_errors_twin(image: Tensor, alpha: Tensor, rgba: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """The same in plain torch, on any device and precision."""
    unit = rgba.to(image.dtype) / 255
    matte = unit[..., 3]
    colour = unit[..., :3] * matte[..., None] + background[:, None, None] * (1 - matte[..., None])
    return (image - colour).square().mean(dim=(1, 2, 3)), (alpha - matte).square().mean(dim=(1, 2))


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _compare(image, alpha, rgba, background, colour_difference, alpha_difference, colour_sum, alpha_sum):
    unit = np.float32(1 / 255)
    for view in range(alpha.shape[0]):
        colours, alphas = 0.0, 0.0
        red, green, blue = background[view, 0], background[view, 1], background[view, 2]
        for row in range(alpha.shape[1]):
            colour_row, alpha_row = np.float32(0), np.float32(0)
            for column in range(alpha.shape[2]):
                matte = unit * np.float32(rgba[view, row, column, 3])
                rest, scale = np.float32(1) - matte, unit * matte
                dr = image[view, row, column, 0] - (scale * np.float32(rgba[view, row, column, 0]) + rest * red)
                dg = image[view, row, column, 1] - (scale * np.float32(rgba[view, row, column, 1]) + rest * green)
                db = image[view, row, column, 2] - (scale * np.float32(rgba[view, row, column, 2]) + rest * blue)
                da = alpha[view, row, column] - matte
                colour_difference[view, row, column, 0] = dr
                colour_difference[view, row, column, 1] = dg
                colour_difference[view, row, column, 2] = db
                alpha_difference[view, row, column] = da
                colour_row += dr * dr + dg * dg + db * db
                alpha_row += da * da
            colours += colour_row
            alphas += alpha_row
        colour_sum[view], alpha_sum[view] = colours, alphas


class _ImageErrors(torch.autograd.Function):
    """Keeps the differences, which are the gradients but for a factor a view."""

    @staticmethod
    def forward(ctx, image, alpha, rgba, background):
        arrays = [tensor.detach().contiguous().numpy() for tensor in (image, alpha, rgba, background)]
        views, height, width = alpha.shape
        differences = np.empty((views, height, width, 3), np.float32), np.empty((views, height, width), np.float32)
        sums = np.empty(views, np.float32), np.empty(views, np.float32)
        _compare(*arrays, *differences, *sums)
        ctx.differences = [torch.from_numpy(difference) for difference in differences]
        ctx.pixels = height * width
        return torch.from_numpy(sums[0]) / (3 * ctx.pixels), torch.from_numpy(sums[1]) / ctx.pixels

    @staticmethod
    def backward(ctx, grad_colour, grad_alpha):
        colour, alpha = ctx.differences
        factors = grad_colour * (2 / (3 * ctx.pixels)), grad_alpha * (2 / ctx.pixels)
        return colour * factors[0][:, None, None, None], alpha * factors[1][:, None, None], None, None


def anisotropy(log_scales: Tensor, ratio: float) -> Tensor:
    """Mean excess of largest over smallest scale above `ratio`, of log-scales (N,3) (PhysGaussian; STAG4D's uses raw
    logs, by a slip). One pass on the CPU in float32; elsewhere the slow twin `anisotropy_twin`."""
    if log_scales.device.type != "cpu" or log_scales.dtype != torch.float32:
        return anisotropy_twin(log_scales, ratio)
    return _Anisotropy.apply(log_scales, float(ratio))


def anisotropy_twin(log_scales: Tensor, ratio: float) -> Tensor:
    """The same in plain torch, on any device and precision."""
    spread = log_scales.amax(dim=1) - log_scales.amin(dim=1)
    return (spread.exp() - ratio).clamp(min=0).mean()


@njit(cache=True, error_model="numpy", fastmath=FAST)
def _excess(log_scales, ratio, grad):
    """Sum of the excesses; fills grad with its derivative."""
    total, allowed = 0.0, np.log(ratio)
    for n in range(log_scales.shape[0]):
        high, low = 0, 0
        for axis in range(3):
            grad[n, axis] = 0
            high = axis if log_scales[n, axis] > log_scales[n, high] else high
            low = axis if log_scales[n, axis] < log_scales[n, low] else low
        spread = np.float64(log_scales[n, high] - log_scales[n, low])
        if spread > allowed:
            total += np.exp(spread) - ratio
            grad[n, high], grad[n, low] = np.exp(spread), -np.exp(spread)
    return total


class _Anisotropy(torch.autograd.Function):
    """Keeps the gradient; few gaussians have one."""

    @staticmethod
    def forward(ctx, log_scales, ratio):
        array = log_scales.detach().contiguous().numpy()
        gradient = np.empty_like(array)
        total = _excess(array, ratio, gradient)
        ctx.gradient = torch.from_numpy(gradient)
        return torch.tensor(total / len(array), dtype=torch.float32)

    @staticmethod
    def backward(ctx, grad):
        return ctx.gradient * (grad / len(ctx.gradient)), None
