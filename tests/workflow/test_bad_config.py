"""A wrong configuration stops before any job, in one line that says what to type."""

from __future__ import annotations

import pytest

CASES = {
    "unknown key": ("canonical: {stepz: 3}", r"unknown key 'canonical.stepz'; did you mean 'steps'?"),
    "wrong type": ("seeds: many", "seeds: got 'many'; expected"),
    "negative seed": ("seeds: [0, -1]", "seeds.1: got -1; expected"),
    "negative seed of a table": ("ablations: {seeds: [-1]}", "ablations.seeds.0: got -1; expected"),
    "unknown suite": ("suite: embeded", "config/suites/embeded.yaml; did you mean 'embedded'?"),
    "unknown variant": ("variants: [stag5d]", "config/variants/stag5d.yaml; did you mean 'stag4d'?"),
    "unknown scene": ("suite: embedded\nscenes: [moth]", "scenes: 'moth' is not in suite 'embedded'; it has: mouth,"),
    "scene twice": ("suite: embedded\nscenes: [walk, walk]", "scenes: 'walk' is given twice"),
    "name with a space": ("path: 'my clip.mp4'", "scene name 'my clip' cannot be used in paths"),
    "name with a shell character": ("path: x.mp4\nname: 'a;b'", "scene name 'a;b' cannot be used in paths"),
    "empty prompt": ('prompt: ""', "prompt is empty; type e.g. `prompt: a corgi that runs`"),
    "prompt and clip": ("prompt: a frog\npath: frog.mp4", "path and prompt are given; expected one of them"),
    "missing picture": ("image: frog.png", "frog.png does not exist; expected one still picture"),
    "missing video": ("path: nowhere.mp4", "nowhere.mp4 does not exist; expected one of: a video file (mp4,"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_configuration(project, case):
    text, expected = CASES[case]
    (project.folder / "smoke.yaml").write_text(text + "\n")
    output = project.run("--cores", "1", "results/table1.csv", ok=False)
    assert expected in output
    assert "Traceback" not in output
    assert not (project.folder / "results").exists()


def test_two_scenes_of_one_name(project):
    (project.folder / "config/suites/mine.yaml").write_text("kind: images\nscenes:\n  cat: a\n  cat: b\n")
    (project.folder / "smoke.yaml").write_text("suite: mine\n")
    output = project.run("--cores", "1", "results/table1.csv", ok=False)
    assert "mine.yaml, line 4: 'cat' is given twice" in output
