"""Save then load is identity; what breaks a contract is named; a failed write leaves nothing."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from stages.contracts import (
    MOVING,
    Anchors,
    ContractError,
    Frames,
    Gaussians,
    OnDisk,
    Sequence,
    Truth,
    Views,
    check_axes,
    replacing,
    replacing_folder,
)
from tests.slow_motion import moments


def gaussians(count=5, bases=4) -> Gaussians:
    rng = np.random.default_rng(0)
    shapes = {"means": (count, 3), "quats": (count, 4), "log_scales": (count, 3), "opacity_logits": (count,)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return Gaussians(**arrays, sh=rng.standard_normal((count, bases, 3)).astype(np.float32))


def sequence(frames=3, count=5) -> Sequence:
    one = gaussians(count)
    stacked = {
        name: np.stack([getattr(one, name)] * frames) for name in ("means", "quats", "log_scales", "opacity_logits")
    }
    present = np.ones((frames, count), bool)
    present[1, 2] = False
    return Sequence(**stacked, sh=one.sh, present=present, times=np.linspace(0, 1, frames), record={"seed": 1})


def same(first, second) -> bool:
    return all(np.array_equal(getattr(first, f.name), getattr(second, f.name)) for f in fields(first))


def test_npz_round_trip(tmp_path, scene):
    views = Views(scene[2].rgba, np.array(["truth"] * 4), scene[2].azimuth_deg, scene[2].elevation_deg, {"a": 1})
    for number, item in enumerate((*scene, views)):
        item.save(tmp_path / f"{number}.npz")
        assert same(type(item).load(tmp_path / f"{number}.npz"), item)


def test_npz_bytes_repeat(tmp_path, scene):
    scene[0].save(tmp_path / "a.npz")
    scene[0].save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("bases", [1, 4, 9, 16])
def test_ply_round_trip(tmp_path, bases):
    written = gaussians(bases=bases)
    written.save(tmp_path / "a.ply", {"seed": 3})
    assert same(Gaussians.load(tmp_path / "a.ply"), written)


def test_ply_layout_is_inrias(tmp_path):
    gaussians(bases=4).save(tmp_path / "a.ply")
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    names = [line.split()[-1] for line in header if line.startswith("property")]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:18] == [f"f_rest_{i}" for i in range(9)]
    assert names[18:] == ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def test_sequence_round_trip_and_presence(tmp_path):
    written = sequence()
    written.save(tmp_path / "s.safetensors")
    loaded = Sequence.load(tmp_path / "s.safetensors")
    assert same(loaded, written)
    assert len(loaded.frame(0).means) == 5
    assert len(loaded.frame(1).means) == 4
    assert np.array_equal(loaded.frame(1).sh, np.delete(written.sh, 2, axis=0))


def test_wrong_shape_is_named():
    with pytest.raises(ContractError, match=r"Gaussians.quats has shape \(4, 4\); expected \(N 4\) with N=5"):
        replace(gaussians(), quats=np.zeros((4, 4), np.float32)).check()


def test_wrong_dtype_is_named(scene):
    with pytest.raises(ContractError, match=r"Frames\.rgba has dtype float32; expected uint8"):
        replace(scene[0], rgba=scene[0].rgba.astype(np.float32)).check()


def test_nan_is_counted():
    one = gaussians()
    one.means[0, 0] = np.nan
    with pytest.raises(ContractError, match=r"Gaussians\.means holds 1 NaN or infinite values of 15"):
        one.check()


def test_key_outside_the_clip(scene):
    with pytest.raises(ContractError, match="key is 4; expected 0 to 3"):
        replace(scene[0], key=4).check()


@pytest.mark.parametrize("kind", [Frames, Anchors, Truth, Views])
def test_truncated_npz(tmp_path, scene, kind):
    scene[0].save(tmp_path / "whole.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    with pytest.raises(ContractError, match=r"half.npz cannot be read as .* Delete it and run the same command"):
        kind.load(tmp_path / "half.npz")


def test_truncated_ply(tmp_path):
    gaussians().save(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-8])
    with pytest.raises(ContractError, match="announces 5 gaussians"):
        Gaussians.load(tmp_path / "a.ply")


def test_another_file_of_the_right_format(tmp_path, scene):
    scene[0].save(tmp_path / "frames.npz")
    with pytest.raises(ContractError, match="expected a file of Anchors"):
        Anchors.load(tmp_path / "frames.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"), replacing(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import os, signal, sys
from pathlib import Path
from stages.contracts import replacing, replacing_folder
with replacing_folder(Path("ply")) as folder, replacing(Path("a.npz")) as file:
    (folder / "frame0000.ply").write_text("half")
    file.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_when_the_file_is_written_next(tmp_path):
    root = str(Path(__file__).resolve().parent.parent)
    killed = subprocess.Popen([sys.executable, "-c", KILLED], cwd=tmp_path, env={"PYTHONPATH": root})
    assert killed.wait(timeout=60) == -signal.SIGKILL
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 2 and not left & {"ply", "a.npz"}
    # Of another machine nothing is known, and a process that lives is still writing.
    others = {f".a.npz.elsewhere.{killed.pid}.part.npz", f".a.npz.{platform.node()}.{os.getppid()}.part.npz"}
    for other in others:
        (tmp_path / other).write_text("half")
    with replacing(tmp_path / "a.npz") as temporary:
        temporary.write_text("whole")
    with replacing_folder(tmp_path / "ply") as temporary:
        (temporary / "frame0000.ply").write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"ply", "a.npz"} | others


def test_a_kill_while_the_old_folder_is_deleted_leaves_the_new_one(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.mkdir()
    for name in "abc":
        (target / name).write_text("old")
    deleted = shutil.rmtree

    def killed_halfway(folder, ignore_errors=False):
        if (folder / "c").exists() and (folder / "c").read_text() == "old":
            (folder / "a").unlink()
            raise KeyboardInterrupt
        deleted(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", killed_halfway)
    with pytest.raises(KeyboardInterrupt), replacing_folder(target) as partial:
        for name in "abc":
            (partial / name).write_text("new")
    assert {path.name: path.read_text() for path in target.iterdir()} == dict.fromkeys("abc", "new")


def test_axes_bind_across_arrays():
    spec = {"a": "float64 N", "b": "float64 N 2"}
    assert check_axes("x", spec, {"a": np.zeros(3), "b": np.zeros((3, 2))}) == {"N": 3}
    with pytest.raises(ContractError, match=r"x\.b has shape"):
        check_axes("x", spec, {"a": np.zeros(3), "b": np.zeros((4, 2))})


# ------------------------------------------------------------------ sequences that stay on disk


@pytest.mark.parametrize(("frames", "count"), [(3, 5), (1, 1), (2, 0)])
def test_a_sequence_written_frame_by_frame_has_the_bytes_of_the_whole(tmp_path, frames, count):
    given = replace(sequence(), record={"seed": 1, "title": 'größer "und" \\ \n\x7f'})
    cut = {name: getattr(given, name)[:frames, :count] for name in (*MOVING, "present")}
    given = replace(given, **cut, sh=given.sh[:count], times=given.times[:frames])
    given.save(tmp_path / "whole.safetensors")
    Sequence.save_frames(tmp_path / "frames.safetensors", moments(given), given.times, given.sh, given.record)
    assert (tmp_path / "frames.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_broken_frame_is_named_and_leaves_nothing(tmp_path):
    given = sequence()
    given.log_scales[2, 0] = np.inf
    broken = moments(given)
    with pytest.raises(ContractError, match=r"frame 2 of Sequence\.log_scales holds 3 NaN or infinite values of 15"):
        Sequence.save_frames(tmp_path / "s", broken, given.times, given.sh, {})
    with pytest.raises(ContractError, match=r"frame 0 of Sequence\.means has dtype float64; expected float32"):
        wide = [{**frame, "means": frame["means"].astype(float)} for frame in broken]
        Sequence.save_frames(tmp_path / "s", wide, given.times, given.sh, {})
    with pytest.raises(ValueError, match="shorter"):
        Sequence.save_frames(tmp_path / "s", broken[:2], given.times, given.sh, {})
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_on_disk_is_the_one_in_memory(tmp_path):
    given = sequence(frames=4)
    given.save(tmp_path / "s.safetensors")
    lazy = Sequence.load(tmp_path / "s.safetensors", on_disk=True)
    assert isinstance(lazy.means, OnDisk) and lazy.record == given.record
    for index in range(4):
        assert same(lazy.frame(index), given.frame(index))
    there, here = lazy.at(given.times[[2, 0]]), given.at(given.times[[2, 0]])
    assert all(np.array_equal(np.array(getattr(there, name)), getattr(here, name)) for name in MOVING)
    # What was opened is read to its end, whatever takes its name.
    (tmp_path / "s.safetensors").unlink()
    assert same(lazy.frame(1), given.frame(1))


# ------------------------------------------------------------------ pictures that stay on disk


def test_pictures_on_disk_are_those_in_memory(tmp_path, scene):
    frames, anchors, truth = scene
    for item in (frames, anchors, truth):
        item.save(tmp_path / "x.npz")
        lazy = type(item).load(tmp_path / "x.npz", on_disk=True)
        assert lazy.rgba.shape == item.rgba.shape and lazy.rgba.dtype == np.uint8 and len(lazy.rgba) == len(item.rgba)
        assert np.array_equal(np.array(lazy.rgba), item.rgba)
        assert same(replace(lazy, rgba=item.rgba), item)
    lazy = Truth.load(tmp_path / "x.npz", on_disk=True).rgba
    order = np.array([3, 0])
    assert np.array_equal(lazy[2][1], truth.rgba[2, 1])
    assert np.array_equal(np.array(lazy[2][order]), truth.rgba[2, order])
    assert np.array_equal(np.array(lazy[:, 1]), truth.rgba[:, 1])
    assert [np.array_equal(a, b) for a, b in zip(lazy[1], truth.rgba[1], strict=True)] == [True] * 4


def test_a_damaged_file_is_named_on_disk_too(tmp_path, scene):
    scene[0].save(tmp_path / "x.npz")
    data = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ContractError, match=r"x\.npz cannot be read as Frames"):
        Frames.load(tmp_path / "x.npz", on_disk=True)
