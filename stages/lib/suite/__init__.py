"""The embedded suite: procedural animated objects with exact views from everywhere at every time.

They are drawn by sphere tracing signed distance fields, so nothing is scored against its own
representation; shading is diffuse and fixed in the world, so a view-independent colour can match it.

Vocabulary and conventions
--------------------------
- Object: a named animation. Family: a named generator; with an integer seed it gives one object.
- Every object stays inside the ball of radius 0.79 around the world's origin and faces +z.
- World and cameras as in `stages/lib/cameras.py`. Times run from 0 to 1 and may be any number between.
- Images are RGBA uint8 with straight alpha; outside the object all four channels are 0.
- Letters: T times, V views, H W image size, P parts of an object.
"""

from __future__ import annotations

import difflib
from functools import lru_cache

import numpy as np

from stages.lib.cameras import Cameras
from stages.lib.suite import kernels
from stages.lib.suite.development import DEVELOPMENT_POSES
from stages.lib.suite.families import FAMILY_MAKERS
from stages.lib.suite.program import SuiteObject, assemble, fit
from stages.lib.suite.reporting import REPORTING_POSES

REPORTING: tuple[str, ...] = tuple(REPORTING_POSES)
DEVELOPMENT: tuple[str, ...] = tuple(DEVELOPMENT_POSES)
TRAINING_FAMILIES: tuple[str, ...] = tuple(FAMILY_MAKERS)


def names() -> tuple[str, ...]:
    """All names that `render` knows: the reporting and development objects and the training families."""
    return REPORTING + DEVELOPMENT + TRAINING_FAMILIES


@lru_cache(maxsize=256)
def get_object(name: str, seed: int = 0) -> SuiteObject:
    """The object of a name; `seed` chooses within a family and is ignored by the single objects.

    Raises ValueError for an unknown name or a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or a positive integer, got {seed}")
    if name in FAMILY_MAKERS:
        # The family's own number keeps equal seeds of different families apart.
        pose = FAMILY_MAKERS[name](np.random.default_rng([TRAINING_FAMILIES.index(name), seed]))
    elif name in REPORTING_POSES or name in DEVELOPMENT_POSES:
        pose = {**REPORTING_POSES, **DEVELOPMENT_POSES}[name]
    else:
        nearest = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)[0]
        raise ValueError(
            f"no object or family named {name!r} in the embedded suite; the nearest name is {nearest!r}. "
            'List all with: python -c "from stages.lib import suite; print(*suite.names())"'
        )
    return SuiteObject(pose, fit(pose))


def render_parts(
    parts: np.ndarray, cameras: Cameras, *, center=(0.0, 0.0, 0.0), unit: float = 1.0, antialias: bool = True
) -> np.ndarray:
    """Render one posed program (P, FIELDS) from V cameras: (V, H, W, 4) uint8, straight alpha.

    center, unit: see `program.Fit`. antialias: resolve edge pixels with 4 x 4 samples; without it every pixel
    is one sample at its centre.
    """
    images = np.zeros((len(cameras), cameras.height, cameras.width, 4), np.uint8)
    origins = np.ascontiguousarray(cameras.positions * unit + np.asarray(center, float))
    work = np.zeros(kernels.REGISTERS)
    for view in range(len(cameras)):
        to_world = np.ascontiguousarray(cameras.world_to_camera[view, :3, :3].T)
        intrinsics = np.ascontiguousarray(cameras.intrinsics[view])
        kernels.render_image(parts, origins[view], to_world, intrinsics, float(unit), antialias, work, images[view])
    return images


def render(name: str, times, cameras: Cameras, *, seed: int = 0) -> np.ndarray:
    """Render an object at T times from V cameras: (T, V, H, W, 4) uint8, straight alpha.

    times: (T,) in [0, 1]. Each image depends on its own time and camera only. Raises ValueError for an
    unknown name or a time outside [0, 1].
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or not np.all((times >= 0.0) & (times <= 1.0)):
        raise ValueError(f"times must be a list of numbers in [0, 1], got {times!r}; divide frame numbers by T - 1")
    found = get_object(name, seed)
    images = np.empty((len(times), len(cameras), cameras.height, cameras.width, 4), np.uint8)
    for frame, time in enumerate(times):
        parts = assemble(found.pose(float(time)))
        images[frame] = render_parts(parts, cameras, center=found.fit.center, unit=found.fit.unit)
    return images
