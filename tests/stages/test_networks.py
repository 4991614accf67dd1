"""The networks stage with small stand-ins: pairing, empty cells with reasons, and what the record says."""

from __future__ import annotations

import csv
import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages import networks
from stages.cli import StageError
from stages.contracts import Features, Sequence, Views
from stages.experiment import NETWORKS
from stages.lib import frechet
from stages.lib.drawing import draw_rgba, white
from stages.lib.networks import ARCHITECTURES, Absent, Loaded, Networks, features, load
from stages.settings import NetworksRun, NetworksSettings

CPU = torch.device("cpu")
NAMED = {"suite": "toys", "scene": "ball", "variant": "stag4d", "title": "stag4d", "method": "stag4d"}


class Grid(torch.nn.Module):
    """Colours of a coarse grid as features, whatever the network would have been."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2).mean(-1) if x.ndim == 4 else x.mean(dim=(3, 4)).flatten(1)
        spread = torch.sin(torch.arange(1, self.size + 1) * flat.sum(dim=1, keepdim=True))
        return spread.to(torch.float32)

    def encode_image(self, x: torch.Tensor, normalize: bool) -> torch.Tensor:
        found = torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return torch.nn.functional.normalize(found, dim=-1)


class Distance(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))[:, None, None, None]


def stand_in(name: str, device: torch.device) -> Loaded:
    module = Distance() if name.startswith("lpips") else Grid(40)
    return Loaded(name, module, f"sha of {name}", device)


def nothing(name: str, device: torch.device) -> Loaded:
    raise Absent(f"weights {name} are not here")


@pytest.fixture
def files(scene):
    """Frames, ground truth, views that differ from it a little, and a sequence of a few gaussians."""
    frames, _, truth = scene
    count = len(frames.times)
    darker = truth.rgba.copy()
    darker[..., :3] = darker[..., :3] * 0.8
    views = Views(
        np.concatenate([frames.rgba[None], darker]),
        np.array(["input"] + ["truth"] * 4),
        np.concatenate([np.zeros((1, count)), truth.azimuth_deg]),
        np.concatenate([np.zeros((1, count)), truth.elevation_deg]),
    )
    n = 3
    sequence = Sequence(
        np.zeros((count, n, 3), np.float32),
        np.ones((count, n, 4), np.float32),
        np.full((count, n, 3), -2, np.float32),
        np.zeros((count, n), np.float32),
        np.zeros((n, 1, 3), np.float32),
        np.ones((count, n), bool),
        frames.times,
    )
    return views, frames, truth, sequence


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pictures of the protocol's size take most of the time and no stand-in looks at them closely."""
    monkeypatch.setattr(networks, "ORBIT_VIEWS", 3)
    for name in ("PROTOCOL_SIDE", "CLIP_SIDE", "I3D_SIDE"):
        monkeypatch.setattr(features, name, 24)


def scored(files, report, load=stand_in, **settings):
    loaded = Networks(CPU, load)
    return networks.score(*files, loaded, NetworksSettings(batch=3, **settings), report), loaded


def test_the_names_of_networks_are_one_list():
    assert set(NETWORKS) == set(ARCHITECTURES)


def test_rows_by_view_and_frame(files, report):
    (rows, found), loaded = scored(files, report)
    counted = {metric: [r for r in rows if r.metric == metric] for metric in {r.metric for r in rows}}
    assert {metric: len(r) for metric, r in counted.items()} == {
        "clip": 16, "lpips_vgg": 16, "fvd_clip": 4, "fid_frame": 4, "clip_f": 4, "clip_o": 12,
    }  # fmt: skip
    assert {r.view for r in counted["clip"]} == {"evaluation"} and not [r for r in rows if r.value is None]
    assert [(r.azimuth_deg, r.frame) for r in counted["lpips_vgg"][:5]] == [
        (-75.0, 0), (-75.0, 1), (-75.0, 2), (-75.0, 3), (15.0, 0),
    ]  # fmt: skip
    assert set(loaded.digests) == {"clip_vit_b32", "lpips_vgg", "i3d_kinetics", "inception_fid", "resnet3d_kinetics"}
    assert found["i3d"].shape == (2, 4, 40) and found["inception"].shape == (2, 4, 4, 40)
    assert found["resnet3d"].shape == (2, 4, 40)
    assert counted["fvd_clip"][1].value == frechet.fvd_clip(found["i3d"][0, 1], found["i3d"][1, 1])


def test_a_perfect_result(files, report):
    views, frames, truth, sequence = files
    views = replace(views, rgba=np.concatenate([frames.rgba[None], truth.rgba]))
    (rows, _), _ = scored((views, frames, truth, sequence), report)
    values = {metric: [r.value for r in rows if r.metric == metric] for metric in ("clip", "lpips_vgg", "fvd_clip")}
    assert np.allclose(values["clip"], 1) and set(values["lpips_vgg"]) == {0.0} and set(values["fvd_clip"]) == {0.0}


def feature(picture: np.ndarray) -> np.ndarray:
    """What the stand-in for CLIP says of a picture, by plain NumPy: mean colours of 4 x 4 cells, of unit length."""
    found = features.clip_input(picture, 24).reshape(4, 6, 4, 6, 3).mean(axis=(1, 3)).astype(np.float64)
    flat = np.moveaxis(found, -1, 0).ravel()
    return flat / np.linalg.norm(flat)


def test_clip_f_and_clip_o_hold_the_input_against_our_views_of_the_same_time(files, report):
    views, frames, truth, sequence = files
    views = replace(views, rgba=np.concatenate([np.roll(views.rgba[:1], 5, axis=3), views.rgba[1:]]))
    moving = sequence.means.copy()
    moving[:, 1, 0] = np.linspace(-0.5, 0.5, len(moving))
    sequence = replace(sequence, means=moving)
    (rows, _), _ = scored((views, frames, truth, sequence), report)
    query = [feature(white(picture)) for picture in frames.rgba]
    front = {r.frame: r.value for r in rows if r.metric == "clip_f"}
    for time, picture in enumerate(views.rgba[0]):
        assert front[time] == pytest.approx(query[time] @ feature(white(picture)), abs=1e-5)
    orbit = {(r.frame, r.azimuth_deg): r.value for r in rows if r.metric == "clip_o"}
    assert {azimuth for _, azimuth in orbit} == {0.0, 120.0, 240.0} and len(set(orbit.values())) > 6
    for (time, azimuth), value in orbit.items():
        drawn = draw_rgba(sequence.frame(time), frames.cameras(azimuth, float(frames.elevation_deg)))[0]
        assert value == pytest.approx(query[time] @ feature(white(drawn)), abs=1e-5)


def test_views_are_paired_by_camera(files, report):
    views, frames, truth, sequence = files
    order = [0, 3, 1, 4, 2]
    other = Views(views.rgba[order], views.kind, views.azimuth_deg[order], views.elevation_deg[order])
    (rows, _), _ = scored(files, report)
    assert scored((other, frames, truth, sequence), report)[0][0] == rows


def test_the_batch_does_not_matter(files, report):
    (rows, _), _ = scored(files, report)
    loaded = Networks(CPU, stand_in)
    again, _ = networks.score(*files, loaded, NetworksSettings(batch=16), report)
    for a, b in zip(rows, again, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-6)


def test_groupings_of_fid(files, report):
    (rows, _), _ = scored(files, report, fid_grouping="object")
    (row,) = [r for r in rows if r.metric == "fid_frame"]
    assert row.value is not None and row.azimuth_deg is None
    (rows, _), _ = scored(files, report, fid_grouping="all")
    (row,) = [r for r in rows if r.metric == "fid_frame"]
    assert row.value is None and "over all objects" in row.reason


def test_absent_networks_leave_every_cell_empty_with_the_reason(files, report):
    (rows, found), loaded = scored(files, report, nothing, lpips=["vgg", "alex"])
    assert {r.value for r in rows} == {None} and all(r.reason.startswith("weights ") for r in rows)
    assert {r.metric for r in rows} == {"clip", "lpips_vgg", "lpips_alex", "fvd_clip", "fid_frame", "clip_f", "clip_o"}
    assert loaded.digests == {} and all(array.shape[-1] == 0 for array in found.values())


def test_a_network_that_gives_nan_is_an_error(files, report):
    def broken(name: str, device: torch.device) -> Loaded:
        module = Distance()
        module.forward = lambda a, b: torch.full((len(a), 1), torch.nan)
        return Loaded(name, module, "", device) if name == "lpips_vgg" else stand_in(name, device)

    with pytest.raises(StageError, match="lpips_vgg gave NaN"):
        scored(files, report, broken)


def test_no_ground_truth_and_no_gaussians(files, report):
    views, frames, truth, _ = files
    count = len(frames.times)
    none = replace(truth, rgba=truth.rgba[:0], azimuth_deg=np.zeros((0, count)), elevation_deg=np.zeros((0, count)))
    only = Views(views.rgba[:1], views.kind[:1], views.azimuth_deg[:1], views.elevation_deg[:1])
    (rows, _), _ = scored((only, frames, none, None), report)
    assert {r.reason for r in rows if r.metric == "clip"} == {"no ground-truth views"}
    assert {r.metric: r.value for r in rows if r.metric == "clip_o"} == {"clip_o": None}


def run(files, report, folder, monkeypatch, load, **settings):
    views, frames, truth, sequence = files
    for name, file in {"views": views, "frames": frames, "truth": truth}.items():
        file.save(folder / f"{name}.npz")
    sequence.save(folder / "sequence.safetensors")
    monkeypatch.setattr(Networks.__init__, "__defaults__", (load,))
    paths = {name: folder / f"{name}.npz" for name in ("views", "frames", "truth", "features")}
    chosen = NetworksRun(**NAMED, device="cpu", networks=NetworksSettings(batch=4, **settings))
    networks.main(
        **paths, out=folder / "networks.csv", settings=chosen, report=report, sequence=[folder / "sequence.safetensors"]
    )
    first, *lines = (folder / "networks.csv").read_text().splitlines()
    return json.loads(first[2:]), list(csv.DictReader(lines))


def test_the_record_holds_every_sha256(files, report, tmp_path, monkeypatch):
    about, rows = run(files, report, tmp_path, monkeypatch, stand_in)
    assert about["networks"]["i3d_kinetics"] == "sha of i3d_kinetics" and len(about["networks"]) == 5
    assert Features.load(tmp_path / "features.npz").record["networks"] == about["networks"]
    assert next(row["value"] for row in rows if row["metric"] == "clip")


def test_without_weights_the_stage_writes_reasons_and_no_number(files, report, tmp_path, monkeypatch):
    """The real loader on a machine without weights: nothing random, nothing estimated."""
    real = functools.partial(load, folder=tmp_path / "nothing")
    about, rows = run(files, report, tmp_path, monkeypatch, real)
    assert about["networks"] == {} and not [row for row in rows if row["value"]]
    assert all(row["reason"] for row in rows)


def table_of(files, report, folder, monkeypatch, load, **settings) -> tuple[dict, str]:
    """The first row of table 1 and its page, of one fit that networks have scored."""
    from tests.stages.test_tables import Bench, frames_of

    bench = Bench(folder)
    run(files, report, folder, monkeypatch, load, **settings)
    bench.add(scene="ball", values=frames_of("psnr", 20.0), device="cpu")
    bench.networks.append(folder / "networks.csv")
    (row, *_), text = bench.table()
    return row, text


def test_the_page_shows_what_the_csv_has_no_column_for(files, report, tmp_path, monkeypatch):
    row, text = table_of(files, report, tmp_path, monkeypatch, stand_in, lpips=["vgg", "alex"])
    block = text.split("## Further scores by networks: toys", 1)[1].split("\n## ", 1)[0]
    assert "| method | anchors | clip_f ↑ | clip_o ↑ | lpips_alex ↓ |" in block
    assert "- without a value: lpips_squeeze: not in networks.lpips" in block
    with open(tmp_path / "networks.csv", newline="") as file:
        file.readline()
        found = [float(r["value"]) for r in csv.DictReader(file) if r["metric"] == "clip_o"]
    assert f" {np.mean(found):.3f} | {float(row['lpips_vgg']):.3f} |" in block


@pytest.mark.parametrize(
    ("grouping", "said"),
    [
        ("view", "one FID per view, resize tf1, each of 4 frames in 2048 dimensions, which biases it upward"),
        ("object", "one FID per object, resize tf1, each of 4 frames a view in 2048 dimensions"),
        ("all", "one FID per all, resize tf1; fvd_clip"),
    ],
)
def test_the_page_says_n_and_bias_of_fid_frame(files, report, tmp_path, monkeypatch, grouping, said):
    assert said in table_of(files, report, tmp_path, monkeypatch, stand_in, fid_grouping=grouping)[1]


def test_a_backbone_that_nobody_asked_for_says_so(files, report, tmp_path, monkeypatch):
    row, text = table_of(files, report, tmp_path, monkeypatch, nothing, lpips=["alex"])
    assert row["lpips_vgg_reason"] == "not in networks.lpips"
    assert row["clip_reason"] == "weights clip_vit_b32 are not here"
    assert "lpips_alex: weights lpips_alex are not here" in text


def test_tables_take_set_distances_over_all_scenes(files, report, tmp_path, monkeypatch):
    from tests.stages.test_tables import Bench, frames_of

    bench = Bench(tmp_path)
    for index, scene in enumerate(("ball", "cube")):
        folder = tmp_path / scene
        folder.mkdir()
        monkeypatch.setitem(NAMED, "scene", scene)
        views = replace(files[0], rgba=np.roll(files[0].rgba, 3 * index, axis=3))
        run((views, *files[1:]), report, folder, monkeypatch, stand_in)
        bench.add(scene=scene, values=frames_of("psnr", 20.0), device="cpu")
        bench.networks.append(folder / "networks.csv")
    (row, *_), text = bench.table()
    both = [Features.load(tmp_path / scene / "features.npz") for scene in ("ball", "cube")]
    expected = frechet.fvd_set(*(np.concatenate([f.i3d[side] for f in both]) for side in (0, 1)))
    assert float(row["fvd_set"]) == pytest.approx(expected, rel=1e-5)
    assert row["fvd_set_reason"].startswith("one set of 8 clips in 40 dimensions") and row["fvd_set_se"] == ""
    assert float(row["clip"]) > 0 and row["clip_se"] and float(row["fid_vid3d"]) > 0
    assert "sha of i3d_kinetics" in text
