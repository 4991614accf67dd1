"""The tables of generated anchors through the real workflow, with a tiny random network in the small prior's place."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny

from stages.lib.weights import MICRO, sha256

ROOT = Path(__file__).resolve().parents[2]
ANCHORS, COST = "results/anchors.csv", "results/anchor_cost.csv"
TOY = """
likeness: {suites: [smoke], fusions: [0, 0.5], seeds: [0]}
ablations: {scenes: [mouth], seeds: [0]}
anchors: {matte: colour, matte_tolerance: 0.02, micro: {steps: 2}}
"""
SCORED = {"fused_anchors": 1, "likeness": 2, "constant_likeness": 4, "fusion": 1}
FITTED = {"canonical": 3, "dynamic": 6, "bake": 6, "renders": 6, "metrics": 6, "anchor_cost": 1}


def configure(project, text: str = TOY) -> None:
    path = project.folder / "smoke.yaml"
    path.write_text(path.read_text() + text)


def install(project) -> None:
    """A tiny network where promote_priors puts the trained one."""
    place = tiny.make(project.folder / "resources" / "priors" / MICRO)
    files = {file.relative_to(place): file for file in sorted(place.rglob("*")) if file.is_file()}
    about = {str(name): {"size": file.stat().st_size, "sha256": sha256(file)} for name, file in files.items()}
    (place / "receipt.json").write_text(json.dumps({"files": about}))


def test_weights_of_fusion_are_scored_and_share_their_anchors_with_the_fits(project):
    # Compiled kernels as well, which take longer than everything else here.
    shutil.copytree(ROOT / "stages", project.folder / "stages", dirs_exist_ok=True)
    configure(project)
    install(project)
    assert project.planned(ANCHORS, COST) == {"frames": 1, "anchors": 3, **SCORED, **FITTED}
    project.run("--cores", "1", ANCHORS)
    with open(project.folder / ANCHORS, newline="") as file:
        rows = {row["fusion"] or row["answer"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["0", "0.5", "copied", "mirrored", "white", "mean"]
    assert {(row["suite"], row["n_scenes"], row["frames"], row["size"]) for row in rows.values()} == {
        ("smoke", "1", "4", "32x32")
    }
    assert rows["0"]["psnr_masked"] != rows["0.5"]["psnr_masked"] and float(rows["copied"]["iou"]) > 0.2
    assert float(rows["white"]["iou"]) == 0 and "no mean_views.png" in rows["mean"]["iou_reason"]
    assert all((project.folder / ANCHORS).with_suffix(end).stat().st_size for end in (".md", ".tex", ".png"))
    assert project.planned(ANCHORS) == {} and project.planned(COST) == {"anchors": 1, **FITTED}


@pytest.mark.parametrize("target", [ANCHORS, COST])
def test_without_a_prior_nothing_starts(project, target):
    configure(project)
    output = project.run("--cores", "1", target, ok=False)
    assert "resources/priors/micro_zero123plus is not here" in output
    assert "Type `snakemake --cores 2 promote_priors --configfile config/priors/cpu.yaml" in output
    assert not (project.folder / "results").exists()
    assert not {*SCORED, "anchor_cost"} & set(project.planned())


def test_public_weights_are_fetched_first(project):
    configure(project, TOY.replace("suites:", "source: zero123plus, suites:"))
    assert project.planned(ANCHORS) == {"frames": 1, "weights": 1, "anchors": 2, **SCORED}


def test_a_suite_without_truth_is_refused(project):
    configure(project, "likeness: {suites: [minions]}\n")
    output = project.run("-n", ANCHORS, ok=False)
    assert "'minions' has no truth at the anchors' cameras" in output
