"""The table of open choices: numbers against the plain computation, and empty cells with reasons."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from stages import protocol
from stages.cli import StageError
from stages.contracts import Truth, Views
from stages.lib import frechet, quality
from stages.lib.networks import Networks, features
from stages.settings import NetworksSettings, ProtocolRun
from tests.stages.test_networks import stand_in

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


NETWORK_METRICS = ("clip", "lpips_vgg", "fvd_clip", "fvd_set", "fid_frame", "fid_vid3d")


def run(files, report, folder) -> tuple[list[dict], str]:
    out, page = folder / "protocol.csv", folder / "protocol.md"
    tex = folder / "protocol.tex"
    protocol.main(**files, out=out, markdown=page, tex=tex, settings=SETTINGS, report=report)
    assert tex.read_text().count(r" \\") == page.read_text().count("\n| ") - 1
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
    empty = [r for r in rows if r["metric"] in NETWORK_METRICS]
    if any(r["value"] for r in empty):
        pytest.skip("weights are here")
    assert len(empty) == 27 and all(r["reason"] and not r["base_value"] for r in empty)
    assert "- without a number: " in page


@pytest.fixture
def stand_ins(monkeypatch):
    """Every network a small stand-in, on small pictures; returns how one is had."""
    for name in ("CLIP_SIDE", "I3D_SIDE"):
        monkeypatch.setattr(features, name, 24)
    monkeypatch.setattr(features.inception, "SIDE", 24)
    monkeypatch.setattr(Networks.__init__, "__defaults__", (stand_in,))
    return lambda name: stand_in(name, torch.device("cpu"))


def test_the_networks_half_by_stand_ins_is_the_plain_one(made, stand_ins, report, tmp_path):
    rows, page = run(made, report, tmp_path)
    found = {(r["choice"], r["alternative"], r["metric"]): r for r in rows}
    assert all(r["value"] for r in rows)
    sides = [[protocol.on_white(x) for x in (s.prediction, s.truth)] for s in protocol.read(**made)]
    clips = [np.concatenate([pair[side] for pair in sides]) for side in (0, 1)]

    def clip(side):
        names = [features.clip_features(stand_ins("clip_vit_b32"), c.reshape(-1, 32, 32, 3), 16, side) for c in clips]
        return float((names[0] * names[1]).sum(axis=1).mean())

    def lpips(side):
        flat = [c.reshape(-1, 32, 32, 3) for c in clips]
        return float(features.lpips_distances(stand_ins("lpips_vgg"), *flat, 2, side).mean())

    logits = [np.stack([features.i3d_logits(stand_ins("i3d_kinetics"), c) for c in side]) for side in clips]
    deep = [
        np.stack([features.resnet3d_features(stand_ins("resnet3d_kinetics"), c, 2) for c in side]) for side in clips
    ]
    frames = [
        features.inception_features(stand_ins("inception_fid"), c.reshape(-1, 32, 32, 3), 16).reshape(2, 4, 4, -1)
        for c in clips
    ]
    one_clip = float(np.mean([frechet.fvd_clip(p, t) for p, t in zip(*logits, strict=True)]))
    expected = {
        ("size", "256", "clip"): (clip(48), clip(256)),
        ("size", "as rendered", "clip"): (clip(48), clip(None)),
        ("size", "256", "lpips_vgg"): (lpips(48), lpips(256)),
        ("size", "as rendered", "lpips_vgg"): (lpips(48), lpips(None)),
        ("FVD", "set against set", "fvd_clip"): (one_clip, frechet.fvd_set(*logits)),
        ("grouping", "object", "fid_frame"): tuple(
            frechet.fid_frame(*frames, grouping) for grouping in ("view", "object")
        ),
    }
    for key, (base, value) in expected.items():
        assert float(found[key]["base_value"]) == pytest.approx(base, rel=1e-4, abs=1e-7), key
        assert float(found[key]["value"]) == pytest.approx(value, rel=1e-4, abs=1e-7), key
    assert lpips(48) != lpips(256) != lpips(None)
    turned = found["view order", "by number, one on", "fvd_set"]
    assert float(turned["base_value"]) == pytest.approx(frechet.fvd_set(*logits), rel=1e-4)
    assert float(found["background", "hard alpha", "fid_vid3d"]["base_value"]) == pytest.approx(
        frechet.fid_vid3d(*deep), rel=1e-4, abs=1e-7
    )
    for key in (("FVD", "set against set", "fvd_clip"), ("frames", "last two left out", "fid_vid3d")):
        assert found[key]["reason"].startswith("one set of 8 clips a side")
    assert "one set of 8 clips a side" in page and "- network fid" not in page
    assert "- network resnet3d_kinetics: sha of resnet3d_kinetics" in page


def test_one_clip_is_no_set(made, stand_ins, report, tmp_path):
    views, truth = Views.load(made["views"][0]), Truth.load(made["truth"][0])
    Views(views.rgba[:2], views.kind[:2], views.azimuth_deg[:2], views.elevation_deg[:2]).save(tmp_path / "v.npz")
    Truth(truth.rgba[:1], truth.azimuth_deg[:1], truth.elevation_deg[:1]).save(tmp_path / "t.npz")
    files = {"views": [tmp_path / "v.npz"], "frames": made["frames"][:1], "truth": [tmp_path / "t.npz"]}
    rows, _ = run(files, report, tmp_path)
    sets = [r for r in rows if r["metric"] in ("fvd_set", "fid_vid3d") or r["alternative"] == "set against set"]
    assert {(r["value"], r["reason"]) for r in sets} == {("", "one clip; a distance between sets needs at least 2")}
    assert next(r for r in rows if r["metric"] == "fvd_clip")["value"]


def test_scenes_without_ground_truth_are_refused(made, report, tmp_path):
    views, truth = Views.load(made["views"][0]), Truth.load(made["truth"][0])
    only = tmp_path / "only.npz"
    none = tmp_path / "none.npz"
    Views(views.rgba[:1], views.kind[:1], views.azimuth_deg[:1], views.elevation_deg[:1]).save(only)
    Truth(truth.rgba[:0], truth.azimuth_deg[:0], truth.elevation_deg[:0]).save(none)
    with pytest.raises(StageError, match="no scene has ground-truth views"):
        run({"views": [only], "frames": made["frames"][:1], "truth": [none]}, report, tmp_path)
