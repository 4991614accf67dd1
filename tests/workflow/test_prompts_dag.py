"""Prompts and still pictures through the real workflow: which jobs there are, and a run with tiny networks."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lib" / "diffusion"))
import tiny_prompts as tiny

from stages.contracts import Frames, Sequence

ROOT = Path(__file__).resolve().parents[2]
TABLE = "results/own/table1.csv"
FRAMES = "results/own/a_frog_that_jumps/frames.npz"
FIT = "results/own/a_frog_that_jumps/stag4d/seed0"
SMALL = (
    f"picture: {{size: {tiny.SIDE}, steps: 2}}\n"
    f"clip: {{height: 64, width: 128, steps: 2, matte: colour}}\nframes: {{size: 32}}\n"
)


def test_the_prompts_suite_is_fourteen_of_everything(project):
    (project.folder / "smoke.yaml").write_text("suite: prompts\nvariants: [stag4d]\n")
    planned = project.planned("asset")
    assert {planned[job] for job in ("picture", "clip", "frames", "anchors", "canonical", "dynamic", "assets")} == {14}
    assert planned["weights"] == 2


def test_other_suites_generate_nothing(project):
    planned = project.planned("everything", "results/table1.csv")
    assert planned and not {"picture", "clip", "weights"} & set(planned)


def test_a_still_picture_needs_no_picture_drawn(project, tmp_path):
    still = tmp_path / "my frog.png"
    still.write_bytes(b"")
    (project.folder / "smoke.yaml").write_text(f"image: {still}\nname: frog\nvariants: [stag4d]\n")
    planned = project.planned("results/own/frog/frames.npz")
    assert planned == {"weights": 1, "clip": 1, "frames": 1}


def test_from_a_prompt_to_the_table(project, tmp_path):
    # Compiled kernels as well, which take longer than everything else here.
    shutil.copytree(ROOT / "stages", project.folder / "stages", dirs_exist_ok=True)
    manifest = tiny.manifest(tmp_path / "networks")
    (project.folder / "config" / "weights.yaml").write_text(manifest.read_text())
    settings = project.folder / "smoke.yaml"
    prompt = f'prompt: "a frog that jumps, isn\'t it {{odd}}?"\nname: a_frog_that_jumps\n{SMALL}'
    fit = settings.read_text().replace("suite: smoke\nframes: {size: 32}\n", "")
    settings.write_text(f"{prompt}weights: {{folder: {manifest.parent}}}\nvariants: [stag4d]\n{fit}")
    project.run("--cores", "1", TABLE)
    made = Frames.load(project.folder / FRAMES)
    assert made.rgba.shape == (tiny.N_FRAMES, 32, 32, 4)
    assert made.record["settings"]["scene"] == {
        "kind": "prompt",
        "source": "a frog that jumps, isn't it {odd}?",
        "n_frames": 24,
    }
    about = json.loads((project.folder / FRAMES).with_name("picture.json").read_text())
    assert about["settings"]["prompt"] == made.record["settings"]["scene"]["source"]
    receipt = json.loads((project.folder / "resources/weights/svd_xt/receipt.json").read_text())
    assert receipt["files"]["unet/config.json"]["origin"].startswith("linked to ")
    with open(project.folder / TABLE, newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["source"] == "measured"]
    assert (row["variant"], row["suite"], row["anchors"]) == ("stag4d", "own", "inflated")
    # Nothing is known of a prompt's other views; the input view is held against the frames that were drawn.
    assert (row["psnr_masked"], row["psnr_masked_reason"]) == ("", "no ground-truth views")
    with open(project.folder / FIT / "metrics.csv", newline="") as file:
        next(file)
        scores = [row for row in csv.DictReader(file) if (row["view"], row["metric"]) == ("input", "psnr_masked")]
    assert len(scores) == tiny.N_FRAMES and min(float(row["value"]) for row in scores) > 25
    assert len(Sequence.load(project.folder / FIT / "sequence.safetensors").present) == tiny.N_FRAMES
    assert project.planned(TABLE) == {}

    settings.write_text(settings.read_text().replace("matte: colour", "matte: colour, seed: 1"))
    assert project.planned(FRAMES) == {"clip": 1, "frames": 1}
    settings.write_text(settings.read_text().replace("that jumps, ", "that sleeps, "))
    assert project.planned(FRAMES) == {"picture": 1, "clip": 1, "frames": 1}


def test_bad_prompts_stop_before_any_job(project):
    cases = {
        "suite: mine": "scene 'toad' has an empty prompt; type what to show",
        "suite: twice": "twice.yaml, line 4: 'frog' is given twice",
        "prompt: a frog\npicture: {model: svd_xt}": "'svd_xt' does not make a picture; expected: sdxl_base",
    }
    suites = project.folder / "config" / "suites"
    (suites / "mine.yaml").write_text("kind: prompt\nscenes:\n  frog: a frog\n  toad: ''\n")
    (suites / "twice.yaml").write_text("kind: prompt\nscenes:\n  frog: a frog\n  frog: a toad\n")
    for text, expected in cases.items():
        (project.folder / "smoke.yaml").write_text(text + "\n")
        output = project.run("--cores", "1", "results/table1.csv", ok=False)
        assert expected in output, (text, output)
        assert not (project.folder / "results").exists()
