"""Drawing a baked sequence without torch, for every stage after the fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from stages.contracts import Frames, Gaussians, Sequence
from stages.lib import images
from stages.lib.cameras import Cameras
from stages.lib.raster import RenderedArrays, render_numpy

# Below this alpha a straight colour is noise divided by nothing; it rounds to 0 of 255 anyway.
SMALLEST_ALPHA = 1.0 / 510.0
# An orbit looks slightly down, where a flat result shows.
ORBIT_ELEVATION_DEG = 15.0


def draw_on_black(gaussians: Gaussians, cameras: Cameras) -> RenderedArrays:
    """Colour on black, alpha and depth of one frame's gaussians in V views, as the CPU rasterizer gives them."""
    return render_numpy(
        gaussians.means,
        gaussians.quats,
        np.exp(gaussians.log_scales),
        1.0 / (1.0 + np.exp(-gaussians.opacity_logits)),
        gaussians.sh,
        cameras,
        np.zeros(3, np.float32),
    )


def draw_rgba(gaussians: Gaussians, cameras: Cameras) -> np.ndarray:
    """Straight-alpha uint8 images (V, H, W, 4) of one frame's gaussians."""
    drawn = draw_on_black(gaussians, cameras)
    alpha = drawn.alpha[..., None]
    straight = np.where(alpha > SMALLEST_ALPHA, drawn.image / np.maximum(alpha, SMALLEST_ALPHA), 0.0)
    rgba = np.concatenate([straight, alpha], axis=-1)
    return np.round(np.clip(rgba, 0.0, 1.0) * 255).astype(np.uint8)


def white(rgba: np.ndarray) -> np.ndarray:
    """Straight RGBA (..., 4) over white, uint8 (..., 3)."""
    return images.to_uint8(images.over_white(rgba))


def turn(sequence: Sequence, frames: Frames, shown: Iterable[int], count: int, size: int) -> Iterator[np.ndarray]:
    """`count` pictures (size, size, 3) uint8 on white, one by one: the camera turns once while the frames `shown` pass.

    The camera stands ORBIT_ELEVATION_DEG above the input's.
    """
    for index, frame in zip(range(count), shown, strict=True):
        cameras = frames.cameras(360.0 * index / count, frames.elevation_deg + ORBIT_ELEVATION_DEG, size)
        yield white(draw_rgba(sequence.frame(frame), cameras)[0])
