"""Alpha for generated views, whose background is plain but never quite constant.

    colour   the distance to the background's colour, measured at the border of all views of a frame together
    rembg    the u2net of rembg, when package and model are on this machine; nothing is downloaded

Conventions: F frames, V views; uint8, straight alpha.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np

from stages.cli import Reporter, StageError
from stages.lib import images

REMBG_MODEL = "u2net"


def _rembg_file() -> Path:
    """Where rembg keeps its model (U2NET_HOME, as its manual says)."""
    return Path(os.environ.get("U2NET_HOME", "~/.u2net")).expanduser() / f"{REMBG_MODEL}.onnx"


def _rembg_lacks() -> str | None:
    """What rembg lacks on this machine, if anything."""
    if importlib.util.find_spec("rembg") is None or importlib.util.find_spec("onnxruntime") is None:
        return 'the package is not installed; type `pip install "rembg[cpu]"`'
    if not _rembg_file().is_file():
        return f"{_rembg_file()} is missing; type `rembg d {REMBG_MODEL}`"
    return None


def matte(views: np.ndarray, choice: str, tolerance: float, section: str, report: Reporter) -> tuple[np.ndarray, str]:
    """Give alpha to opaque views: uint8 (F, V, H, W, 3) to (F, V, H, W, 4), and the word for how it was done.

    choice: auto, rembg or colour; `section` of the settings asks for it and is named in what is said. Raises StageError
    when rembg is asked for and not here.
    """
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
    return np.stack([np.stack([remove(view, session=session) for view in frame]) for frame in views])


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
