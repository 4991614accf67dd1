"""Objects of the embedded suite as a fit sees them: the input view's frames, and true anchors."""

from __future__ import annotations

import numpy as np

from stages.contracts import Anchors, Frames
from stages.lib import suite
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG, orbit
from stages.lib.objects import FOVY_DEG, RADIUS


def frames_of(name: str, count: int, size: int) -> Frames:
    """So many frames over the object's whole animation."""
    times = np.linspace(0.0, 1.0, count)
    rgba = suite.render(name, times, orbit(0.0, 0.0, RADIUS, FOVY_DEG, size, size))[:, 0]
    return Frames(rgba, times, count // 2, FOVY_DEG, RADIUS, 0.0)


def anchors_of(name: str, frames: Frames) -> Anchors:
    """Six true views of every frame."""
    azimuth, elevation = np.array(ZERO123PP_V11_AZIMUTH_DEG), np.array(ZERO123PP_V11_ELEVATION_DEG)
    rgba = suite.render(name, frames.times, frames.cameras(azimuth, elevation))
    return Anchors(rgba, np.arange(len(rgba)), azimuth, elevation, "rendered")
