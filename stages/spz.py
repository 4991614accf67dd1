"""spz: the gaussians of every frame in a tenth of the PLY's size, for web viewers.

Reads sequence.safetensors; writes spz/frame%04d.spz, in a folder that appears only when it is complete.
"""

from __future__ import annotations

from pathlib import Path

from stages import cli
from stages.cli import Reporter
from stages.contracts import Sequence, replacing_folder
from stages.lib import spz
from stages.settings import Run


def main(sequence: Path, out: Path, settings: Run, report: Reporter) -> None:
    """Write one SPZ file a frame."""
    the_sequence = Sequence.load(sequence, on_disk=True)
    count = len(the_sequence.times)
    with replacing_folder(out) as partial:
        for index in range(count):
            spz.write(partial / f"frame{index:04d}.spz", **vars(the_sequence.frame(index)))
            report.progress(index + 1, count)
        size = sum(path.stat().st_size for path in partial.iterdir())
    report.say(f"wrote {count} files in {out}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    cli.run(main, "spz")
