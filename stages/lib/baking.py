"""Evaluating a model of motion at every time: of a finished fit (`bake`), or of one that still runs (`live`).

A checkpoint says of itself which settings rebuild its model (`checkpoint.peek`), so that looking at it needs nothing
else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from stages.cli import StageError
from stages.contracts import Gaussians, Moment, Sequence
from stages.lib import checkpoint
from stages.lib.gaussians import NAMES, to_tensors
from stages.lib.motion import ATTRIBUTES, Buffer, restore
from stages.settings import DynamicSettings


def bake(
    arrays: dict[str, np.ndarray], settings: DynamicSettings | None, about: dict, device: torch.device
) -> Sequence:
    """The gaussians of every frame (T, N, ...), those absent from a frame included, as `about` says of itself.

    arrays are those of dynamic.safetensors; settings may be None where they hold no motion.
    """
    rows = list(moments(arrays, settings, device))
    stacked = {name: np.stack([row[name] for row in rows]) for name in (*ATTRIBUTES, "present")}
    return Sequence(**stacked, sh=arrays["gaussians.sh"], times=arrays["times"], record=about)


def moments(arrays: dict[str, np.ndarray], settings: DynamicSettings | None, device: torch.device) -> Iterator[Moment]:
    """The gaussians of one frame after the other, in order and none held; arguments as of `bake`."""
    trained = to_tensors(Gaussians(**{name: arrays[f"gaussians.{name}"] for name in NAMES}), device)
    params = {name: value.detach() for name, value in trained.items()}
    motion, spread = restore(arrays, settings, device)
    present = torch.from_numpy(arrays["present"]).to(device)
    buffer: Buffer = ()
    for frame, time in enumerate(arrays["times"].tolist()):
        moved = {name: params[name][None] for name in ATTRIBUTES}
        if motion is not None:
            with torch.no_grad():
                moved, buffer = motion(params, [time], present[frame : frame + 1], spread, buffer)
        yield {name: moved[name][0].cpu().numpy() for name in ATTRIBUTES} | {"present": arrays["present"][frame]}


def live(path: Path, device: torch.device) -> Sequence:
    """What a running fit has reached: the sequence of its last checkpoint, `step` in its record.

    A fit without motion has one frame. Raises StageError where the file cannot be read or is of other code.
    """
    state, about = checkpoint.peek(path)
    try:
        settings = None if about["dynamic"] is None else DynamicSettings.model_validate(about["dynamic"])
        arrays = {f"gaussians.{name}": value.detach().float().cpu().numpy() for name, value in state["params"].items()}
        for part in ("motion", "spread"):
            arrays |= {f"{part}.{name}": value.cpu().numpy() for name, value in (state.get(part) or {}).items()}
        moving = settings is not None
        if moving and state["step"] <= about["singles"]:
            # The rectification, identity so far, has no control gaussians yet.
            temporal = settings.temporal.model_copy(update={"encoder": "off"})
            settings = settings.model_copy(update={"temporal": temporal})
            arrays = {name: value for name, value in arrays.items() if not name.startswith("motion.rectification.")}
        arrays["times"] = np.array(about["times"] if moving else [0.0])
        present = state["present"].cpu().numpy()
        arrays["present"] = present if moving else present[:1]
        return bake(arrays, settings, {"step": state["step"], "steps": about["steps"]}, device)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StageError(
            f"checkpoint {path} does not fit this code ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "expected one of the same version. Type the command of the fit again, or wait for its end."
        ) from None
