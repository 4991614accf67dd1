"""The compact file: what comes back, how large it is, and what happens to what cannot be written or read."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import ContractError, OnDisk, Sequence, save_tensors
from stages.lib import compact
from stages.lib.cameras import orbit
from stages.lib.drawing import draw_rgba
from stages.lib.images import over_white
from tests.players import shell

ATTRIBUTES = ("means", "quats", "log_scales", "opacity_logits")


@pytest.fixture
def sequence() -> Sequence:
    """11 frames (a group and a part of one) of 50 gaussians of degree 1 that come and go; some never exist."""
    generator = np.random.default_rng(3)
    made = shell(50, frames=11, seed=3)
    present = generator.random((11, 50)) < 0.7
    present[:, :4] = False
    means = made.means + generator.normal(0, 0.05, made.means.shape).astype(np.float32)
    # Any length and either sign: q and -q turn alike.
    length = generator.uniform(0.2, 3, (11, 50, 1)) * generator.choice([-1, 1], (11, 50, 1))
    return replace(made, means=means, quats=(made.quats * length).astype(np.float32), present=present)


def rewritten(path, sequence: Sequence) -> Sequence:
    compact.write(path, sequence)
    return compact.read(path)


def test_values_come_back_within_half_a_step(tmp_path, sequence):
    back = rewritten(tmp_path / "a.4dgs", sequence)
    grids = compact.read_header(tmp_path / "a.4dgs").grids
    np.testing.assert_array_equal(back.present, sequence.present)
    np.testing.assert_array_equal(back.times, sequence.times)
    for name in ("means", "log_scales", "opacity_logits"):
        error = np.abs(getattr(back, name) - getattr(sequence, name))[sequence.present]
        assert 0 < error.max() <= 0.5 * grids[name].step.max() + 1e-6, name
    assert np.abs(back.sh - sequence.sh).max() <= 0.5 * grids["sh"].step.max() + 1e-6
    unit = [q / np.linalg.norm(q, axis=-1, keepdims=True) for q in (back.quats, sequence.quats)]
    angle = np.degrees(2 * np.arccos(np.clip(np.abs((unit[0] * unit[1]).sum(-1)), 0, 1)))
    assert angle[sequence.present].max() < 1.0


def test_absent_gaussians_hold_their_last_values(tmp_path, sequence):
    back = rewritten(tmp_path / "a.4dgs", sequence)
    for frame in range(1, 11):
        absent = ~sequence.present[frame]
        for name in ATTRIBUTES:
            held = [getattr(back, name)[index][absent] for index in (frame - 1, frame)]
            np.testing.assert_array_equal(*held)


def test_what_is_written_again_does_not_change(tmp_path, sequence):
    once = rewritten(tmp_path / "a.4dgs", sequence)
    size = compact.write(tmp_path / "b.4dgs", sequence)
    assert size == (tmp_path / "a.4dgs").stat().st_size
    assert (tmp_path / "a.4dgs").read_bytes() == (tmp_path / "b.4dgs").read_bytes()
    np.testing.assert_array_equal(once.present, rewritten(tmp_path / "c.4dgs", once).present)


def test_the_pictures_stay(tmp_path):
    """32 frames of 10,000 gaussians: at most 5 MB, 35 dB or better. The motion is noisy, so differences are large."""
    made = shell(10_000, frames=32)
    noise = np.random.default_rng(0).normal(0, 2e-3, made.means.shape)
    moving = replace(made, means=(made.means + noise).astype(np.float32))
    size = compact.write(tmp_path / "a.4dgs", moving)
    assert size <= 5_000_000
    back = compact.read(tmp_path / "a.4dgs")
    cameras = orbit([0.0, 200.0], [0.0, 30.0], 2.0, 49.1, 256, 256)
    pair = [over_white(draw_rgba(one.frame(17), cameras)) for one in (moving, back)]
    assert -10 * np.log10(np.mean((pair[0] - pair[1]) ** 2)) >= 45


def test_from_disk_is_from_memory_and_a_group_at_a_time(tmp_path, sequence, monkeypatch):
    sequence.save(tmp_path / "s.safetensors")
    source = Sequence.load(tmp_path / "s.safetensors", on_disk=True)
    asked = []
    read = OnDisk.__array__
    monkeypatch.setattr(OnDisk, "__array__", lambda self, *how, **more: asked.append(len(self)) or read(self))
    compact.write(tmp_path / "disk.4dgs", source)
    compact.write(tmp_path / "memory.4dgs", sequence)
    assert (tmp_path / "disk.4dgs").read_bytes() == (tmp_path / "memory.4dgs").read_bytes()
    # Two passes over four channels and the presence, and never more than a group in memory.
    assert asked == 2 * (5 * [8] + 5 * [3])
    assert [len(group.times) for group in compact.groups(tmp_path / "disk.4dgs")] == [8, 3]


@pytest.mark.parametrize(("frames", "count"), [(1, 5), (3, 0), (9, 1)])
def test_few_frames_and_few_gaussians(tmp_path, frames, count):
    made = shell(max(count, 1), frames=frames)
    few = replace(
        made,
        **{name: getattr(made, name)[:, :count] for name in (*ATTRIBUTES, "present")},
        sh=made.sh[:count],
    )
    back = rewritten(tmp_path / "a.4dgs", few)
    assert back.means.shape == (frames, count, 3)
    np.testing.assert_allclose(back.means, few.means, atol=1e-3)


def test_a_frame_without_gaussians(tmp_path, sequence):
    present = sequence.present.copy()
    present[5] = False
    back = rewritten(tmp_path / "a.4dgs", replace(sequence, present=present))
    assert len(back.frame(5).means) == 0
    assert len(back.frame(6).means) == present[6].sum()
    nothing = rewritten(tmp_path / "b.4dgs", replace(sequence, present=np.zeros_like(present)))
    assert not nothing.present.any()


@pytest.mark.parametrize("bits", [8, 13, 16])
def test_folded_differences_by_hand(bits):
    half = 1 << (bits - 1)
    differences = np.array([0, -1, 1, -2, 2, half - 1, -half, 2 * half - 1])
    codes = compact.zigzag(differences, bits)
    assert codes.tolist() == [0, 1, 2, 3, 4, 2 * half - 2, 2 * half - 1, 1]
    assert ((compact.unzigzag(codes) - differences) % (2 * half) == 0).all()


def test_layout_of_the_first_bytes(tmp_path, sequence):
    compact.write(tmp_path / "a.4dgs", sequence)
    raw = (tmp_path / "a.4dgs").read_bytes()
    assert raw[:8] == b"4DGS\x01\x00\x00\x00"
    after = 12 + int.from_bytes(raw[8:12], "little")
    length = int.from_bytes(raw[after : after + 4], "little")
    base = zlib.decompress(raw[after + 4 : after + 4 + length])
    # means of 13 bits take two bytes, the others one: 3 * 2 + 4 + 3 + 1 + 12 coefficients.
    assert len(base) == 26 * 50


def test_nan_is_refused_and_nothing_is_left(tmp_path, sequence):
    broken = replace(sequence, means=np.where(np.arange(3) == 1, np.nan, sequence.means).astype(np.float32))
    with pytest.raises(ContractError, match=r"means holds 550 NaN"):
        compact.write(tmp_path / "a.4dgs", broken)
    sequence.save(tmp_path / "s.safetensors")
    raw = bytearray((tmp_path / "s.safetensors").read_bytes())
    place = raw.index(sequence.means.tobytes()[:40])
    raw[place : place + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "s.safetensors").write_bytes(raw)
    with pytest.raises(ContractError, match="means holds 1 NaN or infinite values of 1650"):
        Sequence.load(tmp_path / "s.safetensors", on_disk=True)
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def test_arrays_of_different_lengths_are_refused(tmp_path, sequence):
    arrays = {name: getattr(sequence, name) for name in (*ATTRIBUTES, "sh", "present")}
    save_tensors(tmp_path / "s.safetensors", {**arrays, "times": sequence.times[:5]}, {})
    for on_disk in (False, True):
        with pytest.raises(ContractError, match=r"s\.safetensors: Sequence\.times has shape \(5,\); expected .* T=11"):
            Sequence.load(tmp_path / "s.safetensors", on_disk)


def test_an_interrupted_write_leaves_nothing(tmp_path, sequence, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(compact, "_write_group", fail)
    with pytest.raises(OSError, match="disk full"):
        compact.write(tmp_path / "a.4dgs", sequence)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_named(tmp_path, sequence):
    path = tmp_path / "a.4dgs"
    compact.write(path, sequence)
    raw = path.read_bytes()
    for damaged, message in (
        (b"ply\n" + raw[4:], "expected b'4DGS'"),
        (raw[:4] + b"\x02" + raw[5:], "version 2 .* reads version 1"),
        (raw[:-20], "truncated or damaged"),
        (raw[:40], "header is damaged"),
        (b"", "begins with"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ContractError, match=message):
            compact.read(path)
    with pytest.raises(ContractError, match="cannot be read as a compact sequence"):
        compact.read(tmp_path / "none.4dgs")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ContractError, match="cannot be read as safetensors"):
        Sequence.load(tmp_path / "x.safetensors", on_disk=True)
