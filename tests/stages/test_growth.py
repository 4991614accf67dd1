"""The growth stage: rows by variant and length, and how many times the shortest clip's time and memory."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from stages import growth
from stages.cli import Reporter
from stages.lib.comparisons import Comparison, GrowthRun
from tests.stages.comparing import comparison, write_beside, write_fit, write_networks

LENGTHS = {"toys60": 60, "toys16": 16, "toys32": 32}


def compared() -> list[Comparison]:
    return [comparison("stag4d", "4dstr", name=suite, suite=suite, seeds=(0,)) for suite in LENGTHS]


def make(folder: Path, paths: list[Path], networks: list[Path] = ()) -> tuple[list[dict], str]:
    report = Reporter("growth", "", io.StringIO(), io.StringIO())
    outputs = [folder / f"growth{end}" for end in (".csv", ".md", ".tex", ".png")]
    growth.main(paths, *outputs, GrowthRun(comparisons=compared()), report, networks)
    assert outputs[3].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert outputs[2].read_text(encoding="utf-8").count("4dstr &") == len(LENGTHS)
    with open(outputs[0], encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), outputs[1].read_text(encoding="utf-8")


@pytest.fixture
def paths(tmp_path):
    found = []
    for one in compared():
        frames = LENGTHS[one.suite]
        for fit in one.fits():
            path = write_fit(tmp_path, fit, {"psnr_masked": 30 - frames / 10, "tof": 0.2}, frames=frames)
            memory = 400 + (frames if fit[2] == "4dstr" else 0)
            write_beside(path, [(1, 0, 50)], {"s": frames, "cpu_time": 2 * frames, "max_rss": memory})
            found.append(path)
    return found


def test_rows_and_growth(tmp_path, paths):
    rows, markdown = make(tmp_path, paths)
    assert [(row["variant"], row["frames"]) for row in rows] == [
        (variant, frames) for variant in ("stag4d", "4dstr") for frames in ("16", "32", "60")
    ]
    assert [float(row["fit_cpu_s_growth"]) for row in rows[:3]] == [1.0, 2.0, 3.75]
    assert [float(row["fit_mb_growth"]) for row in rows[:3]] == [1.0, 1.0, 1.0]
    assert float(rows[5]["fit_mb_growth"]) == pytest.approx(460 / 416, rel=1e-5)
    assert float(rows[2]["psnr_masked"]) == 24.0
    assert "| 60 | `4dstr` | 2 | 1 | 24.00 |" in markdown


def test_what_networks_say_has_columns(tmp_path, paths):
    rows, markdown = make(tmp_path, paths)
    assert {(row["clip"], row["clip_reason"]) for row in rows} == {("", "needs network weights; not computed")}
    assert "clip ↑" not in markdown
    networks = [write_networks(path, {"clip": 0.9, "fid_frame": "weights are not here"}) for path in paths]
    rows, markdown = make(tmp_path, paths, networks)
    assert {row["clip"] for row in rows} == {"0.9"} and {row["fid_frame"] for row in rows} == {""}
    assert "clip ↑" in markdown and "- without a value: fid_frame: weights are not here" in markdown
    assert "sha of clip_vit_b32" in markdown


def test_a_fit_without_a_benchmark_has_no_growth(tmp_path, paths):
    for path in paths:
        (path.parent / "benchmarks" / "dynamic.jsonl").unlink()
    rows, markdown = make(tmp_path, paths)
    assert {row["fit_mb_growth"] for row in rows} == {""}
    assert rows[0]["fit_mb_reason"] == "no benchmark of the fit"
    assert "| 16 | `stag4d` |" in markdown
