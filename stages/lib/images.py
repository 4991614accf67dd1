"""Pictures: read, write, composite, matte and resample.

Vocabulary: a *matte* is the alpha of an object cut from its background; *straight* alpha leaves the colour as
it is, *premultiplied* alpha multiplies the colour by it; a *fringe* is a rim of background colour left in the
edge pixels; a *window* is a square of source pixels, which may reach beyond the picture.

Conventions: pictures are uint8 (H, W, C) with C = 3 (RGB) or 4 (RGBA, straight alpha, colour 0 where alpha is
0); inside functions colours are float32 in [0, 1]. x counts columns to the right, y rows downwards.
Letters: T frames, H W pixels, C channels. NumPy, OpenCV and Pillow only: importing this imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from stages.contracts import replacing

# STAG4D's anchor files have alpha 1 instead of 0 outside the object (its gen_mv.py starts from an array of ones).
NOISE_ALPHA = 1
# Alpha above this belongs to the object where a mask is needed (Consistent4D's reader: alpha > 0.5).
MASK_ALPHA = 127

# The colour matte. Video codecs spread an edge over about two pixels, so alpha is estimated in that band only.
EDGE_BAND = 2
# Farther than this from a pixel whose colour is surely the object's (pixels), no colour can be borrowed from it.
BORROW_DISTANCE = 6
# Parts of the object smaller than this fraction of its largest part are specks of the codec.
SPECK_FRACTION = 0.01
# Background-coloured areas inside the object up to this fraction of the picture are its own highlights and whites.
HOLE_FRACTION = 0.0003
# Alpha is 0 up to this fraction of the tolerance, so that compression noise in the background stays invisible.
RAMP_START = 0.25
# A pixel lends its colour to the edge only beyond this multiple of the tolerance, or it may be fringe itself.
STRONG = 3.0
# A background counts as constant when this fraction of the clip's border pixels is within the tolerance.
CONSTANT_FRACTION = 0.8


class ImageError(ValueError):
    """A picture or clip that cannot be used; the text says what was given, what was expected, what to do."""


@dataclass(frozen=True)
class Window:
    """A square of source pixels: columns left to left + side, rows top to top + side."""

    left: int
    top: int
    side: int


# ------------------------------------------------------------------ files


def read(path: Path) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3), or (H, W, 4) if the file has transparency.

    The camera's orientation tag is applied. Raises ImageError when the file is missing, empty or corrupt.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
            return np.array(picture.convert("RGBA" if transparent else "RGB"))
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected a picture. Restore it or correct the path.") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        # Pillow reports a broken PNG chunk as SyntaxError.
        raise ImageError(
            f"{path} cannot be read as a picture ({error}); expected a whole PNG, JPEG, WebP, BMP or TIFF file. "
            "Copy or export it again."
        ) from None


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W), (H, W, 3) or (H, W, 4) as PNG, atomically; equal pictures give equal bytes."""
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", compress_level=6)


# ------------------------------------------------------------------ alpha


def has_alpha(picture: np.ndarray) -> bool:
    """Whether an (H, W, C) picture is transparent anywhere."""
    return picture.shape[-1] == 4 and bool((picture[..., 3] < 255).any())


def over(rgba: np.ndarray, background: float | tuple[float, float, float] | np.ndarray = 1.0) -> np.ndarray:
    """Composite straight RGBA uint8 (..., 4) on a background in [0, 1] (a number or (3,)): float32 (..., 3).

    The "over" operator of Porter and Duff (1984).
    """
    colour = rgba[..., :3].astype(np.float32) / 255
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return colour * alpha + np.asarray(background, dtype=np.float32) * (1 - alpha)


def over_white(rgba: np.ndarray) -> np.ndarray:
    """Composite straight RGBA uint8 (..., 4) on white: float32 (..., 3) in [0, 1]."""
    return over(rgba, 1.0)


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Round floats in [0, 1] to uint8, clipping outside."""
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def premultiply(rgba: np.ndarray) -> np.ndarray:
    """Straight uint8 (..., 4) to premultiplied float32 (..., 4) in [0, 1]."""
    values = rgba.astype(np.float32) / 255
    # Channel by channel: NumPy is several times slower when its innermost axis has three elements.
    for channel in range(3):
        values[..., channel] *= values[..., 3]
    return values


def straighten(premultiplied: np.ndarray) -> np.ndarray:
    """Premultiplied float (..., 4) in [0, 1] to straight uint8 (..., 4), colour 0 where alpha rounds to 0."""
    straight = premultiplied.copy()
    inverse = 1 / np.maximum(premultiplied[..., 3], 1e-6)
    for channel in range(3):
        straight[..., channel] *= inverse
    rgba = to_uint8(straight)
    rgba[rgba[..., 3] == 0] = 0
    return rgba


def without_noise(rgba: np.ndarray) -> np.ndarray:
    """Straight uint8 (..., 4) with alpha up to NOISE_ALPHA and its colour set to 0."""
    clean = rgba.copy()
    clean[clean[..., 3] <= NOISE_ALPHA] = 0
    return clean


# ------------------------------------------------------------------ resampling


def padded_square(height: int, width: int) -> Window:
    """The smallest square around a picture, padded equally so that the optical axis stays in its middle."""
    side = max(height, width)
    return Window(-((side - width) // 2), -((side - height) // 2), side)


def around(masks: np.ndarray, fill: float) -> Window:
    """The square in which the union of masks (T, H, W) bool is centred and its longer side takes `fill` of the side."""
    union = masks.any(axis=0)
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = int(np.ceil(max(bottom - top, right - left) / fill))
    return Window(int(left + right - side) // 2, int(top + bottom - side) // 2, side)


def central_square(masks: np.ndarray) -> Window:
    """The square in the middle of a picture that holds all masks (T, H, W) bool.

    Its side is the picture's shorter one, or as much more as an object that moves out of it needs, up to the longer.
    """
    height, width = masks.shape[1:]
    rows, columns = np.flatnonzero(masks.any(axis=(0, 2))), np.flatnonzero(masks.any(axis=(0, 1)))
    # Twice the distance from the middle to the farthest edge of a pixel of the object.
    reach = max(
        height - 2 * rows[0], 2 * (rows[-1] + 1) - height, width - 2 * columns[0], 2 * (columns[-1] + 1) - width
    )
    side = min(max(int(reach), min(height, width)), max(height, width))
    return Window((width - side) // 2, (height - side) // 2, side)


def resample(rgba: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Cut `window` from straight uint8 (H, W, 4), transparent outside the picture, and scale it to (size, size, 4).

    Filtered in premultiplied alpha, so that the colour of transparent pixels never bleeds in: areas are
    averaged when shrinking, bilinear when enlarging.
    """
    height, width = rgba.shape[:2]
    square = np.zeros((window.side, window.side, 4), dtype=np.float32)
    rows = slice(max(window.top, 0), min(window.top + window.side, height))
    columns = slice(max(window.left, 0), min(window.left + window.side, width))
    inside = premultiply(rgba[rows, columns])
    top, left = rows.start - window.top, columns.start - window.left
    square[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    if window.side != size:
        filtering = cv2.INTER_AREA if size < window.side else cv2.INTER_LINEAR
        square = cv2.resize(square, (size, size), interpolation=filtering)
    return straighten(square)


# ------------------------------------------------------------------ colour matte


def border_pixels(clip: np.ndarray) -> np.ndarray:
    """The outermost pixels of every frame of (T, H, W, C), as (P, C)."""
    edges = (clip[:, 0], clip[:, -1], clip[:, 1:-1, 0], clip[:, 1:-1, -1])
    return np.concatenate([edge.reshape(-1, clip.shape[-1]) for edge in edges])


def colour_distance(picture: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Largest difference of any channel between uint8 (..., 3) and a colour (3,) in [0, 1]: float32 (...) in [0, 1]."""
    red, green, blue = (
        np.abs(picture[..., channel].astype(np.float32) / 255 - np.float32(colour[channel])) for channel in range(3)
    )
    return np.maximum(np.maximum(red, green), blue)


def background_colour(clip: np.ndarray, tolerance: float) -> tuple[np.ndarray, float]:
    """Measure the background of (T, H, W, 3) uint8 at the border: its median colour (3,) in [0, 1], and the
    fraction of border pixels within `tolerance` of it (1 for a constant background)."""
    border = border_pixels(clip)
    colour = np.median(border, axis=0) / 255
    return colour, float((colour_distance(border, colour) <= tolerance).mean())


def colour_matte(picture: np.ndarray, background: np.ndarray, tolerance: float) -> np.ndarray:
    """Cut an object from a constant background: uint8 (H, W, 3) and a colour (3,) in [0, 1] to RGBA (H, W, 4).

    Alpha ramps from 0 to 1 with the distance from the background's colour, reaching 1 at `tolerance`. Specks
    are dropped and small background-coloured areas inside the object are filled. Edge pixels are then solved
    as a mixture: with F the colour of the nearest sure object pixel and B the background, a pixel
    C = a F + (1 - a) B gives a by projection on F - B, and its own colour by taking (1 - a) B away, which
    removes the fringe (difference matting; Smith and Blinn 1996, "Blue screen matting", equation 1).
    """
    start = RAMP_START * tolerance
    distance = colour_distance(picture, background)
    ramp = np.clip((distance - start) / (tolerance - start), 0, 1)
    solid = _without_specks(_fill_holes(ramp > 0.5))
    alpha = np.where(solid, np.maximum(ramp, 0.5), 0.0).astype(np.float32)

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * EDGE_BAND + 1, 2 * EDGE_BAND + 1))
    # The world beyond the picture counts as object, so that a cut object keeps its colour there.
    sure = cv2.erode(solid.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
    alpha[sure] = 1.0
    band = (cv2.dilate(solid.astype(np.uint8), kernel) > 0) & ~sure
    behind = background.astype(np.float32)
    lenders = sure & (distance > STRONG * tolerance)
    if lenders.any():
        nearest, away = _nearest(lenders)
        # Far from any lender, object and background have nearly one colour and the mixture says nothing.
        solvable = band & (away <= BORROW_DISTANCE)
        along = picture.reshape(-1, 3)[nearest[solvable]].astype(np.float32) / 255 - behind
        mixture = ((picture[solvable].astype(np.float32) / 255 - behind) * along).sum(-1) / (along**2).sum(-1)
        alpha[solvable] = np.where(mixture < start, 0.0, np.minimum(mixture, 1.0))
    rgba = np.zeros((*picture.shape[:2], 4), dtype=np.uint8)
    rgba[..., 3] = to_uint8(alpha)
    opaque = rgba[..., 3] == 255
    rgba[opaque, :3] = picture[opaque]
    edge = (rgba[..., 3] > 0) & ~opaque
    opacity = alpha[edge][:, None]
    rgba[edge, :3] = to_uint8((picture[edge].astype(np.float32) / 255 - (1 - opacity) * behind) / opacity)
    return rgba


def _nearest(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every pixel the flat index of the nearest pixel of `mask` and the distance to it in pixels, (H, W) each."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index_of_label = np.zeros(labels.max() + 1, dtype=np.int64)
    index_of_label[labels[mask]] = np.flatnonzero(mask)
    return index_of_label[labels], distance


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Drop parts smaller than SPECK_FRACTION of the largest one."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return (areas >= SPECK_FRACTION * areas.max())[labels] & mask


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill enclosed areas up to HOLE_FRACTION of the picture; larger ones are background seen through a gap."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    height, width = mask.shape
    left, top = statistics[:, cv2.CC_STAT_LEFT], statistics[:, cv2.CC_STAT_TOP]
    right = left + statistics[:, cv2.CC_STAT_WIDTH]
    bottom = top + statistics[:, cv2.CC_STAT_HEIGHT]
    enclosed = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    small = enclosed & (statistics[:, cv2.CC_STAT_AREA] <= HOLE_FRACTION * mask.size)
    return mask | small[labels]
