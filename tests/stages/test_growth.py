"""The growth stage: rows by variant and length, and how many times the shortest clip's time and memory."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from stages import growth
from stages.cli import Reporter
from stages.lib.comparisons import Comparison, GrowthRun
from tests.stages.comparing import comparison, write_beside, write_fit

LENGTHS = {"toys60": 60, "toys16": 16, "toys32": 32}


def compared() -> list[Comparison]:
    return [comparison("stag4d", "4dstr", name=suite, suite=suite, seeds=(0,)) for suite in LENGTHS]


def make(folder: Path, paths: list[Path]) -> tuple[list[dict], str]:
    report = Reporter("growth", "", io.StringIO(), io.StringIO())
    outputs = [folder / f"growth{end}" for end in (".csv", ".md", ".png")]
    growth.main(paths, *outputs, GrowthRun(comparisons=compared()), report)
    assert outputs[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
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


def test_a_fit_without_a_benchmark_has_no_growth(tmp_path, paths):
    for path in paths:
        (path.parent / "benchmarks" / "dynamic.jsonl").unlink()
    rows, markdown = make(tmp_path, paths)
    assert {row["fit_mb_growth"] for row in rows} == {""}
    assert rows[0]["fit_mb_reason"] == "no benchmark of the fit"
    assert "| 16 | `stag4d` |" in markdown
