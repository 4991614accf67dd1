"""Stage frames: from a clip of any kind to square RGBA frames, and its ground-truth views where it has them.

    read -> choose frames -> matte -> check -> one square window for the clip -> resize -> Frames, Truth

Vocabulary: the *source* is the clip as it was read; a *matte* gives alpha to frames without it; a *window* is
the square of source pixels that becomes a frame; the *key* frame is the one of the canonical fit; *truth* are
views that no fit sees, only the metrics.

Conventions: letters T frames, V views, H W pixels, C channels (3 = RGB, 4 = RGBA with straight alpha); times
run from 0 at the first chosen frame to 1 at the last. See `cameras.py` for angles and `layouts.py` for files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Clip, Frames, Truth
from stages.lib import images, layouts, video
from stages.lib.cameras import EVALUATION_AZIMUTH_DEG, orbit
from stages.lib.images import ImageError, Window
from stages.settings import CameraSettings, FramesRun, FramesSettings

# A mask smaller than this fraction of the picture is no object (1.6 pixels of 128 x 128).
ABSENT_FRACTION = 1e-4
# Share of the picture's perimeter that the object may touch. A tail that leaves the picture stays below (the blue
# jay of the Consistent4D in-the-wild clips: 3 %), a body cut in two is above; the missing part cannot be rebuilt.
BORDER_FRACTION = 0.05


@dataclass(frozen=True)
class Source:
    """A clip as it was read, with only the chosen frames."""

    clip: np.ndarray
    """(T, H, W, C) uint8, C = 3 or 4"""
    names: tuple[str, ...]
    """what to call each frame in an error: its file, or its number in the video"""
    masks: np.ndarray | None = None
    """(T, H, W) uint8, mask files in the order of the frames"""
    truth: np.ndarray | None = None
    """(V, T, H, W, 4) uint8"""
    truth_azimuth_deg: np.ndarray | None = None
    """(V, T) float64"""
    truth_elevation_deg: np.ndarray | None = None
    """(V, T) float64, absolute"""
    record: dict | None = None
    """how a generated clip was made; None for all others"""


def main(out: Path, truth: Path, settings: FramesRun, report: Reporter, clip: list[Path] = ()) -> None:
    """Decode, matte, recentre and resize a clip (`clip`: one that was generated); write frames and ground truth."""
    try:
        if settings.scene.kind in ("prompt", "image"):
            source = _generated(clip, settings, report)
        else:
            source = _render(settings, report) if settings.scene.kind == "procedural" else _read(settings, report)
        frames, views = build(source, settings.frames, settings.camera, report)
    except ImageError as error:
        raise StageError(str(error)) from None
    record = {**cli.record(settings, "frames"), "source_frames": list(source.names)}
    if source.record is not None:
        record["clip"] = source.record
    frames, views = Frames(**{**vars(frames), "record": record}), Truth(**{**vars(views), "record": record})
    frames.check()
    views.check()
    frames.save(out)
    views.save(truth)
    report.say(f"wrote frames {frames.rgba.shape} and truth {views.rgba.shape}")


def build(source: Source, settings: FramesSettings, camera: CameraSettings, report: Reporter) -> tuple[Frames, Truth]:
    """Turn a source into Frames (T, size, size, 4) and Truth (V, T, size, size, 4), both without record.

    Raises StageError when no matte can be had, the object is absent from a frame or cut by the border, the key
    is out of range, or a recentring is asked for that other views cannot follow.
    """
    n_frames = len(source.clip)
    key = _key(settings.key, n_frames)
    if settings.recentre and source.truth is not None:
        raise StageError(
            "frames.recentre is true but this source has ground-truth views, whose cameras cannot follow the moved "
            "object. Type `frames.recentre: false`."
        )
    rgba = matte(source, settings, report)
    masks = rgba[..., 3] > images.MASK_ALPHA
    check_object(masks, source.names, report)
    window = _window(masks, settings, source.record is not None, report)
    size = settings.size
    resized = np.stack([images.resample(picture, window, size) for picture in rgba])
    for picture, name in zip(resized, source.names, strict=True):
        if not (picture[..., 3] > images.MASK_ALPHA).any():
            raise StageError(
                f"the object in {name} is smaller than a pixel at frames.size {size}; expected to see it. Type "
                "`frames.recentre: true` or raise frames.size."
            )
    frames = Frames(
        rgba=resized,
        times=np.linspace(0.0, 1.0, n_frames),
        key=key,
        fovy_deg=camera.fovy_deg,
        radius=camera.radius,
        elevation_deg=camera.elevation_deg,
    )
    report.say(f"key frame {key}, {source.names[key]}")
    return frames, _truth(source, n_frames, size)


# ------------------------------------------------------------------ read


def _render(settings: FramesRun, report: Reporter) -> Source:
    """Draw a procedural scene from the input camera and the four evaluation cameras."""
    # Numba takes a second to import, and only procedural scenes need it.
    from stages.lib import suite

    scene, frames, camera = settings.scene, settings.frames, settings.camera
    if scene.source not in suite.names():
        raise StageError(f"no procedural object is named {scene.source!r}; expected one of {', '.join(suite.names())}.")
    chosen = layouts.chosen_frames(scene.n_frames, frames.first, frames.last, frames.stride)
    times = np.linspace(0.0, 1.0, scene.n_frames)[list(chosen)]
    azimuth_deg = np.array([0.0, *EVALUATION_AZIMUTH_DEG])
    cameras = orbit(azimuth_deg, camera.elevation_deg, camera.radius, camera.fovy_deg, frames.size, frames.size)
    report.say(f"rendering {scene.source!r} at {len(times)} times from {len(cameras)} cameras")
    pictures = []
    for index in range(len(times)):
        pictures.append(suite.render(scene.source, times[index : index + 1], cameras)[0])
        report.progress(index + 1, len(times))
    views = np.stack(pictures).swapaxes(0, 1)
    angles = np.broadcast_to(azimuth_deg[1:, None], (len(azimuth_deg) - 1, len(times)))
    return Source(
        clip=views[0],
        names=tuple(f"time {time:.4f}" for time in times),
        truth=views[1:],
        truth_azimuth_deg=angles.copy(),
        truth_elevation_deg=np.full(angles.shape, camera.elevation_deg),
    )


def _generated(clips: list[Path], settings: FramesRun, report: Reporter) -> Source:
    """The chosen frames of the clip that stage `clip` generated."""
    if len(clips) != 1:
        raise StageError(
            f"--clip names {len(clips)} files; expected one, the clip of this {settings.scene.kind}. Make it with "
            "`python -m stages.clip`."
        )
    made, chosen_by = Clip.load(clips[0]), settings.frames
    chosen = layouts.chosen_frames(len(made.rgba), chosen_by.first, chosen_by.last, chosen_by.stride)
    report.say(f"{settings.scene.source!r}: using {len(chosen)} of {len(made.rgba)} generated frames")
    names = tuple(f"frame {index} of {clips[0].name}" for index in chosen)
    masks = _read_masks(chosen_by, made.rgba, chosen, len(made.rgba)) if chosen_by.mask_path else None
    return Source(made.rgba[list(chosen)], names, masks, record=made.record)


def _read(settings: FramesRun, report: Reporter) -> Source:
    """Read the chosen frames of files, with masks and ground-truth views where there are any."""
    scene, chosen_by = settings.scene, settings.frames
    layout = layouts.layout(scene.kind, scene.source)
    report.say(f"{scene.source}: layout {scene.kind}, {len(layout.files)} files, {len(layout.truth)} truth views")
    if scene.kind == "video":
        decoded = video.decode(layout.frames[0], chosen_by.first, chosen_by.last, chosen_by.stride)
        # Decoding stops at `last`; had it stopped earlier, that is the end of the file.
        total = decoded.decoded
        chosen = layouts.chosen_frames(total, chosen_by.first, chosen_by.last, chosen_by.stride)
        clip = decoded.frames
        names = tuple(f"frame {index} of {layout.frames[0].name}" for index in chosen)
    else:
        total = len(layout.frames)
        chosen = layouts.chosen_frames(total, chosen_by.first, chosen_by.last, chosen_by.stride)
        clip = _stack([layout.frames[index] for index in chosen], report)
        names = tuple(layout.frames[index].name for index in chosen)
    report.say(
        f"using {len(chosen)} of {total} frames, {chosen[0]} to {chosen[-1]}: {clip.shape[2]} x {clip.shape[1]} pixels"
    )
    masks = _read_masks(settings.frames, clip, chosen, total) if settings.frames.mask_path else None
    if not layout.truth:
        return Source(clip, names, masks)
    index = list(chosen)
    return Source(
        clip,
        names,
        masks,
        truth=_read_truth([[track.files[i] for i in index] for track in layout.truth], report),
        truth_azimuth_deg=np.array([track.azimuth_deg for track in layout.truth])[:, index],
        truth_elevation_deg=np.array([track.elevation_deg for track in layout.truth])[:, index]
        + settings.camera.elevation_deg,
    )


def _stack(paths: Iterable[Path], report: Reporter) -> np.ndarray:
    """Read pictures of one size into (T, H, W, C); a clip with alpha in some files only is refused."""
    paths = list(paths)
    pictures = []
    for done, path in enumerate(paths, start=1):
        pictures.append(images.read(path))
        if pictures[-1].shape[:2] != pictures[0].shape[:2]:
            given, expected = ("{1} x {0}".format(*pictures[i].shape) for i in (-1, 0))
            raise StageError(
                f"{path} is {given} pixels but {paths[0].name} is {expected}; expected one size for the whole clip. "
                "Export the frames again at one size."
            )
        report.progress(done, len(paths))
    channels = [picture.shape[-1] for picture in pictures]
    if len(set(channels)) > 1:
        opaque = paths[channels.index(3)]
        raise StageError(
            f"{opaque} has no alpha but {paths[channels.index(4)].name} has; expected all frames with alpha or none. "
            "Export the frames again in one format."
        )
    return np.stack(pictures)


def _read_truth(tracks: list[list[Path]], report: Reporter) -> np.ndarray:
    """The ground-truth views (V, T, H, W, 4) of their files; raises StageError naming one that is opaque or odd."""
    views: list[np.ndarray] = []
    for files in tracks:
        view = _stack(files, report)
        if not images.has_alpha(view):
            raise StageError(
                f"{files[0]} is opaque, like every ground-truth picture of its view; expected RGBA files that are "
                "transparent around the object, as this layout has. Export them again with alpha."
            )
        if views and view.shape != views[0].shape:
            given, expected = (f"{shape[2]} x {shape[1]}" for shape in (view.shape, views[0].shape))
            raise StageError(
                f"{files[0]} is {given} pixels but {tracks[0][0]} is {expected}; expected one size for all "
                "ground-truth views. Export them again at one size."
            )
        views.append(view)
    return np.stack(views)


def _read_masks(settings: FramesSettings, clip: np.ndarray, chosen: tuple[int, ...], total: int) -> np.ndarray:
    """Read one mask a frame of the source, in numeric order: (T, H, W) uint8, 255 = object."""
    files = layouts.image_files(settings.mask_path)
    # A video is decoded only up to `last`, so that its masks may be more than the frames that were seen.
    if len(files) < total or (settings.last is None and len(files) != total):
        raise StageError(
            f"frames.mask_path {settings.mask_path} holds {len(files)} images for {total} frames; expected one mask a "
            "frame of the source, in the same order. Add the missing masks or remove the extra ones."
        )
    masks = []
    for index in chosen:
        mask = images.read(files[index])
        if mask.shape[:2] != clip.shape[1:3]:
            raise StageError(
                f"{files[index]} is {mask.shape[1]} x {mask.shape[0]} pixels but its frame is {clip.shape[2]} x "
                f"{clip.shape[1]}; expected equal sizes. Export the masks again at the frames' size."
            )
        masks.append(mask[..., 3] if images.has_alpha(mask) else mask[..., :3].max(axis=-1))
    return np.stack(masks)


# ------------------------------------------------------------------ matte


def matte(source: Source, settings: FramesSettings, report: Reporter) -> np.ndarray:
    """Give alpha to a clip: (T, H, W, 4) uint8, by `settings.matte`; raises StageError when that cannot be done."""
    with_alpha = images.has_alpha(source.clip)
    choice = settings.matte
    if choice == "auto":
        choice = "alpha" if with_alpha else "files" if source.masks is not None else "colour"
    report.say(f"matte: {choice}" + (" (chosen by auto)" if settings.matte == "auto" else ""))
    if choice == "alpha":
        if not with_alpha:
            raise StageError(
                "frames.matte is alpha but the source is opaque everywhere; expected RGBA frames. Type `frames.matte: "
                "colour` for a plain background, or `frames.matte: files` with `frames.mask_path`."
            )
        return images.without_noise(source.clip)
    rgb = source.clip[..., :3]
    if choice == "files":
        if source.masks is None:
            raise StageError(
                "frames.matte is files but frames.mask_path is null; expected a folder of masks. Type "
                "`frames.mask_path: <folder>`."
            )
        return images.without_noise(np.concatenate([rgb, source.masks[..., None]], axis=-1))
    return _colour_mattes(rgb, settings.matte_tolerance, report)


def _colour_mattes(clip: np.ndarray, tolerance: float, report: Reporter) -> np.ndarray:
    """Cut (T, H, W, 3) from its constant background; raises StageError when the border has no constant colour."""
    background, constant = images.background_colour(clip, tolerance)
    shown = "rgb({}, {}, {})".format(*np.round(background * 255).astype(int))
    if constant < images.CONSTANT_FRACTION:
        raise StageError(
            f"the frames have no alpha and no plain background: only {constant:.0%} of their border pixels are within "
            f"{tolerance} of {shown}, expected at least {images.CONSTANT_FRACTION:.0%}. Cut the object out first "
            "(e.g. `rembg p <folder> <folder_rgba>`) and give the RGBA frames as `path`, or give masks with "
            "`frames.matte: files` and `frames.mask_path: <folder>`."
        )
    report.say(
        f"background {shown}, found in {constant:.1%} of the border pixels; alpha from the distance to it, specks "
        f"below {images.SPECK_FRACTION:.0%} of the object dropped, holes below {images.HOLE_FRACTION:.2%} of the "
        "picture filled, background colour taken out of the edges. Parts of the object in the background's colour "
        "may be lost; mask files (`frames.matte: files`) are exact"
    )
    cut = []
    for picture in clip:
        cut.append(images.colour_matte(picture, background, tolerance))
        report.progress(len(cut), len(clip))
    return np.stack(cut)


# ------------------------------------------------------------------ checks


def check_object(masks: np.ndarray, names: tuple[str, ...], report: Reporter) -> None:
    """Raise StageError for the first frame of (T, H, W) bool without an object, or with one cut by the border."""
    height, width = masks.shape[1:]
    touched: dict[str, float] = {}
    for mask, name in zip(masks, names, strict=True):
        if mask.mean() < ABSENT_FRACTION:
            raise StageError(
                f"the object is absent from {name}: {int(mask.sum())} of {mask.size} pixels are its own; expected it "
                "in every frame. Leave the frame out with frames.first, frames.last or frames.stride, or mend its "
                "alpha."
            )
        edges = {"top": mask[0], "bottom": mask[-1], "left": mask[:, 0], "right": mask[:, -1]}
        sides = [side for side, edge in edges.items() if edge.any()]
        share = sum(int(edge.sum()) for edge in edges.values()) / (2 * (height + width))
        if share > BORDER_FRACTION:
            raise StageError(
                f"the object leaves the picture at the {' and '.join(sides)} in {name}: it touches {share:.1%} of the "
                f"border, expected at most {BORDER_FRACTION:.0%}, since what lies outside cannot be rebuilt. Use "
                "frames in which it is whole (frames.first, frames.last). If it is whole and only cropped tightly, add "
                "a margin of transparent (or background) pixels around the frames; if the mask is wrong, type "
                "`frames.matte: files`."
            )
        if sides:
            touched[f"{name} ({' and '.join(sides)})"] = share
    if touched:
        worst = max(touched, key=touched.__getitem__)
        report.announce(
            f"warning: the object touches the border in {len(touched)} of {len(masks)} frames, most in {worst}: "
            f"{touched[worst]:.1%} of it. It will end there in the asset too"
        )


def _key(key: str | int, n_frames: int) -> int:
    if key == "middle":
        return n_frames // 2
    if not 0 <= key < n_frames:
        raise StageError(
            f"frames.key is {key} but the clip has frames 0 to {n_frames - 1} after range and stride. Type "
            f"`frames.key: middle` or a number from 0 to {n_frames - 1}."
        )
    return key


# ------------------------------------------------------------------ geometry


def _window(masks: np.ndarray, settings: FramesSettings, generated: bool, report: Reporter) -> Window:
    """The square of source pixels that becomes a frame, one for the clip so that the object's motion stays."""
    height, width = masks.shape[1:]
    if settings.recentre:
        window = images.around(masks, settings.fill)
        report.say(
            f"recentred: source columns from {window.left}, rows from {window.top}, side {window.side} pixels "
            f"become {settings.size} (times {settings.size / window.side:.3f}), the object takes {settings.fill}"
        )
    elif generated:
        # What is beside the middle square is there because the network draws wide pictures only.
        window = images.central_square(masks)
        report.say(f"the middle {window.side} pixels of {width} x {height} become {settings.size}")
    else:
        window = images.padded_square(height, width)
        padded = "" if height == width else f"{width} x {height} padded to {window.side} x {window.side}, "
        report.say(f"{padded}side {window.side} to {settings.size} pixels")
    return window


def _truth(source: Source, n_frames: int, size: int) -> Truth:
    """The ground-truth views at the frames' size; V = 0 when the source has none."""
    if source.truth is None:
        nothing = np.zeros((0, n_frames))
        return Truth(np.zeros((0, n_frames, size, size, 4), dtype=np.uint8), nothing, nothing.copy())
    window = images.padded_square(*source.truth.shape[2:4])
    views = [
        np.stack([images.resample(picture, window, size) for picture in images.without_noise(view)])
        for view in source.truth
    ]
    return Truth(np.stack(views), source.truth_azimuth_deg, source.truth_elevation_deg)


if __name__ == "__main__":
    cli.run(main, "frames")
