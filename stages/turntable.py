"""turntable: turning pictures to share, of one frozen moment and of the whole clip.

Reads sequence.safetensors and frames.npz; writes turntable.mp4 (the camera turns once around the gaussians of
`exports.moment`) and orbit.webp (the clip plays once while the camera turns, an animated picture for pages and chats).
Pictures are drawn and encoded one by one.
"""

from __future__ import annotations

from pathlib import Path

from stages import cli
from stages.cli import Reporter
from stages.contracts import Frames, Sequence, nearest_frame
from stages.lib import video
from stages.lib.device import ON_CPU
from stages.lib.drawing import turn
from stages.settings import ExportsRun


def frozen(sequence: Sequence, frames: Frames, moment: float | None) -> int:
    """The frame of the sequence nearest to a time in [0, 1]; None is the key frame of the canonical fit."""
    time = frames.times[frames.key] if moment is None else moment
    return nearest_frame(sequence.times, time)


def main(sequence: Path, frames: Path, turntable: Path, orbit: Path, settings: ExportsRun, report: Reporter) -> None:
    """Write the frozen turntable and the animated WebP."""
    report.say(ON_CPU)
    the_sequence, the_frames = Sequence.load(sequence, on_disk=True), Frames.load(frames, on_disk=True)
    chosen, fps = settings.exports, settings.renders.fps
    height = the_frames.rgba.shape[1]
    frame = frozen(the_sequence, the_frames, chosen.moment)
    still = (frame for _ in range(chosen.turntable_frames))
    size = settings.renders.size or 2 * height
    video.write_mp4(turntable, turn(the_sequence, the_frames, still, chosen.turntable_frames, size), fps)
    count = chosen.webp_frames
    playing = (index * len(the_sequence.times) // count for index in range(count))
    pictures = turn(the_sequence, the_frames, playing, count, chosen.webp_size or height)
    video.write_webp(orbit, pictures, fps)
    report.say(
        f"wrote {turntable}: frame {frame} at time {the_sequence.times[frame]:.3f}, and {orbit}: {count} pictures"
    )


if __name__ == "__main__":
    cli.run(main, "turntable")
