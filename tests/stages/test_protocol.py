"""The table of open choices: numbers against the plain computation, and empty cells with reasons."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from stages import protocol
from stages.cli import StageError
from stages.contracts import Truth, Views
from stages.lib import quality
from stages.lib.networks import features
from stages.settings import NetworksSettings, ProtocolRun

SETTINGS = ProtocolRun(suite="toys", variant="stag4d", title="stag4d", device="cpu", networks=NetworksSettings())


@pytest.fixture
def made(scene, tmp_path, monkeypatch):
    """Files of two scenes: the ball, and the ball a little to the side."""
    monkeypatch.setattr(protocol, "BASE", protocol.Protocol(side=48))
    monkeypatch.setattr(
        protocol, "CHOICES", tuple(
            c if c.name == "size" else
            protocol.Choice(c.name, c.base, c.alternative, protocol.replace(c.protocol, side=48), c.metrics, c.why)
            for c in protocol.CHOICES
        ),
    )  # fmt: skip
    frames, _, truth = scene
    rgba = truth.rgba.copy()
    # Sides of the ball that differ, so that the order of views shows.
    for view in range(4):
        rgba[view, ..., 1] = np.where(rgba[view, ..., 3] > 0, 60 * view, 0)
        rgba[view, :, : 4 + 2 * view] = 0
    files = {name: [] for name in ("views", "frames", "truth")}
    for index in range(2):
        folder = tmp_path / f"scene{index}"
        count = len(frames.times)
        ours = np.roll(rgba, 1 + index, axis=3)
        views = Views(
            np.concatenate([frames.rgba[None], ours]),
            np.array(["input"] + ["truth"] * 4),
            np.concatenate([np.zeros((1, count)), truth.azimuth_deg]),
            np.concatenate([np.zeros((1, count)), truth.elevation_deg]),
        )
        held = Truth(rgba, truth.azimuth_deg, truth.elevation_deg)
        for name, file in {"views": views, "frames": frames, "truth": held}.items():
            file.save(folder / f"{name}.npz")
            files[name].append(folder / f"{name}.npz")
    return files


def run(files, report, folder) -> tuple[list[dict], str]:
    out, page = folder / "protocol.csv", folder / "protocol.md"
    protocol.main(**files, out=out, markdown=page, settings=SETTINGS, report=report)
    with open(out, newline="") as file:
        return list(csv.DictReader(file)), page.read_text()


def test_every_number_is_the_plain_one(made, report, tmp_path):
    rows, page = run(made, report, tmp_path)
    found = {(r["choice"], r["alternative"], r["metric"]): r for r in rows}
    scenes = protocol.read(**made)

    def plain(score, hard=False, side=48, frames=4, turned=0):
        means = []
        for scene in scenes:
            true = np.roll(scene.truth, -turned, axis=0)
            values = []
            for view in range(4):
                for t in range(frames):
                    both = protocol.on_white(scene.prediction[view, t]), protocol.on_white(true[view, t], hard)
                    sized = both if side is None else [features.resized(p, side) for p in both]
                    values.append(score(*(p.astype(np.float32) / 255 for p in sized)))
            means.append(np.mean(values))
        return np.mean(means)

    expected = {
        ("frames", "last two left out"): plain(quality.psnr, frames=2),
        ("background", "hard alpha"): plain(quality.psnr, hard=True),
        ("size", "as rendered"): plain(quality.psnr, side=None),
        ("data range", "the pictures' own"): plain(quality.psnr_legacy),
        ("view order", "by number, one on"): plain(quality.psnr, turned=1),
    }
    base = plain(quality.psnr)
    for (choice, alternative), value in expected.items():
        row = found[choice, alternative, "psnr"]
        assert float(row["base_value"]) == pytest.approx(base, rel=1e-5)
        assert float(row["value"]) == pytest.approx(value, rel=1e-5)
        assert float(row["difference"]) == pytest.approx(value - base, rel=1e-3, abs=1e-5)
    assert float(found["mean of PSNR", "of pooled error", "psnr"]["difference"]) < 0
    assert float(found["view order", "by number, one on", "psnr"]["difference"]) < -0.5
    assert "| view order | by camera | by number, one on | psnr ↑ |" in page


def test_without_weights_the_cells_are_empty_with_the_reason(made, report, tmp_path):
    rows, page = run(made, report, tmp_path)
    empty = [r for r in rows if r["metric"] in ("clip", "lpips_vgg", "fvd_clip", "fid_frame")]
    if any(r["value"] for r in empty):
        pytest.skip("weights are here")
    assert len(empty) == 17 and all(r["reason"] and not r["base_value"] for r in empty)
    assert "- without a number: " in page


def test_scenes_without_ground_truth_are_refused(made, report, tmp_path):
    views, truth = Views.load(made["views"][0]), Truth.load(made["truth"][0])
    only = tmp_path / "only.npz"
    none = tmp_path / "none.npz"
    Views(views.rgba[:1], views.kind[:1], views.azimuth_deg[:1], views.elevation_deg[:1]).save(only)
    Truth(truth.rgba[:0], truth.azimuth_deg[:0], truth.elevation_deg[:0]).save(none)
    with pytest.raises(StageError, match="no scene has ground-truth views"):
        run({"views": [only], "frames": made["frames"][:1], "truth": [none]}, report, tmp_path)
