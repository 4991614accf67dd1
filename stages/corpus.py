"""Stage corpus: what a small prior is trained on, drawn once, so that no training waits for the sphere tracer.

Objects of the generator's training families only (stages/lib/objects.py); writes corpus.npz, and mean_views.png, the
mean of each of the six views, which needs no network and which a prior has to beat.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages import cli
from stages.cli import Reporter
from stages.contracts import Corpus
from stages.lib import answers, objects
from stages.settings import CorpusRun


def main(out: Path, mean_views: Path, settings: CorpusRun, report: Reporter) -> None:
    """Draw the training pictures of the small priors."""
    chosen = settings.corpus
    moments = objects.training_moments(chosen, settings.seed)
    report.say(f"{len(moments)} moments of {len(objects.families(chosen))} families")
    views, conditions, random = objects.render(
        moments, chosen.view_size, chosen.condition_size, settings.threads, report.progress
    )
    angles = np.array([moment.around for moment in moments]).reshape(len(moments), chosen.random_views, 2)
    Corpus(
        rgba=views,
        condition=conditions,
        name=np.array([moment.name for moment in moments]),
        object_seed=np.array([moment.object_seed for moment in moments], dtype=np.int64),
        time=np.array([moment.time for moment in moments]),
        azimuth_deg=np.array([moment.azimuth_deg for moment in moments]),
        random=random,
        random_azimuth_deg=angles[..., 0],
        random_elevation_deg=angles[..., 1],
        record=cli.record(settings, "corpus"),
    ).save(out)
    answers.write_mean(mean_views, answers.mean_views(views))
    report.say(f"wrote {out}: views {views.shape}, input views {conditions.shape}, random views {random.shape}")


if __name__ == "__main__":
    cli.run(main, "corpus")
