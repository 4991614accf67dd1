"""No target but promote_priors can start a training, whether a prior is here or not."""

from __future__ import annotations

import pytest

TRAINING = {"corpus", "autoencoder", "denoiser", "holdout", "promote_priors"}
MICRO = "resources/priors/micro_zero123plus/receipt.json"
ANCHORS = "results/smoke/mouth/anchors/micro/seed0/anchors.npz"


def choose_micro(project) -> None:
    path = project.folder / "smoke.yaml"
    path.write_text(path.read_text() + "anchors: {source: micro}\n")


@pytest.mark.parametrize("targets", [[], ["everything", "exports", "asset"]])
def test_the_usual_targets_train_nothing(project, targets):
    planned = project.planned(*targets)
    assert planned and not TRAINING & set(planned)


def test_micro_anchors_read_the_prior_and_train_nothing(project):
    choose_micro(project)
    (project.folder / MICRO).parent.mkdir(parents=True)
    (project.folder / MICRO).write_text("{}")
    assert project.planned(ANCHORS) == {"frames": 1, "anchors": 1}


def test_without_a_prior_the_command_is_named(project):
    choose_micro(project)
    output = project.run("-n", ANCHORS, ok=False)
    assert "resources/priors/micro_zero123plus is not here" in output
    assert "Type `snakemake --cores 2 promote_priors --configfile config/priors/cpu.yaml" in output


def test_promotion_runs_the_whole_chain(project):
    assert set(project.planned("promote_priors")) == TRAINING
