"""Toy scenes for every stage: a coloured ball that moves to the right, seen by seven cameras."""

from __future__ import annotations

import io

import numpy as np
import pytest

from stages.cli import Reporter
from stages.contracts import Anchors, Frames, Truth
from stages.lib.cameras import (
    EVALUATION_AZIMUTH_DEG,
    ZERO123PP_V11_AZIMUTH_DEG,
    ZERO123PP_V11_ELEVATION_DEG,
    Cameras,
    orbit,
)

SIZE = 32
FRAMES = 4


class Silent(Reporter):
    """A reporter whose lines a test can read."""

    def __init__(self) -> None:
        super().__init__("test", "", io.StringIO(), io.StringIO())

    @property
    def text(self) -> str:
        return self._log.getvalue()


def draw_ball(cameras: Cameras, centre: np.ndarray, radius: float = 0.4) -> np.ndarray:
    """RGBA (V, H, W, 4) of a ball, red above and blue below, by its projected disc."""
    middle = cameras.project(centre[None])[:, 0]
    edge = radius * cameras.intrinsics[0, 0, 0] / np.linalg.norm(cameras.positions - centre, axis=1)
    rows, columns = np.mgrid[: cameras.height, : cameras.width] + 0.5
    distance = np.hypot(columns - middle[:, 0, None, None], rows - middle[:, 1, None, None])
    alpha = np.clip(edge[:, None, None] - distance + 0.5, 0, 1)
    above = rows[None] < middle[:, 1, None, None]
    rgb = np.where(above[..., None], [220, 60, 40], [40, 80, 210])
    return np.concatenate([rgb * (alpha[..., None] > 0), alpha[..., None] * 255], axis=-1).round().astype(np.uint8)


@pytest.fixture
def ball():
    """The function that draws a ball."""
    return draw_ball


@pytest.fixture
def report() -> Silent:
    return Silent()


@pytest.fixture(scope="module")
def report_once() -> Silent:
    """A reporter for what a module makes once."""
    return Silent()


@pytest.fixture
def scene() -> tuple[Frames, Anchors, Truth]:
    """Four frames of a moving ball with six anchors and four ground-truth views."""
    times = np.linspace(0, 1, FRAMES)
    centres = [np.array([-0.15 + 0.3 * time, 0.0, 0.0]) for time in times]

    def drawn(azimuth, elevation):
        cameras = orbit(azimuth, elevation, 2.0, 49.1, SIZE, SIZE)
        return np.stack([draw_ball(cameras, centre) for centre in centres])

    anchors = (np.array(ZERO123PP_V11_AZIMUTH_DEG), np.array(ZERO123PP_V11_ELEVATION_DEG))
    evaluation = np.array(EVALUATION_AZIMUTH_DEG)
    frames = Frames(drawn(0.0, 0.0)[:, 0], times, 2, 49.1, 2.0, 0.0)
    truth = np.ascontiguousarray(drawn(evaluation, 0.0).swapaxes(0, 1))
    angles = np.repeat(evaluation[:, None], FRAMES, axis=1)
    return (
        frames,
        Anchors(drawn(*anchors), np.arange(FRAMES), *anchors, "rendered"),
        Truth(truth, angles, np.zeros_like(angles)),
    )
