"""Drawing a baked sequence without torch, for every stage after the fit."""

from __future__ import annotations

import numpy as np

from stages.contracts import Gaussians
from stages.lib.cameras import Cameras
from stages.lib.raster import render_numpy

# Below this alpha a straight colour is noise divided by nothing; it rounds to 0 of 255 anyway.
SMALLEST_ALPHA = 1.0 / 510.0


def draw_rgba(gaussians: Gaussians, cameras: Cameras) -> np.ndarray:
    """Straight-alpha uint8 images (V, H, W, 4) of one frame's gaussians."""
    drawn = render_numpy(
        gaussians.means,
        gaussians.quats,
        np.exp(gaussians.log_scales),
        1.0 / (1.0 + np.exp(-gaussians.opacity_logits)),
        gaussians.sh,
        cameras,
        np.zeros(3, np.float32),
    )
    alpha = drawn.alpha[..., None]
    straight = np.where(alpha > SMALLEST_ALPHA, drawn.image / np.maximum(alpha, SMALLEST_ALPHA), 0.0)
    rgba = np.concatenate([straight, alpha], axis=-1)
    return np.round(np.clip(rgba, 0.0, 1.0) * 255).astype(np.uint8)
