"""Stage corpus: what a small prior is trained on, drawn once, so that no training waits for the sphere tracer.

Objects of the generator's training families only (stages/lib/objects.py); writes corpus.npz.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Corpus
from stages.lib import objects
from stages.settings import CorpusRun


def main(out: Path, settings: CorpusRun, report: Reporter) -> None:
    """Draw the training pictures of the small priors."""
    chosen = settings.corpus
    moments = objects.training_moments(chosen, settings.seed)
    report.say(f"{len(moments)} moments of {len(objects.families(chosen))} families")
    views, conditions = objects.render(
        moments, chosen.view_size, chosen.condition_size, settings.threads, report.progress
    )
    Corpus(
        rgba=views,
        condition=conditions,
        name=np.array([moment.name for moment in moments]),
        object_seed=np.array([moment.object_seed for moment in moments], dtype=np.int64),
        time=np.array([moment.time for moment in moments]),
        azimuth_deg=np.array([moment.azimuth_deg for moment in moments]),
        record=cli.record(settings, "corpus"),
    ).save(out)
    report.say(f"wrote {out}: views {views.shape}, input views {conditions.shape}")


if __name__ == "__main__":
    cli.run(main, "corpus")
