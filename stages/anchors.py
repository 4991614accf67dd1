"""Stage anchors: six views of every frame at Zero123++'s angles, which supervise the unseen sides.

    rendered   a procedural scene drawn from the six cameras: the truth itself
    imported   files in STAG4D's layout, made elsewhere by Zero123++ v1.1
    inflated   no weights needed: each silhouette made round, coloured, and drawn from the six cameras

Vocabulary: an *anchor* is one view of one frame; the *height* of a silhouette pixel is how far the inflated
solid reaches towards and away from the camera there; the *shell* is the solid's surface, sampled densely.

The inflated solid is the union of all balls around pixels of the mid-plane that fit in the silhouette. It is
a stand-in for a diffusion model: right at the outline and near it, an invention behind.

Conventions: letters A frames with anchors, V views, N gaussians, H W pixels; heights in pixels until they
enter the world. The mid-plane passes through the origin, at right angles to the input camera's axis.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.lib import images, layouts
from stages.lib.cameras import ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG, Cameras
from stages.lib.images import ImageError
from stages.settings import AnchorsRun

# Field of view of Zero123++ v1.1 (2 atan(16/35), its author in issue 68) and the difference at which imported
# anchors and frames visibly disagree: half a degree moves the outline of the object by 1 %.
ZERO123PP_V11_FOVY_DEG = 49.13
FOVY_TOLERANCE_DEG = 0.5
# Depth of the inflated solid over its width: 1 makes circles of every cross-section. Against real anchors of
# Zero123++ (one clip) the silhouettes agree best from here on: IoU 0.79, 0.82, 0.84, 0.84 at 0.7, 0.8, 0.9, 1.0.
ROUNDNESS = 0.9
# Standard deviation of the smoothing of heights, fraction of the side: ridges of the medial axis disappear.
SMOOTHING = 0.012
# The same for the colour of the back, so that no second face looks backwards.
BACK_BLUR = 0.05
# The back's colour fades in from the outline over this fraction of the object's largest height: no seam.
BACK_FADE = 0.5
# Standard deviation of a shell gaussian in pixels: neighbours one pixel apart leave no gap, edges stay crisp.
SHELL_SIGMA = 0.55
SHELL_OPACITY = 0.95
# The shell lies this many pixels inside the solid, since its gaussians reach as far beyond their centres.
SHELL_INSET = 1.0
# Colour of SH degree 0 is 0.5 + SH_C0 * sh.
SH_C0 = 0.28209479177387814


def main(frames: Path, out: Path, settings: AnchorsRun, report: Reporter) -> None:
    """Import, render or inflate six views of every frame."""
    clip = Frames.load(frames)
    makers = {"rendered": _rendered, "imported": _imported, "inflated": _inflated}
    report.say(f"anchors of {len(clip.rgba)} frames: {settings.source}")
    try:
        rgba = makers[settings.source](clip, settings, report)
    except ImageError as error:
        raise StageError(str(error)) from None
    anchors = Anchors(
        rgba=rgba,
        frame=np.arange(len(rgba), dtype=np.int64),
        azimuth_deg=np.array(ZERO123PP_V11_AZIMUTH_DEG),
        elevation_deg=np.array(ZERO123PP_V11_ELEVATION_DEG),
        source=settings.source,
        record=cli.record(settings, "anchors"),
    )
    anchors.check()
    anchors.save(out)
    report.say(f"wrote anchors {rgba.shape}")


def _cameras(clip: Frames) -> Cameras:
    return clip.cameras(ZERO123PP_V11_AZIMUTH_DEG, ZERO123PP_V11_ELEVATION_DEG)


def _refuse_recentring(settings: AnchorsRun) -> None:
    if settings.frames.recentre:
        raise StageError(
            f"frames.recentre is true but {settings.source} anchors show the object where it was, from cameras that "
            "cannot follow it. Type `frames.recentre: false`, or `anchors.source: inflated`."
        )


def _rendered(clip: Frames, settings: AnchorsRun, report: Reporter) -> np.ndarray:
    """Draw the procedural scene at the frames' times: (A, V, H, W, 4) uint8."""
    # Numba takes a second to import, and imported anchors do not need it.
    from stages.lib import suite

    _refuse_recentring(settings)
    scene, chosen_by = settings.scene, settings.frames
    if scene.kind != "procedural":
        raise StageError(
            f"anchors.source is rendered but the scene is of kind {scene.kind}, which cannot be drawn from elsewhere. "
            "Type `anchors.source: auto`."
        )
    chosen = layouts.chosen_frames(scene.n_frames, chosen_by.first, chosen_by.last, chosen_by.stride)
    times = np.linspace(0.0, 1.0, scene.n_frames)[list(chosen)]
    cameras = _cameras(clip)
    views = []
    for index in range(len(times)):
        views.append(suite.render(scene.source, times[index : index + 1], cameras)[0])
        report.progress(index + 1, len(times))
    return np.stack(views)


def _imported(clip: Frames, settings: AnchorsRun, report: Reporter) -> np.ndarray:
    """Read STAG4D's six files a frame at the frames' size: (A, V, H, W, 4) uint8."""
    _refuse_recentring(settings)
    scene, chosen_by = settings.scene, settings.frames
    layout = layouts.layout(scene.kind, scene.source)
    chosen = layouts.chosen_frames(len(layout.frames), chosen_by.first, chosen_by.last, chosen_by.stride)
    for index in chosen:
        if index not in layout.anchors:
            raise StageError(
                f"{scene.source} has no anchors for frame {index}: {len(layout.anchors)} of {len(layout.frames)} "
                f"frames have them; expected zero123/{index}_rgba/0.png to 5.png. Add them, choose other frames "
                "(frames.first, frames.last), or type `anchors.source: inflated`."
            )
    if abs(float(clip.fovy_deg) - ZERO123PP_V11_FOVY_DEG) > FOVY_TOLERANCE_DEG:
        report.say(
            f"warning: camera.fovy_deg is {float(clip.fovy_deg)}, Zero123++ v1.1 draws anchors with "
            f"{ZERO123PP_V11_FOVY_DEG}; anchors and frames will disagree in size"
        )
    views = []
    for done, index in enumerate(chosen, start=1):
        views.append(np.stack([_read_anchor(path, clip.rgba.shape[1]) for path in layout.anchors[index]]))
        report.progress(done, len(chosen))
    return np.stack(views)


def _read_anchor(path: Path, size: int) -> np.ndarray:
    """One anchor file as (size, size, 4) uint8; raises StageError when it has no alpha or no object."""
    picture = images.read(path)
    if not images.has_alpha(picture):
        raise StageError(f"{path} has no alpha; expected an RGBA anchor. Matte it, or type `anchors.source: inflated`.")
    picture = images.without_noise(picture)
    if not (picture[..., 3] > images.MASK_ALPHA).any():
        raise StageError(f"{path} shows no object; expected one. Make this anchor again, or leave its frame out.")
    return images.resample(picture, images.padded_square(*picture.shape[:2]), size)


# ------------------------------------------------------------------ inflated


def _inflated(clip: Frames, settings: AnchorsRun, report: Reporter) -> np.ndarray:
    """Inflate every frame and draw it from the six cameras: (A, V, H, W, 4) uint8."""
    # Numba takes a second to import, and imported anchors do not need it.
    from stages.lib.raster.arrays import render_numpy

    report.say(
        "the silhouettes made round stand in for generated views: right at the outline, invented behind. "
        "Real anchors (STAG4D's layout) give a better asset"
    )
    cameras = _cameras(clip)
    anchors = []
    for done, rgba in enumerate(clip.rgba, start=1):
        means, scales, colours = shell(rgba, clip)
        n = len(means)
        rendered = render_numpy(
            means,
            np.tile([1.0, 0.0, 0.0, 0.0], (n, 1)),
            np.repeat(scales[:, None], 3, axis=1),
            np.full(n, SHELL_OPACITY),
            (colours[:, None, :] - 0.5) / SH_C0,
            cameras,
            np.zeros(3),
            threads=settings.threads,
        )
        anchors.append(images.straighten(np.concatenate([rendered.image, rendered.alpha[..., None]], axis=-1)))
        report.progress(done, len(clip.rgba))
    return images.without_noise(np.stack(anchors))


def heights(mask: np.ndarray) -> np.ndarray:
    """Height of the union of inscribed balls over every pixel of a silhouette (H, W) bool: float32 (H, W), pixels.

    With d(q) the distance of pixel q to the outline, the union of the balls around all q of radius d(q)
    reaches z(p)^2 = max over q of d(q)^2 - |p - q|^2. That is a distance transform of a sampled function, which
    separates into rows and columns (Felzenszwalb and Huttenlocher 2012). It changes no more than the outline
    does, so that equal frames get equal solids and a moving outline no flicker.
    """
    squared = np.maximum(_raised(_raised(_distance(mask) ** 2).T).T, 0.0)
    sigma = SMOOTHING * max(mask.shape)
    # Squares are smoothed: they fall to 0 at the outline linearly, where heights have a vertical slope.
    smooth = cv2.GaussianBlur(squared, (0, 0), sigma) if sigma > 0 else squared
    return np.where(mask, ROUNDNESS * np.sqrt(smooth), 0.0).astype(np.float32)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels of each pixel of (H, W) bool to the nearest one outside, beyond the picture included."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def _raised(values: np.ndarray) -> np.ndarray:
    """Along the last axis of (R, W) float: the maximum over q of values[q] - (p - q)^2, for every p."""
    positions = np.arange(values.shape[1], dtype=np.float32)
    parabola = (positions[:, None] - positions) ** 2
    return np.stack([(row[:, None] - parabola).max(axis=0) for row in values.astype(np.float32)])


def shell(rgba: np.ndarray, clip: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample the surface of the inflated frame (H, W, 4) uint8 by isotropic gaussians in the world.

    Returns means (N, 3) and scales (N,) in world units, colours (N, 3) in [0, 1]. A pixel's column is filled
    from its own height down to its lowest neighbour's, so that the steep rim is closed. The input view shows
    the frame itself.
    """
    mask = rgba[..., 3] > images.MASK_ALPHA
    distance = _distance(mask)
    # Parts too thin to be set in keep their middle line.
    ridge = distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8))
    inner = mask & ((distance > SHELL_INSET) | ridge)
    height = np.where(inner, np.maximum(heights(mask) - SHELL_INSET, 0.0), 0.0)
    lowest = cv2.erode(np.pad(height, 1), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    rows, columns = np.nonzero(inner)
    top = height[rows, columns]
    layers = np.maximum(1, np.ceil(top - lowest[rows, columns])).astype(np.int64)
    pixel = np.repeat(np.arange(len(rows)), layers)
    below = np.arange(len(pixel)) - np.repeat(np.cumsum(layers) - layers, layers)
    reach = np.maximum(top[pixel] - below, 0.0)
    pixel, reach = np.concatenate([pixel, pixel]), np.concatenate([reach, -reach])
    front = rgba[..., :3].astype(np.float32) / 255
    back = _blurred(front, mask)
    behind = np.clip(-reach / (BACK_FADE * max(height.max(), 1.0)), 0, 1)[:, None]
    at = rows[pixel], columns[pixel]
    colour = (1 - behind) * front[at] + behind * back[at]
    means, scales = _to_world(columns[pixel] + 0.5, rows[pixel] + 0.5, reach, clip)
    return means, scales, colour


def _blurred(colour: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) smoothed inside a mask, nothing from outside mixed in."""
    sigma = BACK_BLUR * max(mask.shape)
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(colour * weight[..., None], (0, 0), sigma)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]


def _to_world(x: np.ndarray, y: np.ndarray, reach: np.ndarray, clip: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Points over pixels x, y (N,) of the input camera, `reach` pixels in front of the mid-plane.

    Those in front lie on the pixel's ray, those behind straight behind the mid-plane: on the ray they would
    drift apart with the distance and make the back larger than the front. Returns means (N, 3) and the size of
    a shell gaussian there (N,), world units.
    """
    camera = clip.cameras(0.0, float(clip.elevation_deg))
    focal, centre = camera.intrinsics[0, 0, 0], camera.intrinsics[0, :2, 2]
    depth = float(clip.radius) * (1.0 - reach / focal)
    spread = np.minimum(depth, float(clip.radius)) / focal
    in_camera = np.stack([(x - centre[0]) * spread, (y - centre[1]) * spread, depth], axis=-1)
    rotation = camera.world_to_camera[0, :3, :3]
    means = (in_camera - camera.world_to_camera[0, :3, 3]) @ rotation
    return means, SHELL_SIGMA * spread


if __name__ == "__main__":
    cli.run(main, "anchors")
