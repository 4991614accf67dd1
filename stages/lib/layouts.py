"""Where the files of a clip are: the dataset layouts that the pipeline reads, found by name alone.

Vocabulary: a *source* is the path that the user gives; its *kind* is one of the layouts below; *frames* are
the files of the input view over time; *anchors* are six files at known angles for one frame; a *track* is a
ground-truth view over time, from a fixed or a moving camera.

    stag4d        <source>/ref/{i}_rgba.png, and if present <source>/zero123/{i}_rgba/{0..5}.png
    consistent4d  <root>/input/<object>/{t}.png and <root>/eval_gt/<object>/eval_{0..3}/{t}.png;
                  the source is <root>/<object> (a path that need not exist) or <root>/input/<object>
    diffusion4d   <source>/front_frame{i}.png, and if present <source>/multi_frame{i}.png
    images        <source>/*.png (jpg, jpeg, webp, bmp, tif, tiff), ordered by the numbers in their names
    video         <source> is one file: mp4, m4v, mov, webm, mkv, avi, gif
    image         <source> is one still picture, of which a clip is generated
    prompt        no files at all, <source> is the text of which picture and clip are generated
    procedural    no files at all

Conventions: files are in numeric order (2 before 10). Azimuths are relative to the input camera, positive
towards its right (see `cameras.py`); elevations of tracks are added to that of the input camera; degrees.
This module is imported while Snakemake parses the Snakefile, so it imports the standard library only.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from stages.settings import SettingsError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")

# Zero123++ draws six views a frame (README of SUDO-AI-3D/zero123plus).
N_ANCHOR_VIEWS = 6
# Azimuths of eval_0 to eval_3 (readme.txt of the Consistent4D test set, quoted in its issue 12).
CONSISTENT4D_AZIMUTH_DEG = (-75.0, 15.0, 105.0, 195.0)

EXPECTED = (
    "expected one of: a video file (" + ", ".join(suffix[1:] for suffix in VIDEO_SUFFIXES) + "); "
    "a folder of images; a folder with ref/0_rgba.png (STAG4D); a folder with front_frame0.png (Diffusion4D); "
    "or <root>/<object> where <root>/input/<object> exists (Consistent4D)"
)


@dataclass(frozen=True)
class Track:
    """One ground-truth view over time: a file and an angle for each frame of the source."""

    name: str
    files: tuple[Path, ...]
    azimuth_deg: tuple[float, ...]
    elevation_deg: tuple[float, ...]
    """added to the input camera's elevation"""


@dataclass(frozen=True)
class Layout:
    """The files of one source."""

    frames: tuple[Path, ...] = ()
    """in order; for a video the one file"""
    anchors: dict[int, tuple[Path, ...]] = field(default_factory=dict)
    """frame index in the source -> six files in the order of Zero123++"""
    truth: tuple[Track, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file, sorted by path: the inputs of a rule."""
        every = set(self.frames)
        every.update(path for six in self.anchors.values() for path in six)
        every.update(path for track in self.truth for path in track.files)
        return tuple(sorted(every))


def detect_kind(path: str | Path) -> str:
    """Name the layout of `path`: stag4d, consistent4d, diffusion4d, images or video.

    Raises SettingsError, listing the layouts, when nothing fits.
    """
    path = Path(path).expanduser()
    if _consistent4d_root(path):
        return "consistent4d"
    if path.is_file():
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return "video"
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise SettingsError(
                f"{path} is one picture; expected a clip of at least 2 frames. Type the folder that holds all of "
                f"them, e.g. `path: {path.parent}`, or a video file; or `image: {path}` to have a clip generated."
            )
        raise SettingsError(f"{path} has the suffix {path.suffix!r}; {EXPECTED}. Convert it, or correct `path`.")
    if not path.exists():
        raise SettingsError(f"{path} does not exist; {EXPECTED}. Correct `path`.")
    if _numbered(path / "ref", "", "_rgba.png"):
        return "stag4d"
    if _numbered(path, "front_frame", ".png"):
        return "diffusion4d"
    if any(child.suffix.lower() in IMAGE_SUFFIXES for child in path.iterdir()):
        return "images"
    raise SettingsError(f"{path} holds no image; {EXPECTED}. Correct `path`.")


def layout(kind: str, source: str | Path) -> Layout:
    """List the files of `source`, which is of `kind` ("auto" detects it).

    Raises SettingsError naming the first file that is missing and how many were expected.
    """
    readers = {
        "procedural": lambda _: Layout(),
        "video": _video,
        "images": lambda path: Layout(frames=image_files(path)),
        "stag4d": _stag4d,
        "consistent4d": _consistent4d,
        "diffusion4d": _diffusion4d,
        "prompt": lambda _: Layout(),
        "image": lambda path: Layout(frames=(_still(path),)),
    }
    if kind == "auto":
        kind = detect_kind(source)
    if kind not in readers:
        raise SettingsError(f"kind {kind!r} is unknown; expected one of {', '.join(readers)}, auto.")
    # Path.expanduser refuses an unknown user, as a prompt that begins with ~ would name.
    return readers[kind](Path(os.path.expanduser(source)))


def image_files(folder: str | Path) -> tuple[Path, ...]:
    """The images of a folder by the numbers in their names; raises SettingsError when there is none.

    Raises SettingsError too when two names differ in nothing but leading zeros or suffix, since their order
    would be a guess.
    """
    folder = Path(folder).expanduser()
    found = [] if not folder.is_dir() else [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    # macOS leaves "._name.png" beside files copied to other disks; they are not images.
    found = sorted((p for p in found if not p.name.startswith(".")), key=lambda p: (_natural(p.stem), p.name))
    if not found:
        state = "holds no image" if folder.is_dir() else "is not a folder"
        raise SettingsError(f"{folder} {state}; expected files such as 0.png, 1.png. Correct the path.")
    for one, other in pairwise(found):
        if _natural(one.stem) == _natural(other.stem):
            raise SettingsError(
                f"{one} and {other.name} are the same frame twice; expected one file a frame. Remove one of them."
            )
    return tuple(found)


def chosen_frames(total: int, first: int = 0, last: int | None = None, stride: int = 1) -> tuple[int, ...]:
    """Indices of the frames used, of `total` in the source; `last` is inclusive, None = to the end.

    Raises SettingsError when the range leaves the clip or fewer than 2 frames remain.
    """
    span = f"frames 0 to {total - 1}"
    if total == 1:
        raise SettingsError("the source has one frame, which is a picture; expected a clip of at least 2 frames.")
    if last is not None and last < first:
        raise SettingsError(
            f"no frame is in range: frames.first is {first} and frames.last is {last}; expected first < last. "
            "Swap them."
        )
    if first >= total:
        raise SettingsError(f"frames.first is {first} but the source has {span}. Type `frames.first: 0`.")
    if last is not None and last >= total:
        raise SettingsError(
            f"frames.last is {last} but the source has {span}. Type `frames.last: {total - 1}` or null (to the end)."
        )
    chosen = tuple(range(first, total if last is None else last + 1, stride))
    if len(chosen) < 2:
        raise SettingsError(
            f"frames.first {first}, frames.last {last} and frames.stride {stride} leave {len(chosen)} of {total} "
            "frames; one frame is a picture, expected at least 2. Lower frames.stride or widen the range."
        )
    return chosen


def _natural(text: str) -> tuple:
    """Sort key in which digits count as numbers: ("frame", 2) before ("frame", 10)."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", text) if part)


def _numbered(folder: Path, prefix: str, suffix: str) -> set[int]:
    """The i for which folder/{prefix}{i}{suffix} exists, i written without leading zeros."""
    if not folder.is_dir():
        return set()
    pattern = re.compile(re.escape(prefix) + r"(0|[1-9]\d*)" + re.escape(suffix))
    matches = (pattern.fullmatch(child.name) for child in folder.iterdir())
    return {int(match[1]) for match in matches if match}


def _consecutive(folder: Path, prefix: str, suffix: str, count: int | None = None) -> tuple[Path, ...]:
    """folder/{prefix}{i}{suffix} for i from 0, without a gap; `count` None = as many as the highest number says."""
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; expected one with {prefix}0{suffix} in it. Correct the path.")
    present = _numbered(folder, prefix, suffix)
    expected = max(present, default=0) + 1 if count is None else count
    for index in range(expected):
        if index not in present:
            missing = folder / f"{prefix}{index}{suffix}"
            raise SettingsError(
                f"{missing} is missing; expected {expected} file{'s' * (expected > 1)}, "
                f"{prefix}0{suffix} to {prefix}{expected - 1}{suffix}, found {len(present)}. "
                "Restore it, or renumber the files from 0."
            )
    return tuple(folder / f"{prefix}{index}{suffix}" for index in range(expected))


def _truth_files(folder: Path, prefix: str, n_frames: int) -> tuple[Path, ...]:
    """folder/{prefix}{i}.png for every input frame; raises SettingsError when one is missing or has no input frame.

    Scores of unequal clips are not comparable, and public scripts cut the longer one without a word.
    """
    files = _consecutive(folder, prefix, ".png", n_frames)
    further = sorted(index for index in _numbered(folder, prefix, ".png") if index >= n_frames)
    if further:
        raise SettingsError(
            f"{folder / f'{prefix}{further[0]}.png'} has no input frame: the input holds {n_frames}, the ground truth "
            f"{n_frames + len(further)}; expected equally many. Restore the missing input frames, or remove "
            f"{prefix}{further[0]}.png and what follows; to score fewer frames of both type `frames.last`."
        )
    return files


def _still(path: Path) -> Path:
    if not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES:
        state = "is no picture" if path.is_file() else "is a folder" if path.is_dir() else "does not exist"
        suffixes = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise SettingsError(
            f"{path} {state}; expected one still picture ({suffixes}), of which a clip is generated. Correct `image`, "
            "or type `path: ...` for a clip that is there already."
        )
    return path


def _video(path: Path) -> Layout:
    if not path.is_file():
        raise SettingsError(f"{path} is not a file; expected a video. Correct the path.")
    return Layout(frames=(path,))


def _stag4d(folder: Path) -> Layout:
    """STAG4D's dataset_4d.py: ref/{i}_rgba.png and zero123/{i}_rgba/{0..5}.png."""
    frames = _consecutive(folder / "ref", "", "_rgba.png")
    anchors = {}
    for index in range(len(frames)):
        six = folder / "zero123" / f"{index}_rgba"
        # A frame without its folder may lie outside the chosen range; the stage `anchors` refuses it otherwise.
        if six.is_dir():
            anchors[index] = _consecutive(six, "", ".png", N_ANCHOR_VIEWS)
    return Layout(frames=frames, anchors=anchors)


def _consistent4d_root(path: Path) -> Path | None:
    """The folder that holds input/ and eval_gt/ of the object that `path` names, if there is one."""
    if path.parent.name == "input" and path.is_dir() and (path.parent.parent / "eval_gt" / path.name).is_dir():
        return path.parent.parent
    if not path.exists() and (path.parent / "input" / path.name).is_dir():
        return path.parent
    return None


def _consistent4d(path: Path) -> Layout:
    root = _consistent4d_root(path)
    if root is None:
        raise SettingsError(
            f"{path} is no object of the Consistent4D test set; expected {path.parent}/input/{path.name} and "
            f"{path.parent}/eval_gt/{path.name}. Type <root>/<object>, where <root> holds input/ and eval_gt/."
        )
    frames = _consecutive(root / "input" / path.name, "", ".png")
    tracks = []
    for view, azimuth_deg in enumerate(CONSISTENT4D_AZIMUTH_DEG):
        folder = root / "eval_gt" / path.name / f"eval_{view}"
        files = _truth_files(folder, "", len(frames))
        tracks.append(Track(folder.name, files, (azimuth_deg,) * len(files), (0.0,) * len(files)))
    return Layout(frames=frames, truth=tuple(tracks))


def _diffusion4d(folder: Path) -> Layout:
    """Diffusion4D's rendering/blender.py: frame i of the orbit is at i / (T - 1) of a full turn to the right."""
    frames = _consecutive(folder, "front_frame", ".png")
    if not _numbered(folder, "multi_frame", ".png"):
        return Layout(frames=frames)
    files = _truth_files(folder, "multi_frame", len(frames))
    azimuth_deg = tuple(360.0 * index / max(len(files) - 1, 1) for index in range(len(files)))
    return Layout(frames=frames, truth=(Track("orbit", files, azimuth_deg, (0.0,) * len(files)),))
