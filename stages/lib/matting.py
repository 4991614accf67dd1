"""Alpha for generated views, whose background is plain but never quite constant.

    colour   the distance to the background's colour, measured at the border of all views of a frame together
    rembg    the u2net of rembg, when package and model are on this machine; nothing is downloaded
    normals  where the normal generator of Zero123++ v1.2 draws a surface (see lib/diffusion/normals.py)

Vocabulary: the *length* of a normal picture is that of the vector which its colour stores: 1 on a surface, 0 (mid-grey)
beside it.

Conventions: F frames, V views; uint8, straight alpha.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import cv2
import numpy as np

from stages.cli import Reporter, StageError
from stages.lib import closed_form, images

REMBG_MODEL = "u2net"
# Below and above these lengths a pixel is background and object, unless it is so near to others that a square of so
# many pixels does not fit: Zero123++'s own numbers (examples/matting_postprocess.py of SUDO-AI-3D/zero123plus).
NO_SURFACE, SURFACE, EROSION = 0.2, 0.6, 4
# The grey on which Zero123++ draws, for a view without any sure background.
GREY = 127 / 255


def _rembg_files() -> list[Path]:
    """Where rembg may keep its model (2.0.86): in a folder a model, or all in one as before."""
    ours, data = os.environ.get("U2NET_HOME"), os.environ.get("XDG_DATA_HOME")
    home = Path(ours or os.environ.get("REMBG_HOME") or (Path(data) / "rembg" if data else "~/.rembg"))
    flat = Path(ours or Path(data or "~") / ".u2net")
    file = f"{REMBG_MODEL}.onnx"
    return [folder.expanduser() / file for folder in (home / "models" / REMBG_MODEL, flat)]


def _rembg_lacks() -> str | None:
    """What rembg lacks on this machine, if anything."""
    if importlib.util.find_spec("rembg") is None or importlib.util.find_spec("onnxruntime") is None:
        return 'the package is not installed; type `pip install "rembg[cpu]"`'
    files = _rembg_files()
    if not any(file.is_file() for file in files):
        return f"{files[0]} is missing; type `rembg d {REMBG_MODEL}`"
    return None


def matte(
    views: np.ndarray,
    choice: str,
    tolerance: float,
    section: str,
    report: Reporter,
    normals: np.ndarray | None = None,
) -> tuple[np.ndarray, str]:
    """Give alpha to opaque views: uint8 (F, V, H, W, 3) to (F, V, H, W, 4), and the word for how it was done.

    choice: auto, rembg, colour or normals, which needs the normal pictures (F, V, H, W, 3) uint8; `section` of the
    settings asks for it and is named in what is said. Raises StageError
    when rembg is asked for and not here.
    """
    if choice == "normals":
        report.say(f"{section}.matte: normals")
        pairs = [zip(*frame, strict=True) for frame in zip(views, normals, strict=True)]
        rgba = np.stack([np.stack([normals_matte(*pair) for pair in frame]) for frame in pairs])
        return images.without_noise(rgba), choice
    lacks = _rembg_lacks()
    if choice == "rembg" and lacks:
        raise StageError(f"{section}.matte is rembg but {lacks}, or `{section}.matte: colour`.")
    done = "rembg" if choice == "rembg" or (choice == "auto" and not lacks) else "colour"
    report.say(f"{section}.matte: {done}" + (f" (rembg: {lacks})" if choice == "auto" and lacks else ""))
    rgba = _by_rembg(views) if done == "rembg" else _by_colour(views, tolerance, section, report)
    return images.without_noise(rgba), done


def _by_rembg(views: np.ndarray) -> np.ndarray:
    from rembg import new_session, remove

    session = new_session(REMBG_MODEL)
    # Its own cut-out has colours times alpha.
    alphas = [np.stack([remove(view, session=session, only_mask=True) for view in frame]) for frame in views]
    return np.concatenate([views, np.stack(alphas)[..., None]], axis=-1)


def _by_colour(views: np.ndarray, tolerance: float, section: str, report: Reporter) -> np.ndarray:
    cut, least = [], 1.0
    for frame in views:
        background, constant = images.background_colour(frame, tolerance)
        least = min(least, constant)
        cut.append(np.stack([images.colour_matte(view, background, tolerance) for view in frame]))
    if least < images.CONSTANT_FRACTION:
        report.announce(
            f"warning: in one frame only {least:.0%} of the border of what was generated has the background's colour; "
            f"expected a plain one. Look at it; `{section}.matte: rembg` needs no plain background"
        )
    return np.stack(cut)


def normals_matte(view: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Cut out of a view what its normal picture shows, both uint8 (H, W, 3): RGBA (H, W, 4).

    What the lengths leave open, mostly the outline, is found in the view's colours; the background's median colour is
    taken out of the pixels that are partly object.
    """
    length = np.linalg.norm(normals.astype(np.float64) / 127.5 - 1, axis=-1)
    square = np.ones((EROSION, EROSION), np.uint8)
    # Beyond the picture there is background.
    borders = {"borderType": cv2.BORDER_CONSTANT}
    surely = cv2.erode((length > SURFACE).astype(np.uint8), square, borderValue=0, **borders) > 0
    surely_not = cv2.erode((length < NO_SURFACE).astype(np.uint8), square, borderValue=1, **borders) > 0
    guess = np.clip((length - NO_SURFACE) / (SURFACE - NO_SURFACE), 0, 1)
    start = np.where(surely, 1.0, np.where(surely_not, 0.0, guess))
    picture = view.astype(np.float64) / 255
    alpha = closed_form.solve(picture, start, ~surely & ~surely_not)[..., None]
    behind = np.median(picture[surely_not], axis=0) if surely_not.any() else GREY
    return images.straighten(np.concatenate([np.maximum(picture - (1 - alpha) * behind, 0), alpha], axis=-1))
