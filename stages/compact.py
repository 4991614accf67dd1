"""compact: the whole sequence in one small file, for the player and for other programs.

Reads sequence.safetensors; writes sequence.4dgs, whose layout stages/lib/compact.md describes. Frames are read and
written group by group, so that a sequence need not fit into memory.
"""

from __future__ import annotations

from pathlib import Path

from stages import cli
from stages.cli import Reporter
from stages.contracts import Sequence
from stages.lib import compact
from stages.settings import Run


def main(sequence: Path, out: Path, settings: Run, report: Reporter) -> None:
    """Write the compact file of a sequence."""
    the_sequence = Sequence.load(sequence, on_disk=True)
    size = compact.write(out, the_sequence)
    frames, gaussians = len(the_sequence.times), len(the_sequence.sh)
    each = size / max(1, frames * gaussians)
    report.say(f"wrote {out}: {frames} frames of {gaussians} gaussians in {size / 1e6:.2f} MB, {each:.1f} bytes each")


if __name__ == "__main__":
    cli.run(main, "compact")
