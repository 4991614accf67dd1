"""Objects of the embedded suite as pictures for the small priors: an input view, Zero123++'s six views, and others.

Vocabulary: a *moment* is one time of one object seen from one azimuth; the *corpus* is what a prior is trained on.
Training objects have the seeds 0, 1, 2, ... of a training family, held-out ones the seeds from HELD_OUT on; the
reporting and the development objects belong to no family, so none of them can get into a corpus.

Conventions: cameras as in stages/lib/cameras.py, at the angles of Zero123++ v1.1 relative to the input camera. Letters:
S moments, V views, R views at random or given angles, H W pixels of a view, P pixels of the input view's side.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from stages.lib import suite
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG, orbit
from stages.settings import CorpusSettings, SettingsError

# Seeds of training objects stay far below: a family would need a million of them.
HELD_OUT = 1_000_000
# The default camera of the pipeline, at which Zero123++ v1.1's views fit the frames.
RADIUS, FOVY_DEG = 2.0, 49.1
SIX = len(ZERO123PP_V11_AZIMUTH_DEG)


@dataclass(frozen=True)
class Moment:
    """What is drawn together: which object, when, where the input camera stands, and where further cameras do."""

    name: str
    object_seed: int
    time: float
    azimuth_deg: float
    around: tuple[tuple[float, float], ...] = ()
    """azimuth relative to the input camera and elevation, degrees, of the views beside the six"""


def families(settings: CorpusSettings) -> list[str]:
    """The families that are trained on; raises SettingsError for a name in `leave_out` that is none."""
    for name in settings.leave_out:
        if name not in suite.TRAINING_FAMILIES:
            near = difflib.get_close_matches(name, suite.TRAINING_FAMILIES, n=1, cutoff=0.0)[0]
            raise SettingsError(f"priors.corpus.leave_out: {name!r} is no training family; did you mean {near!r}?")
    return [name for name in suite.TRAINING_FAMILIES if name not in settings.leave_out]


def training_moments(settings: CorpusSettings, seed: int) -> list[Moment]:
    """The corpus's moments; times, azimuths and random views of an object depend on `seed` and on that object alone."""
    found = []
    for name in families(settings):
        for object_seed in range(settings.objects):
            rng = np.random.default_rng([seed, suite.TRAINING_FAMILIES.index(name), object_seed])
            times = rng.uniform(size=settings.times)
            azimuths = rng.uniform(-1, 1, size=settings.times) * settings.azimuth_jitter_deg
            turns = rng.uniform(-180, 180, size=(settings.times, settings.random_views))
            heights = rng.uniform(-1, 1, size=turns.shape) * settings.random_elevation_deg
            around = (tuple(zip(*angles, strict=True)) for angles in zip(turns.tolist(), heights.tolist(), strict=True))
            drawn = zip(times.tolist(), azimuths.tolist(), around, strict=True)
            found += [Moment(name, object_seed, *each) for each in drawn]
    return found


def render(
    moments: list[Moment], view_size: int, condition_size: int, threads: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Six views (S, 6, H, W, 4), input views (S, P, P, 4) and further views (S, R, H, W, 4), uint8, straight alpha.

    moments: all with equally many views `around`. Each object is one job of `threads` threads (the renderer holds no
    lock); the result does not depend on them.
    """

    def drawn(one_object: list[Moment]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        pictures = []
        for moment in one_object:
            six = zip(ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG, strict=True)
            turns, heights = np.array([*six, *moment.around]).T
            around = orbit(moment.azimuth_deg + turns, heights, RADIUS, FOVY_DEG, view_size, view_size)
            front = orbit(moment.azimuth_deg, 0.0, RADIUS, FOVY_DEG, condition_size, condition_size)
            views, condition = (
                suite.render(moment.name, [moment.time], cameras, seed=moment.object_seed)[0]
                for cameras in (around, front)
            )
            pictures.append((views[:SIX], condition[0], views[SIX:]))
        return pictures

    jobs = [list(group) for _, group in groupby(moments, key=lambda moment: (moment.name, moment.object_seed))]
    pictures = []
    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(drawn, jobs):
            pictures += done
            progress(len(pictures), len(moments))
    views, conditions, further = zip(*pictures, strict=True)
    return np.stack(views), np.stack(conditions), np.stack(further)
