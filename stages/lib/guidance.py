"""Score distillation as the fits see it: opened once, None when it is off. It imports no diffusion library.

The work is in stages/lib/diffusion/distillation.py, whose libraries take ten seconds to import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.cli import Reporter, StageError
from stages.contracts import Anchors, Frames
from stages.lib.cameras import FOVY_TOLERANCE_DEG, ZERO123_FOVY_DEG
from stages.lib.device import Device
from stages.settings import MICRO_MODEL, GuidanceSettings, PhotometricSettings

if TYPE_CHECKING:
    from stages.lib.diffusion.distillation import Guidance

# The share of a run that is the canonical's (STAG4D: 700 of 8000 steps): the window of timesteps is annealed over both.
CANONICAL_SHARE = 700 / 8000
CANONICAL_SPAN = (0.0, CANONICAL_SHARE)
DYNAMIC_SPAN = (CANONICAL_SHARE, 1.0)


def open_guidance(
    settings: GuidanceSettings | None,
    weights: list[Path],
    clip: Frames,
    anchors: Anchors,
    frames: range,
    span: tuple[float, float],
    device: Device,
    report: Reporter,
) -> Guidance | None:
    """The guidance of one fit over `frames`, its conditions embedded; None when it is off.

    weights: the network's receipt; sides, scales and prediction type are those of its folder. span: the part of the
    whole run that this fit is, in [0, 1]. Raises StageError: weights that are missing or no Zero123, opaque frames, too
    little GPU memory.
    """
    if settings is None or settings.model is None:
        return None
    import torch

    from stages.lib import images
    from stages.lib import weights as networks
    from stages.lib.diffusion import distillation, zero123

    name = networks.MICRO_POSE if settings.model == MICRO_MODEL else settings.model
    if not images.has_alpha(clip.rgba):
        raise StageError(
            "the frames are opaque everywhere; expected RGBA with the object cut out, as Zero123 was trained. Type "
            "`frames.matte: colour`, give mask files, or type `guidance.model: null`."
        )
    if abs(float(clip.fovy_deg) - ZERO123_FOVY_DEG) > FOVY_TOLERANCE_DEG:
        report.announce(
            f"warning: camera.fovy_deg is {float(clip.fovy_deg)}, {name} was trained with {ZERO123_FOVY_DEG}: it pulls "
            "towards another perspective. Type `guidance.model: null`, or anchors and a camera of that angle"
        )
    dtype = device.precision(settings.precision)
    try:
        about = networks.entry(name)
        place = networks.given(name, weights)
        folder = networks.find(name, place)
        made_by = networks.digest(name, place)
        order = np.argsort(anchors.frame, kind="stable")
        pictures = np.concatenate([clip.rgba[:, None], anchors.rgba[order]], axis=1)[frames]
        with distillation.memory(settings):
            model = zero123.load(folder, about["pose"], about.get("side"), device.device, getattr(torch, dtype))
            guidance = distillation.prepare(model, settings, pictures, clip, anchors, frames, span, made_by, report)
    except (networks.WeightsMissing, zero123.ModelError) as error:
        raise StageError(str(error)) from None
    report.say(f"guidance by {settings.model} on {device.device} in {dtype}: {settings}")
    return guidance


def identity(guidance: Guidance | None) -> str:
    """What a checkpoint's identity takes of the guidance beside its settings: the weights' sha256."""
    return "" if guidance is None else guidance.weights


def about(settings: GuidanceSettings | None, photometric: PhotometricSettings, guidance: Guidance | None) -> dict:
    """What a record says of the guidance: supervision, and the weights' sha256 where this fit used any."""
    if settings is None or settings.model is None:
        return {"supervision": "photometric"}
    alone = photometric.rgb == 0 and photometric.mask == 0
    used = {} if guidance is None else {"guidance_weights": guidance.weights}
    return {"supervision": "sds" if alone else "both", **used}
