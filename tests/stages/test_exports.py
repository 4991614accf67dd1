"""spz, mesh, turntable and usd: files that other tools read, whole or not there at all."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import assets, mesh, spz, turntable, usd
from stages.cli import StageError
from stages.contracts import ContractError, Gaussians, Sequence, save_tensors
from stages.lib import drawing, glb, ply, video
from stages.lib import spz as spz_file
from stages.lib.axes import half_turn
from stages.settings import AssetsRun, ExportsRun, ExportsSettings, RendersSettings, Run
from tests import readers
from tests.reference import spz_reader
from tests.slow_motion import insert

SETTINGS = ExportsSettings(moment=0.4, turntable_frames=5, webp_frames=6, webp_size=32, mesh_resolution=24)
RUN = ExportsRun(renders=RendersSettings(size=48, fps=10), exports=SETTINGS)
NO_SPLAT_TRANSFORM, NO_THREE = readers.missing("@playcanvas/splat-transform"), readers.missing("three")
SPLAT_TRANSFORM = readers.FOLDER / "node_modules" / ".bin" / "splat-transform"
needs_splat_transform = pytest.mark.skipif(NO_SPLAT_TRANSFORM is not None, reason=str(NO_SPLAT_TRANSFORM))
needs_three = pytest.mark.skipif(NO_THREE is not None, reason=str(NO_THREE))
# Loads a GLB and says, for every time asked: the middle of what is shown, and how many meshes that is.
READ_WITH_THREE = """
import { readFileSync } from "node:fs";
import { AnimationMixer, Box3, Vector3 } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
const [file, ...times] = process.argv.slice(2);
const bytes = readFileSync(file);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
const { scene, animations } = await new GLTFLoader().parseAsync(buffer, "");
const mixer = new AnimationMixer(scene);
for (const clip of animations) mixer.clipAction(clip).play();
const meshes = [];
scene.traverse((one) => one.isMesh && meshes.push(one));
const moments = times.map(Number).map((time) => {
  mixer.setTime(time);
  scene.updateMatrixWorld(true);
  const shown = meshes.filter((mesh) => mesh.scale.x > 0.5), box = new Box3(), point = new Vector3();
  for (const mesh of shown) {
    for (let index = 0; index < mesh.geometry.attributes.position.count; index += 1) {
      box.expandByPoint(mesh.getVertexPosition(index, point).applyMatrix4(mesh.matrixWorld));
    }
  }
  return { middle: box.getCenter(new Vector3()).toArray(), shown: shown.length };
});
const { material, geometry } = meshes[0];
const faces = geometry.index.count / 3, colour = [0, 1, 2].map((c) => geometry.attributes.color.array[c]);
console.log(JSON.stringify({ moments, faces, colour, duration: animations.map((clip) => clip.duration),
  material: material.type, coloured: material.vertexColors, meshes: meshes.length }));
"""


def read_with_three(file: Path, *times: float) -> dict:
    """What three.js makes of a GLB, and of its animation at some seconds."""
    script = file.parent / "read.mjs"
    script.write_text(READ_WITH_THREE, encoding="utf-8")
    # node looks for modules beside the script.
    (file.parent / "node_modules").symlink_to(readers.FOLDER.resolve() / "node_modules")
    command = ["node", str(script), str(file), *map(str, times)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "three.js warned"
    return json.loads(done.stdout)


def ball(centres: np.ndarray, times: np.ndarray) -> Sequence:
    """A red shell of 600 gaussians around a centre (T, 3) that moves; the last gaussian is absent from frame 1."""
    index = np.arange(600) + 0.5
    polar, turn = np.arccos(1 - index / 300), np.pi * (1 + 5**0.5) * index
    outward = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)
    shape = (len(times), 600)
    present = np.ones(shape, bool)
    present[1:2, -1] = False
    return Sequence(
        (0.3 * outward + centres[:, None]).astype(np.float32),
        np.broadcast_to(np.array([0.8, 0.6, 0, 0], np.float32), (*shape, 4)).copy(),
        np.full((*shape, 3), np.log(0.025), np.float32),
        np.full(shape, 5.0, np.float32),
        np.tile(np.array([1.5, -1.5, -1.5], np.float32), (600, 1, 1)),
        present,
        times,
        {"device": "cpu"},
    )


@pytest.fixture
def sequence(scene) -> Sequence:
    times = scene[0].times
    return ball(np.stack([np.linspace(-0.15, 0.15, len(times)), 0 * times, 0 * times], axis=1), times)


@pytest.fixture
def files(tmp_path, scene, sequence) -> Path:
    scene[0].save(tmp_path / "frames.npz")
    sequence.save(tmp_path / "sequence.safetensors")
    return tmp_path


def run_mesh(folder: Path, report) -> dict:
    """Run the stage; the JSON of animated.glb."""
    paths = [folder / name for name in ("sequence.safetensors", "frames.npz", "mesh", "animated.glb")]
    mesh.main(*paths, RUN, report)
    data = (folder / "animated.glb").read_bytes()
    assert struct.unpack_from("<4sII", data) == (b"glTF", 2, len(data))
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


def test_spz_holds_the_gaussians_of_each_frame(files, sequence, report):
    spz.main(files / "sequence.safetensors", files / "spz", Run(), report)
    assert [len(spz_reader.read(files / f"spz/frame000{index}.spz")) for index in range(4)] == [600, 599, 600, 600]
    first = spz_reader.read(files / "spz/frame0003.spz")[0]
    assert first["mean"] == pytest.approx(sequence.means[3, 0].tolist(), abs=1e-3)


def test_a_deforming_ball_is_one_mesh_with_a_target_a_frame(files, report):
    document = run_mesh(files, report)
    assert len(document["meshes"]) == 1
    assert len(document["meshes"][0]["primitives"][0]["targets"]) == 4
    times = document["accessors"][document["animations"][0]["samplers"][0]["input"]]
    assert (times["min"], times["max"]) == ([0.0], pytest.approx([0.3]))
    assert "one mesh that deforms" in report.text
    # The ball moves 0.1 a frame along x; the key frame is 2.
    shifts = [document["accessors"][target["POSITION"]] for target in document["meshes"][0]["primitives"][0]["targets"]]
    assert [shift["min"][0] for shift in shifts] == pytest.approx([-0.2, -0.1, 0, 0.1], abs=0.01)
    middles = [glb.read_still(files / f"mesh/frame000{index}.glb").vertices.mean(axis=0) for index in range(4)]
    assert np.abs(np.array(middles)[:, 0] - [-0.15, -0.05, 0.05, 0.15]).max() < 0.02


def test_where_the_topology_changes_the_meshes_follow_each_other(files, sequence, report):
    half = sequence.present.copy()
    half[3, :300] = False
    replace(sequence, present=half).save(files / "sequence.safetensors")
    document = run_mesh(files, report)
    assert len(document["meshes"]) == len(document["nodes"]) == 4
    assert {sampler["interpolation"] for sampler in document["animations"][0]["samplers"]} == {"STEP"}
    assert "the topology changes" in report.text


def test_animated_glb_loads_in_trimesh(files, report):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed; type `pip install trimesh`")
    run_mesh(files, report)
    (read,) = trimesh.load_scene(files / "animated.glb").geometry.values()
    assert len(read.faces) == len(glb.read_still(files / "mesh/frame0002.glb").faces)
    assert read.bounds[:, 0].mean() == pytest.approx(0.05, abs=0.02)


@needs_three
def test_animated_glb_moves_in_three(files, report):
    run_mesh(files, report)
    read = read_with_three(files / "animated.glb", 0.0, 0.1, 0.15, 0.3)
    # The ball moves 0.1 a frame along x from -0.15, ten frames a second; between frames the mesh is between them.
    assert [moment["middle"][0] for moment in read["moments"]] == pytest.approx([-0.15, -0.05, 0, 0.15], abs=0.02)
    assert read["duration"] == pytest.approx([0.3])
    assert (read["material"], read["coloured"], read["meshes"]) == ("MeshBasicMaterial", True, 1)
    assert read["faces"] == len(glb.read_still(files / "mesh/frame0002.glb").faces)
    # The ball is red: linear light, 16 bits a channel.
    assert read["colour"][0] > 40_000 > 5_000 > read["colour"][2]


@needs_three
def test_meshes_that_follow_each_other_do_so_in_three(files, sequence, report):
    half = sequence.present.copy()
    half[3, :300] = False
    replace(sequence, present=half).save(files / "sequence.safetensors")
    run_mesh(files, report)
    read = read_with_three(files / "animated.glb", 0.0, 0.15, 0.25)
    assert read["meshes"] == 4
    assert [moment["shown"] for moment in read["moments"]] == [1, 1, 1]
    # In steps: halfway between frames 1 and 2 it is still frame 1.
    assert [moment["middle"][0] for moment in read["moments"]] == pytest.approx([-0.15, -0.05, 0.05], abs=0.02)


@needs_three
def test_a_frames_glb_loads_in_three(files, report):
    run_mesh(files, report)
    (files / "three").mkdir()
    shutil.copy(files / "mesh/frame0003.glb", files / "three")
    read = read_with_three(files / "three/frame0003.glb", 0.0)
    assert read["moments"][0]["middle"] == pytest.approx([0.15, 0, 0], abs=0.02)
    assert read["duration"] == []


def test_turntable_freezes_a_moment_and_the_webp_plays(files, report):
    inputs = files / "sequence.safetensors", files / "frames.npz"
    turntable.main(*inputs, files / "t.mp4", files / "o.webp", RUN, report)
    assert video.read(files / "t.mp4").shape == (5, 48, 48, 3)
    assert "frame 1 at time 0.333" in report.text
    moving = Image.open(files / "o.webp")
    assert (moving.n_frames, moving.size) == (6, (32, 32))


def test_slow_motion_freezes_the_same_moment_and_plays_from_end_to_end(files, sequence, report, monkeypatch):
    insert(sequence, 3).save(files / "sequence.safetensors")
    shown = []

    def kept(sequence, frames, order, count, size):
        order = list(order)
        shown.append(order)
        return drawing.turn(sequence, frames, iter(order), count, size)

    monkeypatch.setattr(turntable, "turn", kept)
    inputs = files / "sequence.safetensors", files / "frames.npz"
    run = ExportsRun(renders=RUN.renders, exports=SETTINGS.model_copy(update={"moment": None}))
    turntable.main(*inputs, files / "t.mp4", files / "o.webp", run, report)
    # 13 frames for 4; the key frame, number 2 of the fitted ones, is at time 2/3.
    assert "frame 8 at time 0.667" in report.text
    assert shown == [[8] * 5, [0, 2, 4, 6, 8, 10]]


def test_usd_has_a_sample_a_frame_and_interpolates(files, sequence, report):
    pytest.importorskip("pxr", reason="usd-core is not installed; type `pip install usd-core`")
    from pxr import Usd, UsdVol

    usd.main(files / "sequence.safetensors", files / "s.usdc", RUN, report)
    stage = Usd.Stage.Open(str(files / "s.usdc"))
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (0, 3, 10)
    splats = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    assert splats.GetPositionsAttr().GetTimeSamples() == [0, 1, 2, 3]
    assert np.array_equal(splats.GetPositionsAttr().Get(2.0), sequence.means[2])
    between = np.array(splats.GetPositionsAttr().Get(2.5))
    assert np.abs(between - (sequence.means[2] + sequence.means[3]) / 2).max() < 1e-6
    assert splats.GetOpacitiesAttr().Get(1.0)[599] == 0
    assert splats.GetOpacitiesAttr().Get(2.0)[599] == pytest.approx(1 / (1 + np.exp(-5)))
    turned = splats.GetOrientationsAttr().Get(0.0)[0]
    assert (turned.GetReal(), turned.GetImaginary()[0]) == pytest.approx((0.8, 0.6))
    assert np.array(splats.GetScalesAttr().Get(0.0)).max() == pytest.approx(0.025)
    assert splats.GetRadianceSphericalHarmonicsDegreeAttr().Get() == 0


def test_usd_without_its_package_says_what_to_type(files, report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(StageError, match=r"pip install -c requirements/constraints\.txt usd-core"):
        usd.main(files / "sequence.safetensors", files / "s.usdc", RUN, report)
    assert not (files / "s.usdc").exists()


def test_one_frame_and_a_frame_without_gaussians(files, scene, sequence, report):
    for present in (sequence.present, np.zeros_like(sequence.present)):
        frames = replace(scene[0], rgba=scene[0].rgba[:1], times=scene[0].times[:1], key=0)
        frames.save(files / "frames.npz")
        replace(sequence, present=present).at(frames.times).save(files / "sequence.safetensors")
        spz.main(files / "sequence.safetensors", files / "spz", Run(), report)
        assert len(spz_reader.read(files / "spz/frame0000.spz")) == present[0].sum()
        document = run_mesh(files, report)
        assert len(document.get("meshes", [])) == int(present[0].any())
        inputs = files / "sequence.safetensors", files / "frames.npz"
        turntable.main(*inputs, files / "t.mp4", files / "o.webp", RUN, report)
        assert (video.read(files / "t.mp4")[0] < 200).any() == present[0].any()
        run = AssetsRun(renders={"size": 48, "orbit_frames": 2, "sheet_times": 3})
        outputs = [files / name for name in ("orbit.mp4", "input.mp4", "sheet.png", "ply")]
        assets.main(*inputs, *outputs, settings=run, report=report)
        assert len(Gaussians.load(files / "ply/frame0000.ply").means) == present[0].sum()
        assert [len(video.read(path)) for path in outputs[:2]] == [2, 1]
        assert (video.read(files / "orbit.mp4") < 200).any() == present[0].any()
        # One time and seven rows: the source stays, our six views are white.
        drawn = np.asarray(Image.open(files / "sheet.png"))
        assert drawn.shape == (7 * 32, 32, 3)
        assert (drawn[32:] < 200).any() == present[0].any()
    assert len(list((files / "mesh").iterdir())) == len(list((files / "ply").iterdir())) == 1


def test_usd_of_one_frame_and_of_a_frame_without_gaussians(files, sequence, report):
    pytest.importorskip("pxr", reason="usd-core is not installed; type `pip install usd-core`")
    from pxr import Usd, UsdVol

    for name, present in (("all", sequence.present), ("none", np.zeros_like(sequence.present))):
        replace(sequence, present=present).at(sequence.times[:1]).save(files / "sequence.safetensors")
        # A name of its own: pxr keeps what it has read of one.
        usd.main(files / "sequence.safetensors", files / f"{name}.usdc", RUN, report)
        stage = Usd.Stage.Open(str(files / f"{name}.usdc"))
        assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 0)
        splats = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
        assert splats.GetPositionsAttr().GetTimeSamples() == [0]
        shown = np.array(splats.GetOpacitiesAttr().Get(0.0))
        assert len(shown) == 600
        assert (shown > 0).sum() == present[0].sum()
        extent = np.array(splats.GetExtentAttr().Get(0.0))
        assert extent.any() == present[0].any()


def test_nan_is_named_and_nothing_is_written(files, sequence, report):
    arrays = {name: getattr(sequence, name).copy() for name in vars(sequence) if name != "record"}
    arrays["log_scales"][0, 0, 0] = np.nan
    save_tensors(files / "sequence.safetensors", arrays, {})
    before = sorted(files.iterdir())
    for call in (
        lambda: spz.main(files / "sequence.safetensors", files / "spz", Run(), report),
        lambda: run_mesh(files, report),
        lambda: usd.main(files / "sequence.safetensors", files / "s.usdc", RUN, report),
    ):
        with pytest.raises(ContractError, match=r"log_scales holds 1 NaN"):
            call()
    assert sorted(files.iterdir()) == before


def test_an_interrupted_export_leaves_the_old_one(files, report, monkeypatch):
    spz.main(files / "sequence.safetensors", files / "spz", Run(), report)
    before = {path.name: path.read_bytes() for path in (files / "spz").iterdir()}
    written = spz_file.write

    def fail_at_the_third(path, **arrays):
        if path.name == "frame0002.spz":
            raise OSError("disk full")
        written(path, **arrays)

    monkeypatch.setattr(spz_file, "write", fail_at_the_third)
    with pytest.raises(OSError, match="disk full"):
        spz.main(files / "sequence.safetensors", files / "spz", Run(), report)
    assert {path.name: path.read_bytes() for path in (files / "spz").iterdir()} == before
    assert sorted(path.name for path in files.iterdir()) == ["frames.npz", "sequence.safetensors", "spz"]


@needs_splat_transform
@pytest.mark.parametrize("kind", ["ply", "spz"])
def test_splat_transform_reads_back_what_was_written(tmp_path, sequence, kind):
    given = sequence.frame(2)
    if kind == "ply":
        given.save(tmp_path / "a.ply", {"up": "+y"})
    else:
        spz_file.write(tmp_path / "a.spz", **vars(given))
    command = [str(SPLAT_TRANSFORM), str(tmp_path / f"a.{kind}"), str(tmp_path / "b.ply")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warn" not in (done.stdout + done.stderr).lower()
    read = Gaussians(**ply.read(tmp_path / "b.ply"))
    read.check()
    # SPZ is right, up, back; splat-transform turns it into PLY's customary right, down, front.
    turned = np.array([1, 1, 1] if kind == "ply" else [1, -1, -1])
    assert np.abs(read.means * turned - given.means).max() < 1e-3
    assert np.abs(read.log_scales - given.log_scales).max() <= 0.5 / 16 + 1e-5
    assert np.abs(read.sh - given.sh).max() < 0.02


@needs_splat_transform
def test_our_ply_stands_as_splat_transform_makes_one_of_our_spz(tmp_path, sequence):
    """SPZ says that it is y up, so its reader knows how the PLY that everybody expects must stand."""
    given = replace(sequence.frame(2), sh=np.random.default_rng(0).uniform(-0.9, 0.9, (600, 9, 3)).astype(np.float32))
    spz_file.write(tmp_path / "a.spz", **vars(given))
    command = [str(SPLAT_TRANSFORM), str(tmp_path / "a.spz"), str(tmp_path / "b.ply")]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    read, ours = Gaussians(**ply.read(tmp_path / "b.ply")), half_turn(given)
    assert np.abs(read.means - ours.means).max() < 1e-3
    same = np.abs((read.quats * ours.quats).sum(axis=1))
    assert same.min() > 0.999
    # SPZ keeps degrees above 0 in steps of 1/16 and 1/8.
    assert np.abs(read.sh - ours.sh)[:, 1:].max() < 0.07
