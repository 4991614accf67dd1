"""No target but promote_priors can start a training, whether a prior is here or not."""

from __future__ import annotations

import pytest

TRAINING = {"corpus", "autoencoder", "denoiser", "holdout", "promote_priors"}
MICRO = "resources/priors/micro_zero123plus/receipt.json"
POSE = "resources/priors/micro_zero123/receipt.json"
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


def test_promotion_runs_the_whole_chain_for_both_networks(project):
    planned = project.planned("promote_priors")
    assert set(planned) == TRAINING
    assert (planned["corpus"], planned["autoencoder"], planned["denoiser"], planned["holdout"]) == (1, 1, 2, 2)


def test_the_sds_table_needs_no_download_once_the_prior_is_here(project):
    """And trains nothing; before, its networks are public ones."""
    path = project.folder / "smoke.yaml"
    path.write_text(path.read_text() + "ablations: {scenes: [mouth], seeds: [0]}\n")
    assert project.planned("results/sds.csv")["weights"] == 1
    for receipt in (MICRO, POSE):
        (project.folder / receipt).parent.mkdir(parents=True)
        (project.folder / receipt).write_text("{}")
    planned = project.planned("results/sds.csv")
    assert (planned["canonical"], planned["dynamic"], planned["sds"]) == (8, 8, 1)
    assert not {"weights", *TRAINING} & set(planned)


def test_guidance_without_a_prior_names_the_command(project):
    output = project.run("-n", "results/smoke/mouth/4dstr_sds_micro/seed0/metrics.csv", ok=False)
    assert "guidance.model is micro but resources/priors/micro_zero123 is not here" in output
    assert "Type `snakemake --cores 2 promote_priors --configfile config/priors/cpu.yaml" in output
