"""The sudden stage: gaussians and error of every variant in the frames around a scene's largest change."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from stages import sudden
from stages.cli import Reporter, StageError
from stages.lib.comparisons import AblationsRun, Comparison
from tests.stages.comparing import add_rows, comparison, write_beside, write_fit

FRAMES = 12
# Two cameras: the second one's largest change is another one than that of both together.
PIXELS = {"15": {5: 10, 6: 70}, "105": {2: 40, 6: 30}}


def fill(folder: Path, chosen: Comparison, view: str = "evaluation", pixels: dict = PIXELS) -> list[Path]:
    """Every fit: 100 gaussians a frame, 4dstr 20 more at frame 6; error by variant, frame and seed."""
    paths = []
    for fit in chosen.fits():
        _, _, variant, seed = fit
        path = write_fit(folder, fit, {"psnr": 20.0}, view=view)
        counts = [(1, 0, 5)]
        counts += [(9, frame, 100 + 20 * (frame == 6 and variant == "4dstr") + seed) for frame in range(FRAMES)]
        write_beside(path, counts)
        for camera, found in pixels.items():
            for frame in range(FRAMES):
                value = 30 - frame + (variant == "4dstr") + 2 * seed + (camera == "15")
                rows = {"psnr_sudden_frame": value} | ({"sudden_pixels": found.get(frame, 0)} if frame else {})
                add_rows(path, fit, view, camera, frame, rows)
        paths.append(path)
    return paths


def make(folder: Path, paths: list[Path], chosen: Comparison) -> tuple[list[dict], str]:
    report = Reporter("sudden", "", io.StringIO(), io.StringIO())
    out, markdown = folder / "sudden.csv", folder / "sudden.md"
    sudden.main(paths, out, markdown, AblationsRun(comparison=chosen), report)
    with open(out, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), markdown.read_text(encoding="utf-8")


def test_the_frames_around_the_largest_change_of_all_cameras(tmp_path):
    chosen = comparison("neither", "4dstr", scenes=("mouth",))
    rows, markdown = make(tmp_path, fill(tmp_path, chosen)[::-1], chosen)
    assert [row["variant"] for row in rows] == ["neither"] * 10 + ["4dstr"] * 10
    own = rows[10:]
    assert [row["frame"] for row in own] == ["", *map(str, range(2, 11))]
    assert [row["offset"] for row in own] == ["", *map(str, range(-4, 5))]
    assert [row["sudden_pixels"] for row in own[1:7]] == ["40", "0", "0", "10", "100", "0"]
    # Seeds 0 and 1; the clip's mean first.
    assert [float(row["gaussians"]) for row in own[4:7]] == [100.5, 120.5, 100.5]
    assert float(own[0]["gaussians"]) == pytest.approx(100.5 + 20 / FRAMES, rel=1e-5)
    assert {float(row["gaussians"]) for row in rows[:10]} == {100.5}
    assert [float(row["psnr_sudden_frame"]) for row in own[4:7]] == [27.5, 26.5, 25.5]
    assert "The largest change is towards frame 6." in markdown
    assert "| `4dstr` | 2 | 102 | 100 | 100 | 100 | 100 | 120 | 100 |" in markdown


def test_a_change_at_the_start_shows_fewer_frames(tmp_path):
    chosen = comparison("neither", "4dstr", scenes=("mouth",), seeds=(0,))
    rows, _ = make(tmp_path, fill(tmp_path, chosen, pixels={"15": {1: 9}}), chosen)
    assert [row["offset"] for row in rows[:7]] == ["", "-1", "0", "1", "2", "3", "4"]
    assert rows[1]["sudden_pixels"] == ""


def test_without_evaluation_views_the_input_view_is_looked_at(tmp_path):
    chosen = comparison("neither", "4dstr", scenes=("mouth",))
    rows, markdown = make(tmp_path, fill(tmp_path, chosen, "input"), chosen)
    assert {row["view"] for row in rows} == {"input"} and len(rows) == 20
    assert "Suite toys, input views" in markdown


def test_what_was_not_run_is_left_out_and_foreign_files_are_refused(tmp_path):
    chosen = comparison("neither", "4dstr")
    paths = [path for path in fill(tmp_path, chosen) if "walk" not in path.parts and "neither" not in path.parts]
    rows, _ = make(tmp_path, paths, chosen)
    assert {(row["scene"], row["variant"]) for row in rows} == {("mouth", "4dstr")}
    old = write_fit(tmp_path / "old", ("toys", "mouth", "4dstr", 0), {"psnr": 20.0})
    with pytest.raises(StageError, match="no metrics file has psnr_sudden_frame of evaluation views"):
        make(tmp_path, [old], chosen)
    other = comparison("gru", scenes=("mouth",), seeds=(0,))
    more = fill(tmp_path, other, pixels={"15": {3: 10}, "105": {}})
    with pytest.raises(StageError, match="the fits of mouth were scored against different ground truths"):
        make(tmp_path, paths + more, comparison("neither", "4dstr", "gru"))


def test_one_fit_scored_by_an_older_version_is_named(tmp_path):
    chosen = comparison("neither", "4dstr", scenes=("mouth",), seeds=(0,))
    paths = fill(tmp_path, chosen)
    old = next(path for path in paths if "neither" in path.parts)
    old.write_text("".join(line for line in old.read_text().splitlines(True) if "psnr_sudden_frame" not in line))
    with pytest.raises(StageError, match="metrics of neither on mouth have no psnr_sudden_frame"):
        make(tmp_path, paths, chosen)
