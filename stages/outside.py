"""outside: the pictures of another system, checked and brought into the form in which ours are scored.

Reads <path>/<scene>/<view>/<t>.png and the scene's frames.npz and truth.npz; writes views.npz, which `metrics` and
`networks` score like our own renders.

Conventions
-----------
- A view's folder is `eval_0` to `eval_3` (Consistent4D: azimuths -75, 15, 105, 195 degrees) or names its camera:
  `az<degrees>`, or `az<degrees>_el<degrees>` with the elevation relative to the input camera's.
- A frame is `<t>.png`, t counted from 0, leading zeros allowed.
- RGBA is straight alpha unless the settings say premultiplied. RGB is taken as drawn on white: what is not pure white
  is the object, which changes no pixel of the picture on white.
- Azimuths are believed only if the silhouettes agree: at the first frame each view must fit its own ground truth
  better than that of any other view.
- Letters: V views, T frames, H W pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError, record
from stages.contracts import Frames, Truth, Views
from stages.lib import images, layouts, quality
from stages.lib.pairing import ANGLE_TOLERANCE_DEG, OUTSIDE, angle_difference
from stages.settings import OutsideRun

CAMERA_FOLDER = re.compile(r"az(-?\d+(?:\.\d+)?)(?:_el(-?\d+(?:\.\d+)?))?")
MASK_ALPHA = 0.5
# A silhouette must fit another view's better than its own by this before the views count as swapped: renders of the
# right camera reach 0.9 and more, and a poor method's silhouette may by chance fit a neighbour's a little better.
CLEARLY_BETTER_IOU = 0.05
# Below this no view fits at all: mirror images of one object's front and back still overlap by a third.
NO_FIT_IOU = 0.2
# Premultiplied colour never exceeds alpha; straight colour does somewhere on the rim, unless the rim is dark in the
# ground truth as well. So many pixels of the rim must be there to tell.
RIM_PIXELS = 50
BRIGHT_RIM_FRACTION = 0.05


@dataclass(frozen=True)
class Track:
    """One view of the other system: its folder, files in order, angles in degrees (elevation relative)."""

    folder: Path
    files: tuple[Path, ...]
    azimuth_deg: float
    elevation_deg: float


def camera(name: str) -> tuple[float, float] | None:
    """Azimuth and relative elevation in degrees that a folder's name says, None when it says none."""
    for index, azimuth in enumerate(layouts.CONSISTENT4D_AZIMUTH_DEG):
        if name == f"eval_{index}":
            return azimuth, 0.0
    match = CAMERA_FOLDER.fullmatch(name)
    return (float(match[1]), float(match[2] or 0.0)) if match else None


def tracks(folder: Path, n_frames: int) -> list[Track]:
    """The views in a scene's folder, each with its T files; raises StageError naming what is missing or too much."""
    if not folder.is_dir():
        raise StageError(f"{folder} is no folder; expected one with eval_0/0.png, or az15/0.png. Correct the path.")
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        angles = camera(place.name)
        if angles is None:
            raise StageError(
                f"{place} names no camera; expected eval_0 to eval_3, or az<degrees> such as az-75 or az15_el10. "
                "Rename or remove it."
            )
        # 7.png and 007.png are frame 7; a name that is no number counts as a frame too many.
        files = sorted(place.glob("*.png"))
        present = {int(path.stem): path for path in files if path.stem.isdigit()}
        missing = [index for index in range(n_frames) if index not in present]
        if missing or len(files) != n_frames:
            also = "" if not missing else f"; {place / f'{missing[0]}.png'} is missing"
            wanted = {present[index] for index in range(n_frames) if index in present}
            further = [path for path in files if path not in wanted]
            also += f"; {further[0]} has no frame in the ground truth" if further else ""
            raise StageError(
                f"{place} holds {len(files)} frames, the ground truth has {n_frames}; expected 0.png to "
                f"{n_frames - 1}.png{also}. Scores of unequal clips are not comparable: give every frame, or shorten "
                "the ground truth with frames.last."
            )
        found.append(Track(place, tuple(present[index] for index in range(n_frames)), *angles))
    if not found:
        raise StageError(f"{folder} holds no view; expected folders eval_0 to eval_3, or az<degrees>.")
    return found


def read_rgba(file: Path, size: tuple[int, int], premultiplied: bool) -> np.ndarray:
    """One picture as straight RGBA (H, W, 4) uint8; raises StageError naming the file."""
    try:
        picture = images.read(file)
    except images.ImageError as error:
        raise StageError(str(error)) from None
    if picture.shape[:2] != size:
        raise StageError(
            f"{file} is {picture.shape[1]}x{picture.shape[0]} pixels; expected {size[1]}x{size[0]} as the "
            "ground truth. Render at that size, or set frames.size to the size of these pictures."
        )
    if picture.shape[-1] == 3:
        alpha = (picture != 255).any(axis=-1).astype(np.uint8) * 255
        return np.dstack([picture, alpha])
    if premultiplied:
        return images.straighten(picture.astype(np.float32) / 255)
    return picture


def bright_rim(rgba: np.ndarray) -> tuple[int, int]:
    """Pixels of the rim (alpha neither 0 nor 255), and those of them with a channel above alpha; (..., 4) uint8."""
    alpha = rgba[..., 3]
    rim = (alpha > 0) & (alpha < 255)
    return int(rim.sum()), int((rim & (rgba[..., :3].max(axis=-1) > alpha)).sum())


def check_straight(track: Track, rgba: np.ndarray, truth: np.ndarray) -> None:
    """Raise StageError when a view's colours (T, H, W, 4) look multiplied by alpha and the ground truth's do not."""
    rim, bright = bright_rim(rgba)
    true_rim, true_bright = bright_rim(truth)
    if rim < RIM_PIXELS or bright > 0 or true_rim < RIM_PIXELS:
        return
    if true_bright > BRIGHT_RIM_FRACTION * true_rim:
        first = next(file for file, picture in zip(track.files, rgba, strict=True) if bright_rim(picture)[0])
        raise StageError(
            f"{first} looks premultiplied, with the rest of its view: none of its {rim} half-transparent pixels is "
            f"brighter than its alpha, {true_bright} of {true_rim} of the ground truth are; expected straight alpha. "
            "Type `alpha: premultiplied` beside its path."
        )


def overlaps(rgba: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mask IoU (V, W) of the first frame of views (V, T, H, W, 4) with that of every ground-truth view."""
    masks, true = rgba[:, 0, ..., 3] / 255, truth[:, 0, ..., 3] / 255
    return np.array([[quality.iou(mask, other, MASK_ALPHA) for other in true] for mask in masks])


def check_pairing(found: list[Track], own: list[int], iou: np.ndarray, truth: Truth) -> None:
    """Raise StageError unless every view's silhouette fits the ground truth at its own azimuth best.

    own: index of the ground-truth view of each track; iou: as `overlaps`. The message names the azimuths that fit.
    """
    lines = []
    for index, track in enumerate(found):
        best = int(iou[index].argmax())
        here, there = iou[index, own[index]], iou[index, best]
        if there < NO_FIT_IOU:
            lines.append(f"{track.folder.name} fits no view (best IoU {there:.2f})")
        elif there > here + CLEARLY_BETTER_IOU:
            azimuth = truth.azimuth_deg[best, 0]
            lines.append(
                f"{track.folder.name} was taken for azimuth {track.azimuth_deg:g} (IoU {here:.2f}) and fits "
                f"{azimuth:g} (IoU {there:.2f}): rename it az{azimuth:g}"
            )
    if lines:
        raise StageError(
            f"the views of {found[0].folder.parent} are not where their names say, by the silhouettes of the first "
            f"frame: {'; '.join(lines)}. Nothing was scored."
        )


def matching(found: list[Track], truth: Truth, input_elevation_deg: float) -> list[int]:
    """Index of the ground-truth view of every track; raises StageError when a view has none, or two have one."""
    own: list[int] = []
    for track in found:
        elevation = input_elevation_deg + track.elevation_deg
        fits = [
            index
            for index in range(len(truth.azimuth_deg))
            if angle_difference(truth.azimuth_deg[index], np.full_like(truth.azimuth_deg[index], track.azimuth_deg))
            <= ANGLE_TOLERANCE_DEG
            and np.abs(truth.elevation_deg[index] - elevation).max() <= ANGLE_TOLERANCE_DEG
        ]
        if not fits:
            known = ", ".join(f"{azimuth:g}" for azimuth in truth.azimuth_deg[:, 0])
            raise StageError(
                f"{track.folder} is at azimuth {track.azimuth_deg:g}, elevation {elevation:g} degrees, where there is "
                f"no ground truth; expected one of the azimuths {known or '(none)'}. Remove or rename it."
            )
        own.append(fits[0])
    for index in range(len(truth.azimuth_deg)):
        if own.count(index) != 1:
            names = [track.folder.name for track, mine in zip(found, own, strict=True) if mine == index]
            raise StageError(
                f"{found[0].folder.parent} has {len(names)} views at azimuth {truth.azimuth_deg[index, 0]:g} "
                f"({', '.join(names) or 'none'}); expected one, since every ground-truth view is scored."
            )
    return own


def read(folder: Path, frames: Frames, truth: Truth, premultiplied: bool) -> Views:
    """The other system's pictures of one scene as Views, in the order of the ground truth; raises StageError."""
    if not len(truth.rgba):
        raise StageError(f"the scene has no ground-truth views; expected some, or {folder} cannot be scored.")
    found = tracks(folder, len(frames.rgba))
    own = matching(found, truth, float(frames.elevation_deg))
    rgba = np.empty(truth.rgba.shape, np.uint8)
    for track, index in zip(found, own, strict=True):
        for frame, file in enumerate(track.files):
            rgba[index, frame] = read_rgba(file, truth.rgba.shape[2:4], premultiplied)
        check_straight(track, rgba[index], truth.rgba[index])
    ordered = [found[own.index(index)] for index in range(len(own))]
    check_pairing(ordered, list(range(len(own))), overlaps(rgba, truth.rgba), truth)
    return Views(rgba, np.array(["truth"] * len(own)), truth.azimuth_deg, truth.elevation_deg)


def main(folder: Path, frames: Path, truth: Path, out: Path, settings: OutsideRun, report: Reporter) -> None:
    """Check and convert the pictures of another system."""
    views = read(folder, Frames.load(frames), Truth.load(truth), settings.outside.alpha == "premultiplied")
    about = record(settings, OUTSIDE)
    Views(views.rgba, views.kind, views.azimuth_deg, views.elevation_deg, about).save(out)
    report.say(f"wrote {out}: {views.rgba.shape[0]} views of {views.rgba.shape[1]} frames from {folder}")


if __name__ == "__main__":
    cli.run(main, "outside")
