"""Time and memory of the small Zero123++'s anchors, over the number of frames and of frames a batch.

    python -m tests.benchmarks.anchors [--threads 1] [--frames 8 24 60] [--batches 1 2 8]

Stage anchors draws the procedural object `mouth` at 128 pixels by the committed network (resources/priors/) with the
defaults of config/config.yaml, but for the frames a batch. Every row is a process of its own, since a process never
gives its peak back.

Vocabulary: *drawing* is the network's work on all frames, without loading, mattes and files; its *processor time* does
not count what else the machine does. The *peak* is of resident memory over the whole stage, libraries included; what
lies *above the network* is the peak less what was resident when the network was loaded and nothing drawn. The *output*
is the anchors' pixels, which no stage can give without holding them.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.memory import NOW, PEAK, resident_mb

ROOT = Path(__file__).resolve().parents[2]
SUITE, OBJECT, SIZE = "embedded", "mouth", 128
FRAMES, BATCHES = (8, 24, 60), (1, 2, 8)
COLUMNS = (
    "frames",
    "frames a batch",
    "drawing, s a frame",
    "processor time, s a frame",
    "whole stage, s",
    "peak, MB",
    "above the network, MB",
    "output, MB",
)


def one(frames: Path, per_batch: int, threads: int) -> None:
    """Run the stage on a file of frames in this process and print what it took, as JSON."""
    from stages import anchors
    from stages.cli import Reporter
    from stages.contracts import Anchors
    from stages.experiment import Experiment
    from stages.lib import weights
    from stages.lib.diffusion import zero123plus
    from stages.settings import AnchorsRun

    config = {"anchors": {"source": "micro", "micro": {"frames_per_batch": per_batch}}, "frames": {"size": SIZE}}
    told = Experiment({**config, "threads": threads, "device": "cpu"}).anchors_json(SUITE, OBJECT, "micro", 0)
    took, draw = {}, zero123plus.sample

    def watched(*given: object) -> np.ndarray:
        took["loaded"] = resident_mb(NOW)
        wall, processor = time.perf_counter(), time.process_time()
        views = draw(*given)
        took["drawing"], took["processor"] = time.perf_counter() - wall, time.process_time() - processor
        return views

    # The stage is run as it is; only the clock stands around the network's work.
    zero123plus.sample = watched
    out, receipt = frames.with_name("anchors.npz"), ROOT / "resources" / "priors" / weights.MICRO / weights.RECEIPT
    started, quiet = time.perf_counter(), Reporter("anchors", "", io.StringIO(), io.StringIO())
    anchors.main(frames, out, AnchorsRun.model_validate_json(told), quiet, [receipt])
    took["stage"], took["peak"] = time.perf_counter() - started, resident_mb(PEAK)
    took["output"] = Anchors.load(out).rgba.nbytes / 2**20
    print(json.dumps(took))


def measured(count: int, per_batch: int, threads: int) -> dict[str, float]:
    """What `one` says of so many frames, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.npz"
        # Imported here, since a row's process must not hold what only this needs.
        from tests.objects import frames_of

        frames_of(OBJECT, count, SIZE).save(frames)
        program = (
            "from pathlib import Path; from tests.benchmarks import anchors; "
            f"anchors.one(Path({str(frames)!r}), {per_batch}, {threads})"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def row(count: int, per_batch: int, threads: int) -> str:
    """One line of the table."""
    took = measured(count, per_batch, threads)
    seconds = f"{took['drawing'] / count:.3f} | {took['processor'] / count:.3f} | {took['stage']:.1f}"
    memory = f"{took['peak']:.0f} | {took['peak'] - took['loaded']:.0f} | {took['output']:.1f}"
    return f"| {count} | {per_batch} | {seconds} | {memory} |"


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    arguments = parser.parse_args()
    print(f"{OBJECT} at {SIZE} pixels, threads {arguments.threads}, float32\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "| --- " * len(COLUMNS) + "|")
    for count in arguments.frames:
        for per_batch in arguments.batches:
            print(row(count, per_batch, arguments.threads), flush=True)


if __name__ == "__main__":
    main()
