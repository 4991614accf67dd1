"""Pictures of another system through the real workflow: one line of configuration, a row of the table."""

from __future__ import annotations

import csv

from stages.contracts import Views
from stages.lib import images


def rows(project) -> dict[str, dict]:
    with open(project.folder / "results/table1.csv", newline="") as file:
        return {row["variant"]: row for row in csv.DictReader(file) if row["source"] == "measured"}


def test_our_own_pngs_from_outside_have_our_numbers(finished_copy):
    project = finished_copy
    views = Views.load(project.folder / "results/smoke/mouth/stag4d/seed0/views.npz")
    ours = [index for index, kind in enumerate(views.kind) if kind == "truth"]
    for view, index in enumerate(ours):
        for t, picture in enumerate(views.rgba[index]):
            images.write_png(project.folder / "theirs" / "mouth" / f"eval_{view}" / f"{t}.png", picture)
    with open(project.folder / "smoke.yaml", "a") as file:
        file.write("outside: {theirs: {path: theirs, title: Theirs}}\n")
    assert project.planned("results/table1.csv") == {"outside": 1, "metrics": 1, "table1": 1}
    project.run("--cores", "1", "results/table1.csv")
    found = rows(project)
    assert set(found) == {"static", "stag4d", "4dstr", "theirs"}
    assert found["theirs"]["method"] == "Theirs" and found["theirs"]["anchors"] == "unknown"
    scores = ("psnr", "psnr_masked", "ssim", "iou", "tof", "dtssd", "warp_gap", "flicker_gap")
    assert {name: found["theirs"][name] for name in scores} == {name: found["stag4d"][name] for name in scores}
    assert (project.folder / "results/table1.tex").read_text().startswith("%")

    broken = project.folder / "theirs" / "mouth" / "eval_1" / "2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    output = project.run("--cores", "1", "results/table1.csv", ok=False)
    assert f"{broken.relative_to(project.folder)} cannot be read as a picture" in output


def test_the_protocol_page(finished_copy):
    finished_copy.run("--cores", "1", "results/protocol.csv")
    text = (finished_copy.folder / "results/protocol.md").read_text()
    assert "| view order | by camera |" in text and "without a number" in text
