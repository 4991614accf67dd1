"""The cameras of a scene that a viewer can jump to: the input's, the anchors', the evaluation's. Angles in degrees."""

from __future__ import annotations

from stages.contracts import Anchors, Frames
from stages.lib.cameras import EVALUATION_AZIMUTH_DEG


def cameras(frames: Frames, anchors: Anchors | None) -> list[dict]:
    """Kind, azimuth and elevation of each, in that order; without anchors where a scene has none yet."""

    def named(kind: str, azimuth: float, elevation: float) -> dict:
        return {"kind": kind, "azimuth": float(azimuth), "elevation": float(elevation)}

    anchored = () if anchors is None else zip(anchors.azimuth_deg, anchors.elevation_deg, strict=True)
    return [
        named("Input camera", 0.0, frames.elevation_deg),
        *(named("Anchor cameras, azimuth / elevation", *angles) for angles in anchored),
        *(named("Evaluation cameras", azimuth, frames.elevation_deg) for azimuth in EVALUATION_AZIMUTH_DEG),
    ]
