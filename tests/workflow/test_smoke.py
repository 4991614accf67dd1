"""The real workflow, small: it makes everything, has nothing to do afterwards, and reruns only what changed."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import subprocess
import sys
import time

import pytest

from stages.contracts import Gaussians, Sequence
from stages.lib import compact, video
from stages.lib.fit_files import BEGINNING, benchmark_figures

SCENE = "results/smoke/mouth"


def test_the_table_has_a_measured_and_reported_rows(finished):
    with open(finished.folder / "results/table1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = {row["variant"]: row for row in rows if row["source"] == "measured"}
    assert set(measured) == {"static", "stag4d", "4dstr"}
    assert all(5 < float(measured[variant]["psnr_masked"]) < 40 for variant in ("stag4d", "4dstr"))
    assert measured["stag4d"]["clip"] == ""
    assert measured["stag4d"]["clip_reason"]
    assert sum(row["source"] == "reported" for row in rows) == 8
    assert "| stag4d" in (finished.folder / "results/table1.md").read_text()


def test_the_asset_can_be_opened(finished):
    folder = finished.folder / SCENE / "stag4d/seed0/assets"
    assert video.read(folder / "orbit.mp4").shape == (6, 32, 32, 3)
    assert video.read(folder / "input.mp4").shape == (4, 32, 64, 3)
    assert (folder / "sheet.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    files = sorted(path.name for path in (folder / "ply").glob("*.ply"))
    assert files == [f"frame{index:04d}.ply" for index in range(4)]
    sequence = Sequence.load(finished.folder / SCENE / "stag4d/seed0/sequence.safetensors")
    assert len(Gaussians.load(folder / "ply/frame0002.ply").means) == sequence.present[2].sum()


def test_the_players_hold_the_compact_files(finished):
    scene = finished.folder / SCENE
    compacts = {name: scene / name / "seed0/sequence.4dgs" for name in ("stag4d", "4dstr")}
    texts = {name: base64.b64encode(path.read_bytes()).decode() for name, path in compacts.items()}
    for name, text in texts.items():
        assert text in (scene / name / "seed0/player.html").read_text()
        assert text in (scene / "compare_stag4d_4dstr.html").read_text()
    assert compact.read_header(compacts["stag4d"]).frames == 4


def test_all_methods_share_one_canonical(finished):
    found = sorted(
        str(path.relative_to(finished.folder)) for path in (finished.folder / "results").rglob("canonical.ply")
    )
    assert found == [f"{SCENE}/stag4d/seed0/canonical.ply"]


def test_every_log_says_what_was_read_chosen_and_written(finished):
    log = (finished.folder / SCENE / "stag4d/seed0/logs/dynamic.log").read_text()
    assert re.search(r"frames: .*frames\.npz", log)
    assert "device cpu, backend numba, threads 1, seed 0" in log
    assert re.search(r"wrote .*dynamic\.safetensors: \d+ gaussians, \d+ a frame, 4 frames", log)
    folder = finished.folder / SCENE
    logs = [folder / "stag4d/seed0/logs" / f"{stage}.log" for stage in ("canonical", "bake", "renders", "assets")]
    for path in [*logs, folder / "anchors/rendered/seed0/logs/anchors.log"]:
        assert "device cpu, backend numba" in path.read_text(), path
    assert "device cpu, backend numpy" in (folder / "stag4d/seed0/logs/metrics.log").read_text()


def test_bars_show_loss_and_time_left(finished):
    assert re.search(r"dynamic mouth stag4d seed 0 \[#{24}\] 45/45 loss 0\.\d+ left 0:00", finished.log)
    # One input view, six anchors, four evaluation views.
    assert re.search(r"metrics mouth \[#{24}\] 11/11 left 0:00", finished.log)
    assert re.search(r"tables .*\[#{24}\] 3/3 left 0:00", finished.log)


def test_nothing_to_do_afterwards(finished):
    started = time.monotonic()
    output = finished.run("-n", "results/table1.csv")
    print(f"a run with nothing to do takes {time.monotonic() - started:.1f} s")
    assert "Nothing to be done" in output


def test_nothing_reruns_after_a_touch(finished_copy):
    for folder in ("results", "stages", "config"):
        for path in sorted((finished_copy.folder / folder).rglob("*")):
            os.utime(path)
    assert finished_copy.planned("results/table1.csv") == {}


def test_nothing_reruns_in_a_copied_folder(finished_copy):
    assert finished_copy.planned("results/table1.csv") == {}


def test_an_edit_reruns_that_stage_and_what_follows(finished_copy):
    path = finished_copy.folder / "stages" / "metrics.py"
    path.write_text(path.read_text() + "\n# an edit\n")
    assert finished_copy.planned("results/table1.csv") == {"metrics": 3, "table1": 1}


def test_an_edit_of_the_library_reruns_who_imports_it(finished_copy):
    path = finished_copy.folder / "stages" / "lib" / "hexplane.py"
    path.write_text(path.read_text() + "\n# an edit\n")
    assert {"dynamic", "bake", "renders", "metrics"} <= set(finished_copy.planned("results/table1.csv"))
    assert "frames" not in finished_copy.planned("results/table1.csv")


def test_a_setting_reruns_its_stage_only(finished_copy):
    text = (finished_copy.folder / "smoke.yaml").read_text()
    (finished_copy.folder / "smoke.yaml").write_text(text.replace("images: 90", "images: 93"))
    planned = finished_copy.planned("results/table1.csv")
    assert planned == {"dynamic": 3, "bake": 3, "renders": 3, "metrics": 3, "table1": 1}


def test_ablations_of_the_rectification_begin_where_4dstr_was(finished_copy, project):
    model = "results/smoke/mouth/gru/seed0/dynamic.safetensors"
    assert project.planned(model) == {"frames": 1, "anchors": 1, "canonical": 1, "dynamic": 2}
    assert finished_copy.planned(model) == {"dynamic": 1}
    finished_copy.run("--cores", "1", model)
    folder = finished_copy.folder / "results" / "smoke" / "mouth" / "gru" / "seed0"
    assert "begins at step" in (folder / "logs" / "dynamic.log").read_text()
    assert benchmark_figures(folder)["fit_s"][0] > json.loads((folder / BEGINNING).read_text())["s"] > 0
    # Another fit of 4dstr does not make it another one.
    variant = finished_copy.folder / "config" / "variants" / "4dstr.yaml"
    variant.write_text(variant.read_text().replace("encoder: mamba", "encoder: mamba, length: 3"))
    finished_copy.run("--cores", "1", "results/smoke/mouth/4dstr/seed0/dynamic.safetensors")
    assert finished_copy.planned(model) == {}


def test_swapped_values_of_two_settings_rerun(finished_copy):
    text = (finished_copy.folder / "smoke.yaml").read_text()
    swapped = text.replace("dynamic: {", "dynamic: {lr_field: 0.0016, lr_heads: 0.016, ")
    (finished_copy.folder / "smoke.yaml").write_text(swapped)
    assert finished_copy.planned("results/table1.csv")["dynamic"] == 3


def test_outputs_can_live_elsewhere(finished, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", str(finished.folder / "Snakefile")]
    command += ["--directory", str(tmp_path / "elsewhere"), "--cores", "1", "results/table1.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "table1" in done.stdout


def test_one_command_makes_every_export_and_the_report(finished_copy):
    project = finished_copy
    project.run("--cores", "1", "everything")
    exports = {"spz/frame0003.spz", "mesh/frame0003.glb", "animated.glb", "turntable.mp4", "orbit.webp"}
    for variant in ("stag4d", "4dstr"):
        fit = project.folder / SCENE / variant / "seed0"
        assert all((fit / "exports" / name).stat().st_size for name in exports)
        assert (fit / "assets/ply/frame0003.ply").exists() and (fit / "player.html").exists()
    gallery = (project.folder / "results/smoke/gallery.html").read_text()
    assert "mouth/4dstr/seed0/player.html" in gallery and "mouth/compare_stag4d_4dstr.html" in gallery
    text = (project.folder / "results/report.html").read_text()
    shown = ("table1.csv", "table1.html", "videos.html", "sheet.png", "moments.png", "curves.png")
    shown += ("protocol.csv", "protocol.html")
    for name in (*shown, "counts.png", "gallery_4dstr.png", "player.html", "compare_stag4d_4dstr.html"):
        assert f"{name}" in text, name
    assert "suite <tt" in text and "smoke" in text
    assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css)', text)
    assert project.planned("everything") == {}
    log = (project.folder / "results/logs/report.log").read_text()
    assert "Missing metadata" not in log and "Report created" in log


def test_exports_can_be_asked_for_by_name_and_by_path(project):
    """The jobs from nothing: the optional target of USD, the others, and one file of one fit."""
    fits = {"frames": 1, "anchors": 1, "canonical": 1, "dynamic": 2, "bake": 2}
    assert project.planned("exports_usd") == fits | {"exports_usd": 1, "usd": 2}
    exports = project.planned("exports")
    assert {name: exports[name] for name in ("spz", "mesh", "turntable", "assets", "page")} == {
        **dict.fromkeys(("spz", "mesh", "turntable", "assets"), 2),
        "page": 1,
    }
    assert "usd" not in exports
    one = project.planned(f"{SCENE}/4dstr/seed0/exports/animated.glb")
    assert one == fits | {"dynamic": 1, "bake": 1, "mesh": 1}


@pytest.mark.parametrize("profile", ["local", "slurm"])
def test_profiles_parse(finished, profile):
    # The slurm profile is dry-run only: there is no cluster here.
    finished.run("-n", "--workflow-profile", f"workflow/profiles/{profile}", "results/table1.csv")
