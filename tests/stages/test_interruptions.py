"""Exports that end in the middle of a file, by a full disk or a kill: what had its name before still has it, whole."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import assets, bake, compact, gallery, mesh, moments, page, player, renders, spz, turntable, usd
from stages.contracts import save_tensors
from stages.lib.imports import ROOT
from stages.settings import AssetsRun, BakeRun, ExportsRun, ExportsSettings, MomentsRun, PlayerRun, RendersRun, Run
from tests.players import PARTS
from tests.stages.test_exports import ball

EXPORTS = ExportsRun(
    renders={"size": 32, "fps": 8},
    exports=ExportsSettings(turntable_frames=4, webp_frames=4, webp_size=32, mesh_resolution=16),
)
DRAWN = {"size": 32, "orbit_frames": 4, "sheet_times": 2}


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: what comes after fails as on a full disk."""
    before, written = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    # A module imported meanwhile would leave half of its compiled file.
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = written


@pytest.fixture
def place(tmp_path, scene, report) -> Path:
    """What every export reads, of a red ball that moves, as results/<suite>/<scene>/<variant>/seed0."""
    fit = tmp_path / "toys" / "cat" / "stag4d" / "seed0"
    for name, item in zip(("frames", "anchors", "truth"), scene, strict=True):
        item.save(fit / f"{name}.npz")
    scene[0].save(fit.parents[1] / "frames.npz")
    times = scene[0].times
    sequence = ball(np.stack([np.linspace(-0.15, 0.15, len(times)), 0 * times, 0 * times], axis=1), times)
    sequence.save(fit / "sequence.safetensors")
    compact.main(fit / "sequence.safetensors", fit / "sequence.4dgs", Run(), report)
    fitted = {f"gaussians.{name}": value for name, value in vars(sequence.frame(0)).items()}
    settings = {"canonical": {}, "dynamic": {"method": "static"}}
    save_tensors(
        fit / "dynamic.safetensors",
        {**fitted, "present": np.ones((4, 600), bool), "times": times},
        {"settings": settings},
    )
    return fit


def flip_topology(fit: Path) -> None:
    """Half of the ball is absent from the last frame, so that no mesh deforms into the others."""
    from stages.contracts import Sequence

    sequence = Sequence.load(fit / "sequence.safetensors")
    half = sequence.present.copy()
    half[3, :300] = False
    replace(sequence, present=half).save(fit / "sequence.safetensors")


def inputs(fit: Path, *names: str) -> list[Path]:
    return [fit / name for name in names]


# From a name to: the call, the files and folders it makes, and the file in whose middle the disk is full.
SEQUENCE = "sequence.safetensors"
Call = Callable[[Path, object], None]


def run_page(fit: Path, report) -> None:
    frames, suite = [fit.parents[1] / "frames.npz"], fit.parents[2]
    turntable.main(*inputs(fit, SEQUENCE, "frames.npz", "t.mp4", "exports/orbit.webp"), EXPORTS, report)
    page.main(frames, [fit / "exports/orbit.webp"], [], suite / "gallery.html", suite / "gallery", DRAWING, report)


DRAWING = RendersRun(renders=DRAWN)


def run_mesh(fit: Path, report) -> None:
    mesh.main(*inputs(fit, SEQUENCE, "frames.npz", "mesh", "a.glb"), EXPORTS, report)


def run_turntable(fit: Path, report) -> None:
    turntable.main(*inputs(fit, SEQUENCE, "frames.npz", "t.mp4", "o.webp"), EXPORTS, report)


CASES: dict[str, tuple[Call, str]] = {
    "bake": (lambda fit, report: bake.main(*inputs(fit, "dynamic.safetensors", "b"), BakeRun(), report), "b"),
    "renders": (
        lambda fit, report: renders.main(
            *inputs(fit, SEQUENCE, "frames.npz", "anchors.npz", "truth.npz", "views.npz"), DRAWING, report
        ),
        "views.npz",
    ),
    "compact": (lambda fit, report: compact.main(*inputs(fit, SEQUENCE, "c.4dgs"), Run(), report), "c.4dgs"),
    "spz": (lambda fit, report: spz.main(*inputs(fit, SEQUENCE, "spz"), Run(), report), "spz/frame0002.spz"),
    "usd": (lambda fit, report: usd.main(*inputs(fit, SEQUENCE, "s.usdc"), EXPORTS, report), "s.usdc"),
    "a still mesh": (run_mesh, "mesh/frame0002.glb"),
    "a mesh that deforms": (run_mesh, "a.glb"),
    "a turntable": (run_turntable, "t.mp4"),
    "a moving picture": (run_turntable, "o.webp"),
    "assets": (
        lambda fit, report: assets.main(
            *inputs(fit, SEQUENCE, "frames.npz", "o.mp4", "i.mp4", "s.png", "ply"), AssetsRun(renders=DRAWN), report
        ),
        "ply/frame0001.ply",
    ),
    "a contact sheet": (
        lambda fit, report: assets.main(
            *inputs(fit, SEQUENCE, "frames.npz", "o.mp4", "i.mp4", "s.png", "ply"), AssetsRun(renders=DRAWN), report
        ),
        "s.png",
    ),
    "player": (
        lambda fit, report: player.main(
            [fit / "sequence.4dgs"],
            *inputs(fit, "frames.npz", "anchors.npz"),
            PARTS,
            fit / "p.html",
            PlayerRun(),
            report,
        ),
        "p.html",
    ),
    "gallery": (
        lambda fit, report: gallery.main(
            [fit / "frames.npz"], [fit / SEQUENCE], *inputs(fit, "g.webp", "g.png"), DRAWING, report
        ),
        "g.webp",
    ),
    "moments": (
        lambda fit, report: moments.main(
            fit / "frames.npz",
            fit / "truth.npz",
            [fit / SEQUENCE],
            *inputs(fit, "m.png", "m.csv"),
            MomentsRun(),
            report,
        ),
        "m.png",
    ),
    "page": (run_page, "../../../gallery.html"),
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_a_disk_that_is_full_in_the_middle_of_a_file_leaves_the_old_ones(place, tmp_path, report, name):
    if name == "usd":
        pytest.importorskip("pxr", reason="usd-core is not installed; type `pip install usd-core`")
    write, middle = CASES[name]
    write(place, report)
    before = contents(tmp_path)
    size = (place / middle).stat().st_size
    # What is longer than half of the file ends early, so the files written before it may be the ones to fail.
    with files_of_at_most(size // 2), pytest.raises(Exception, match=r"(?i)large|write|save|crate|space|I/O|truncat"):
        write(place, report)
    assert contents(tmp_path) == before


def test_meshes_that_follow_each_other_are_whole_or_not_there(place, tmp_path, report):
    flip_topology(place)
    write, middle = CASES["a mesh that deforms"]
    write(place, report)
    assert "a mesh a frame" in report.text
    before = contents(tmp_path)
    longest = max(path.stat().st_size for path in (place / "mesh").iterdir())
    with files_of_at_most(longest), pytest.raises(OSError, match="too large"):
        write(place, report)
    assert contents(tmp_path) == before
    assert (place / middle).stat().st_size > longest


def test_a_killed_export_leaves_the_old_folder_and_the_next_one_ends(tmp_path):
    ball(np.zeros((300, 3)), np.linspace(0, 1, 300)).save(tmp_path / "s.safetensors")
    old = tmp_path / "spz" / "frame0000.spz"
    old.parent.mkdir()
    old.write_bytes(b"old")
    command = [sys.executable, "-m", "stages.spz", "--sequence", "s.safetensors", "--out", "spz", "--log", "log"]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    export = subprocess.Popen(command, cwd=tmp_path, env=paths)
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".spz.*.part/frame0003.spz")):
        assert time.monotonic() < end and export.poll() is None, "the export was not caught in its middle"
        time.sleep(0.001)
    export.send_signal(signal.SIGKILL)
    export.wait()
    assert {path.name: path.read_bytes() for path in old.parent.iterdir()} == {"frame0000.spz": b"old"}
    subprocess.run(command, cwd=tmp_path, env=paths, check=True, timeout=60)
    assert len(list(old.parent.iterdir())) == 300
