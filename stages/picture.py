"""Stage picture: from a prompt to one still picture of an object on a plain background, by SDXL.

Every prompt gets the same words behind it (`picture.suffix`), which ask for one whole object that can be cut out.
Beside the picture lies its record, as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing
from stages.lib import images
from stages.lib import weights as networks
from stages.lib.device import choose, say_peak
from stages.lib.diffusion import text_to_image
from stages.lib.diffusion.components import ModelError
from stages.settings import PictureRun


def main(weights: list[Path], out: Path, record: Path, settings: PictureRun, report: Reporter) -> None:
    """Draw the picture of a prompt; `weights` is the receipt of the network."""
    chosen = settings.picture
    if not settings.prompt.strip():
        raise StageError("the prompt is empty; expected what to show. Type e.g. `prompt: a corgi that runs`.")
    prompt = ", ".join(part for part in (settings.prompt.strip(), chosen.suffix) if part)
    device = choose(settings)
    dtype = device.precision(chosen.precision)
    try:
        place = networks.given(chosen.model, weights)
        folder = networks.find(chosen.model, place)
        pipeline = text_to_image.load(folder, device.device, getattr(torch, dtype))
        report.say(f"{chosen.model} on {device.device} in {dtype}: {prompt!r}, not {chosen.negative!r}")
        lost = text_to_image.words_lost(pipeline, prompt)
        if lost:
            report.announce(f"warning: the prompt is too long, its end is not read: {lost!r}")
        picture = text_to_image.draw(pipeline, prompt, chosen, report.progress)
        made_by = networks.digest(chosen.model, place)
    except (networks.WeightsMissing, ModelError) as error:
        raise StageError(str(error)) from None
    except torch.OutOfMemoryError as error:
        raise StageError(
            f"out of GPU memory ({str(error).splitlines()[0]}). Type `picture.precision: float16`, lower picture.size "
            f"(now {chosen.size}), or free the GPU."
        ) from None
    say_peak(device.device, report)
    about = cli.record(settings, "picture", weights=made_by, dtype=dtype, **device.describe())
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    images.write_png(out, picture)
    report.say(f"wrote {out}: {picture.shape}")


if __name__ == "__main__":
    cli.run(main, "picture")
