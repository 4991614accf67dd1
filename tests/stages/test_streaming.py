"""Exports of clips that are longer than memory: frames are read as they are used, and the files are the same."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from stages import bake, spz
from stages.contracts import OnDisk, Sequence, load_tensors, save_tensors
from stages.lib import compact
from stages.settings import BakeRun, BakeSettings, Run
from tests.slow_motion import insert
from tests.stages.test_exports import ball
from tests.stages.test_interruptions import CASES, contents
from tests.stages.test_interruptions import place as place

GROUP = 2
# All that read a sequence, each once.
OTHERS = ("bake", "player", "a still mesh", "a moving picture", "a contact sheet")
READERS = [name for name in CASES if name not in OTHERS]


@pytest.mark.parametrize("name", READERS)
def test_frames_are_read_one_by_one_and_the_files_are_those_of_a_clip_in_memory(
    place, tmp_path, report, monkeypatch, name
):
    """A group of frames at once is what the compact file needs; nothing else needs more than one."""
    if name == "usd":
        pytest.importorskip("pxr", reason="usd-core is not installed; type `pip install usd-core`")
    monkeypatch.setattr(compact, "GROUP_FRAMES", GROUP)
    write, load, read, asked = CASES[name][0], Sequence.load, OnDisk.__array__, []
    monkeypatch.setattr(OnDisk, "__array__", lambda self, *how, **more: asked.append(len(self)) or read(self))
    write(place, report)
    assert max(asked, default=0) <= (GROUP if name == "compact" else 0), asked
    streamed = contents(tmp_path)
    monkeypatch.setattr(Sequence, "load", lambda path, on_disk=False: load(path) if on_disk else pytest.fail("held"))
    write(place, report)
    assert contents(tmp_path) == streamed


@pytest.mark.parametrize("between", [0, 2])
def test_baking_frame_by_frame_gives_the_bytes_of_the_whole_clip(place, report, between):
    bake.main(place / "dynamic.safetensors", place / "b", BakeRun(bake=BakeSettings(between=between)), report)
    arrays, about = load_tensors(place / "dynamic.safetensors")
    still = {name: arrays[f"gaussians.{name}"][None].repeat(4, axis=0) for name in compact.SIZES}
    about |= {"between": between} if between else {}
    same = {name: arrays[name] for name in ("present", "times")}
    insert(Sequence(**still, **same, sh=arrays["gaussians.sh"], record=about), between).save(place / "whole")
    assert (place / "b").read_bytes() == (place / "whole").read_bytes()


def test_memory_does_not_hold_the_clip(tmp_path, report):
    """80 frames and two between any two: 6 MB of gaussians."""
    frames = 80
    one = ball(np.zeros((1, 3)), np.zeros(1)).frame(0)
    fitted = {f"gaussians.{name}": value for name, value in vars(one).items()}
    arrays = {**fitted, "present": np.ones((frames, 600), bool), "times": np.linspace(0, 1, frames)}
    save_tensors(tmp_path / "d", arrays, {"settings": {"canonical": {}, "dynamic": {"method": "static"}}})
    peaks = {}
    for stage, run in (
        ("bake", lambda: bake.main(tmp_path / "d", tmp_path / "s", BakeRun(bake=BakeSettings(between=2)), report)),
        ("spz", lambda: spz.main(tmp_path / "s", tmp_path / "spz", Run(), report)),
        ("compact", lambda: compact.write(tmp_path / "c", Sequence.load(tmp_path / "s", on_disk=True))),
    ):
        tracemalloc.start()
        run()
        peaks[stage] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    size = (tmp_path / "s").stat().st_size
    assert size > 6e6
    assert max(peaks.values()) < size / 3, peaks
