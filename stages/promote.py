"""Stage promote: copy the trained priors, their cards, curves and figures to resources/priors/, for the pipeline.

The only writer of that folder, and its rule has no output: no job of the pipeline can ever ask for a training. Files
too large for the repository are refused.
"""

from __future__ import annotations

import datetime
import re
import shutil
from pathlib import Path

from stages import cli
from stages.cli import Reporter, StageError
from stages.contracts import replacing_folder
from stages.lib import weights
from stages.settings import PromoteRun

# Committed files stay small: in float16 one file is at most 3 million parameters, and all are at most 6 million.
FILE_BYTES = 6_000_000
TOTAL_BYTES = 12_000_000


def check_date(date: str) -> None:
    """Raise StageError unless it is a day; the clock is not asked, so that equal trainings give equal cards."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", date):
            datetime.date.fromisoformat(date)
            return
    except ValueError:
        pass
    raise StageError(
        f"priors.date is {date!r}; expected the day of the training for the model card. Type "
        "`--config 'priors={date: 2026-01-31}'` with that day."
    )


def check_whole(folder: Path) -> dict[str, int]:
    """Bytes of a prior's networks; raises StageError unless every file of its receipt is there, and right."""
    receipt = weights.receipt(folder)
    if not receipt:
        raise StageError(
            f"{folder} has no receipt; expected a trained prior. Type `snakemake --cores 2 promote_priors`."
        )
    for name, about in receipt.items():
        path = folder / name
        problem = weights.mismatch(path, about) if path.is_file() else "it is missing"
        if problem:
            raise StageError(
                f"{path} is not what was trained: {problem}. Delete {folder} and run the same command again."
            )
    return {str(folder / name): about["size"] for name, about in receipt.items() if name.endswith(".safetensors")}


def check_small(networks: dict[str, int]) -> None:
    """Raise StageError unless each of these files and all together, in bytes, are small enough."""
    name, largest = max(networks.items(), key=lambda item: item[1])
    if largest > FILE_BYTES or sum(networks.values()) > TOTAL_BYTES:
        raise StageError(
            f"{name} has {largest} bytes, all networks {sum(networks.values())}; expected at most {FILE_BYTES} a file "
            f"and {TOTAL_BYTES} together. Lower priors.denoiser.channels, priors.pose.channels or "
            "priors.autoencoder.channels."
        )


def main(networks: list[Path], beside: list[Path], out: Path, settings: PromoteRun, report: Reporter) -> None:
    """Copy the folders of the receipts `networks`, and the files `beside`, to folders of `out`.

    A file whose own folder is named like a network's goes with that network, any other one with all of them.
    """
    check_date(settings.date)
    folders = {path.parent.name: path.parent for path in networks}
    check_small({name: size for folder in folders.values() for name, size in check_whole(folder).items()})
    for prior, trained in folders.items():
        place = out / weights.TRAINED[prior]
        with replacing_folder(place) as folder:
            shutil.copytree(trained, folder, dirs_exist_ok=True)
            for path in beside:
                if path.parent.name == prior or path.parent.name not in folders:
                    shutil.copyfile(path, folder / path.name)
        report.announce(f"{place} now holds the prior of {trained}; commit it to share it")


if __name__ == "__main__":
    cli.run(main, "promote")
