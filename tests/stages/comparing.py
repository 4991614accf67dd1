"""Toy comparisons and the fit folders they read, for the tests of tables 2 to 5 and of the claims."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stages.contracts import Features
from stages.lib.comparisons import ComparedVariant, Comparison
from stages.lib.scores import METRICS_COLUMNS

LOWER = ("tof", "dtssd", "warp_gap")


def comparison(*names: str, name="table2", scenes=("mouth", "walk"), seeds=(0, 1), **given) -> Comparison:
    """A comparison of these variants; the first is the base."""
    variants = [ComparedVariant(name=one, title=f"{one} (toy)", length=len(one)) for one in names]
    about = {"title": "Toys", "suite": "toys", "base": names[0], "speed": False, "axis": "variant", "counts": False}
    return Comparison(name=name, scenes=list(scenes), seeds=list(seeds), variants=variants, **{**about, **given})


def write_fit(
    folder: Path, fit: tuple[str, str, str, int], scores: dict[str, float | str], view="evaluation", **about
) -> Path:
    """One fit's metrics.csv in its own folder below `folder`; a text is the reason of a missing score."""
    suite, scene, variant, seed = fit
    settings = {"suite": suite, "scene": scene, "variant": variant, "seed": seed}
    settings |= {"title": f"{variant} (toy)", "method": variant, "metrics": {"mask_threshold": 0.5, "skip_ends": 2}}
    record = {"settings": settings, "frames": 24, "size": "128x128", "anchors": "rendered", "device": "cpu"}
    record |= {"backend": "numba", "supervision": "photometric", "machine": "x86_64", "python": "3.11.7"}
    record |= {"opencv": "5.0.0", "versions": {"numpy": "2.4.6"}, **about}
    lines = ["# " + json.dumps(record), ",".join(METRICS_COLUMNS)]
    for metric, score in scores.items():
        cells = ("", score) if isinstance(score, str) else (repr(float(score)), "")
        frame = "" if metric in LOWER or metric == "psnr_sudden" else "0"
        lines.append(",".join([suite, scene, variant, str(seed), view, "15", frame, metric, *cells]))
    path = folder / suite / scene / variant / f"seed{seed}" / "metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def add_rows(metrics: Path, fit: tuple[str, str, str, int], view: str, azimuth: str, frame: int, scores: dict) -> None:
    """Append scores of one camera and frame to a metrics.csv."""
    with open(metrics, "a", encoding="utf-8") as file:
        for metric, score in scores.items():
            file.write(",".join([*map(str, fit), view, azimuth, str(frame), metric, repr(float(score)), ""]) + "\n")


def write_networks(metrics: Path, scores: dict[str, float | str]) -> Path:
    """The networks.csv and the empty features.npz beside a metrics.csv; a text is the reason of a missing score."""
    first = metrics.read_text(encoding="utf-8").splitlines()[0]
    record = json.loads(first.removeprefix("# "))
    record["settings"]["networks"] = {"lpips": ["vgg"], "fid_grouping": "view", "fid_resize": "tf1"}
    record |= {"networks": {"clip_vit_b32": "sha of clip_vit_b32"}, "scored_on": "cpu"}
    suite, scene, variant, seed = (str(record["settings"][name]) for name in ("suite", "scene", "variant", "seed"))
    lines = ["# " + json.dumps(record), ",".join(METRICS_COLUMNS)]
    for metric, score in scores.items():
        cells = ("", score) if isinstance(score, str) else (repr(float(score)), "")
        lines.append(",".join([suite, scene, variant, seed, "evaluation", "15", "0", metric, *cells]))
    path = metrics.with_name("networks.csv")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    none = np.zeros((2, 1, 0))
    Features(none, np.zeros((2, 1, 1, 0)), none, record).save(metrics.with_name("features.npz"))
    return path


def write_beside(metrics: Path, counts=None, benchmark=None, speed=None) -> None:
    """The files beside metrics.csv: rows of gaussians.csv, a benchmark line, rows of speed.csv."""
    folder = metrics.parent
    if counts is not None:
        rows = "".join(f"{step},{frame},{count}\n" for step, frame, count in counts)
        (folder / "gaussians.csv").write_text("step,frame,gaussians\n" + rows, encoding="utf-8")
    if benchmark is not None:
        (folder / "benchmarks").mkdir(exist_ok=True)
        (folder / "benchmarks" / "dynamic.jsonl").write_text(json.dumps(benchmark) + "\n", encoding="utf-8")
    if speed is not None:
        rows = "".join(f"{name},{value}\n" for name, value in speed.items())
        (folder / "speed.csv").write_text("metric,value\n" + rows, encoding="utf-8")
