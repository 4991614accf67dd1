"""Score distillation through the real workflow, with tiny random networks in the place of the public ones."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny_zero123 as tiny

from stages.contracts import load_tensors

ROOT = Path(__file__).resolve().parents[2]
FIT = "results/smoke/mouth/stag4d_sds/seed0"


def test_a_guided_fit_fetches_its_network_and_is_named_in_the_table(project, tmp_path):
    # Compiled kernels as well, which take longer than everything else here.
    shutil.copytree(ROOT / "stages", project.folder / "stages", dirs_exist_ok=True)
    manifest = tiny.manifest(tmp_path / "networks")
    (project.folder / "config" / "weights.yaml").write_text(manifest.read_text())
    smoke = project.folder / "smoke.yaml"
    smoke.write_text(smoke.read_text() + f"weights: {{folder: {manifest.parent}}}\nvariants: [stag4d_sds]\n")
    project.run("--cores", "1", "results/table1.csv")
    receipt = json.loads((project.folder / "resources/weights/zero123_xl/receipt.json").read_text())
    assert "unet/config.json" in receipt["files"]
    with open(project.folder / "results/table1.csv", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["source"] == "measured")
    assert (row["method"], row["supervision"]) == ("stag4d (photometric anchors, SDS by zero123_xl)", "both")
    assert len(load_tensors(project.folder / FIT / "dynamic.safetensors")[1]["guidance_weights"]) == 64
    (curve,) = (project.folder / "results").rglob("canonical_curve.csv")
    assert curve.read_text().startswith("step,loss,rgb,mask,gaussians,sds")
    assert "guidance by zero123_xl on cpu in float32" in (project.folder / FIT / "logs/dynamic.log").read_text()
    assert project.planned("results/table1.csv") == {}

    smoke.write_text(smoke.read_text() + "guidance: {views: 2}\nablations: {scenes: [mouth], seeds: [0]}\n")
    assert {"canonical", "dynamic"} <= set(project.planned("results/table1.csv"))
    planned = project.planned("results/sds.csv")
    assert (planned["canonical"], planned["dynamic"], planned["sds"]) == (4, 4, 1) and "weights" not in planned
    assert "stag4d_sds" not in project.run("-n", "results/claims.csv")


def test_the_small_prior_guides_a_fit_without_a_download(project):
    shutil.copytree(ROOT / "stages", project.folder / "stages", dirs_exist_ok=True)
    tiny.make_micro(project.folder / "resources/priors/micro_zero123")
    fit = "results/smoke/mouth/4dstr_sds_micro/seed0"
    planned = project.planned(f"{fit}/canonical.ply")
    assert planned == {"frames": 1, "anchors": 1, "canonical": 1}
    project.run("--cores", "1", f"{fit}/canonical.ply")
    assert "guidance by micro on cpu in float32" in (project.folder / fit / "logs/canonical.log").read_text()
    assert (project.folder / fit / "canonical_curve.csv").read_text().startswith("step,loss,rgb,mask,gaussians,sds")
