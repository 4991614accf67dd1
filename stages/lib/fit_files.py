"""What a fit's folder holds beside metrics.csv: gaussians per frame, speed, and the benchmark of the fit.

Conventions
-----------
- gaussians.csv: `step,frame,gaussians`; the rows of the last step are the result.
- gradients.csv: a row for every round and row of the statistics, see `densify.gradient_rows`.
- speed.csv: `metric,value`.
- benchmarks/dynamic.jsonl is Snakemake's own, one JSON object a line: `s` seconds of wall time, `cpu_time`
  seconds of all its processors, `max_rss` megabytes.
  Snakemake does not count it as a result, so it can be absent; a fit that was resumed shows its last part only.
- benchmarks/dynamic_beginning.json, where another fit went through the part before sub-clips: `s` and `cpu_time` of
  that part, which are counted in.
- A figure is a value, or None and the reason.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from stages.cli import StageError

CURVE_COLUMNS = ("step", "loss", "rgb", "mask", "gaussians")
COUNT_COLUMNS = ("step", "frame", "gaussians")
BENCHMARK = Path("benchmarks") / "dynamic.jsonl"
BEGINNING = Path("benchmarks") / "dynamic_beginning.json"
# Name in our tables, name in the benchmark.
BENCHMARK_NAMES = {"fit_s": "s", "fit_cpu_s": "cpu_time", "fit_mb": "max_rss"}
SPEED_NAMES = ("encoder_parameters", "fps_network", "fps_baked")

Figure = tuple[float | None, str]


def _table(path: Path, columns: list[str]) -> list[list[str]]:
    """Rows of a CSV file with exactly these columns; raises StageError on another."""
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    if header != columns or any(len(row) != len(columns) for row in rows):
        raise StageError(
            f"{path} has columns {header}; expected rows of {columns}. Delete it and run the same command again."
        )
    return rows


def gaussian_counts(folder: Path) -> dict[int, float]:
    """Gaussians of every frame at the end of the fit; empty when the file is absent or has no row."""
    path = folder / "gaussians.csv"
    rows = _table(path, list(COUNT_COLUMNS)) if path.exists() else []
    last = max((int(step) for step, _, _ in rows), default=0)
    return {int(frame): float(count) for step, frame, count in rows if int(step) == last}


def gradient_tests(folder: Path) -> list[tuple[float, float]]:
    """Kolmogorov-Smirnov distance of the accumulated gradients to a log-normal, and its 5 % bound, of every round and
    frame; empty when the file is absent or has no row."""
    path = folder / "gradients.csv"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return [(float(row["ks_distance"]), float(row["ks_bound"])) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise StageError(
            f"{path} has no numbers in ks_distance and ks_bound; expected those of the dynamic stage. Delete it and "
            "run the same command again."
        ) from None


def gaussian_figures(folder: Path) -> dict[str, Figure]:
    """The mean number of gaussians a frame."""
    counts = gaussian_counts(folder)
    if not counts:
        return {"gaussians": (None, "no gaussians.csv, or none counted")}
    return {"gaussians": (sum(counts.values()) / len(counts), "")}


def benchmark_figures(folder: Path) -> dict[str, Figure]:
    """Wall and processor time in seconds and peak memory in megabytes of the fit."""
    path = folder / BENCHMARK
    if not path.exists():
        return dict.fromkeys(BENCHMARK_NAMES, (None, "no benchmark of the fit"))
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        measured = json.loads(lines[-1])
        before = json.loads((folder / BEGINNING).read_text("utf-8")) if (folder / BEGINNING).exists() else {}
    except (IndexError, ValueError):
        return dict.fromkeys(BENCHMARK_NAMES, (None, "the benchmark of the fit cannot be read"))
    figures: dict[str, Figure] = {}
    for name, key in BENCHMARK_NAMES.items():
        # Snakemake writes "NA" or null for a job that ended before its first measurement.
        try:
            figures[name] = float(measured[key]) + before.get(key, 0.0), ""
        except (KeyError, TypeError, ValueError):
            figures[name] = None, f"the benchmark of the fit has no {key}"
    return figures


def speed_figures(folder: Path) -> dict[str, Figure]:
    """Parameters of the temporal encoder, and frames a second with the network and of the baked sequence."""
    path = folder / "speed.csv"
    if not path.exists():
        return dict.fromkeys(SPEED_NAMES, (None, "no speed.csv: frame rates are taken on the first seed"))
    measured = dict(_table(path, ["metric", "value"]))
    return {
        name: (float(measured[name]), "") if measured.get(name) else (None, "not in speed.csv") for name in SPEED_NAMES
    }
