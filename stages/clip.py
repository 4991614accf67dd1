"""Stage clip: from one still picture to a clip of its object, by Stable Video Diffusion, cut out again.

    picture -> matte -> middle of a plain canvas -> network -> matte of every frame -> Clip

The picture is the user's or one that stage `picture` drew. Its own alpha is used where it has one. Frames keep the
canvas' size: stage `frames` chooses among them, checks that the object is in view, and cuts out the middle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import Clip
from stages.lib import images
from stages.lib import weights as networks
from stages.lib.device import choose, say_peak
from stages.lib.diffusion import image_to_video
from stages.lib.diffusion.components import ModelError
from stages.lib.images import ImageError
from stages.lib.matting import matte
from stages.settings import ClipRun, ClipSettings


def main(picture: Path, weights: list[Path], out: Path, settings: ClipRun, report: Reporter) -> None:
    """Animate a still picture; `weights` is the receipt of the network."""
    chosen = settings.clip
    try:
        rgba, cut_by = cut_out(images.read(picture), picture, chosen, report)
    except ImageError as error:
        raise StageError(str(error)) from None
    device = choose(settings)
    dtype = device.precision(chosen.precision)
    try:
        place = networks.given(chosen.model, weights)
        folder = networks.find(chosen.model, place)
        pipeline = image_to_video.load(folder, device.device, getattr(torch, dtype))
        report.say(f"{chosen.model} on {device.device} in {dtype}: {chosen}")
        frames = image_to_video.animate(pipeline, image_to_video.canvas(rgba, chosen), chosen, report.progress)
        made_by = networks.digest(chosen.model, place)
    except (networks.WeightsMissing, ModelError) as error:
        raise StageError(str(error)) from None
    except torch.OutOfMemoryError as error:
        raise StageError(
            f"out of GPU memory ({str(error).splitlines()[0]}). Lower clip.decode_frames (now {chosen.decode_frames}), "
            f"then clip.n_frames, then clip.height and clip.width (now {chosen.height} and {chosen.width}), or type "
            "`clip.precision: float16`."
        ) from None
    say_peak(device.device, report)
    # Each frame by itself: what the network draws behind an object drifts over time.
    cut, matted_by = matte(frames[:, None], chosen.matte, chosen.matte_tolerance, "clip", report)
    about = cli.record(
        settings,
        "clip",
        weights=made_by,
        dtype=dtype,
        picture=networks.sha256(picture),
        picture_matte=cut_by,
        matte=matted_by,
        **device.describe(),
    )
    Clip(np.ascontiguousarray(cut[:, 0]), about).save(out)
    report.say(f"wrote a clip {cut[:, 0].shape}")


def cut_out(picture: np.ndarray, path: Path, settings: ClipSettings, report: Reporter) -> tuple[np.ndarray, str]:
    """A picture uint8 (H, W, 3 or 4) with alpha (H, W, 4), its own or a new one, and the word for how it was had.

    Raises StageError when no object can be told from the background.
    """
    done = "alpha"
    if images.has_alpha(picture):
        rgba = images.without_noise(picture)
    else:
        rgb = picture[..., :3]
        cut, done = matte(rgb[None, None], settings.matte, settings.matte_tolerance, "clip", report)
        rgba = cut[0, 0]
        _, constant = images.background_colour(rgb[None], settings.matte_tolerance)
        if done == "colour" and constant < images.CONSTANT_FRACTION:
            raise StageError(
                f"{path} has no alpha and no plain background: only {constant:.0%} of its border has one colour, "
                f"expected at least {images.CONSTANT_FRACTION:.0%}. Cut the object out first (RGBA), type "
                "`clip.matte: rembg`, or take another picture.seed if it was drawn here."
            )
    if not (rgba[..., 3] > images.MASK_ALPHA).any():
        raise StageError(
            f"{path} shows no object: nothing differs from its background by more than clip.matte_tolerance "
            f"({settings.matte_tolerance}), or its alpha is 0 everywhere; expected one object. Take another picture."
        )
    return rgba, done


if __name__ == "__main__":
    cli.run(main, "clip")
