"""SPZ files, decoded by a second reader that shares no code with the writer."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from stages.lib import spz
from tests.reference import spz_reader


def arrays(count: int = 50, bases: int = 9, seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    return {
        "means": chance.uniform(-2, 2, (count, 3)).astype(np.float32),
        "quats": (chance.standard_normal((count, 4)) * 5).astype(np.float32),
        "log_scales": chance.uniform(-9, 1, (count, 3)).astype(np.float32),
        "opacity_logits": chance.normal(0, 3, count).astype(np.float32),
        "sh": chance.uniform(-0.9, 0.9, (count, bases, 3)).astype(np.float32),
    }


def column(gaussians: list[dict], name: str) -> np.ndarray:
    return np.array([gaussian[name] for gaussian in gaussians])


@pytest.mark.parametrize("bases", [1, 4, 9, 16])
def test_every_attribute_survives_to_half_a_step(tmp_path, bases):
    given = arrays(bases=bases)
    spz.write(tmp_path / "a.spz", **given)
    found = spz_reader.read(tmp_path / "a.spz")
    assert np.abs(column(found, "mean") - given["means"]).max() <= 0.5 / 4096 + 1e-6
    assert np.abs(column(found, "opacity") - 1 / (1 + np.exp(-given["opacity_logits"]))).max() <= 1 / 255 + 1e-6
    assert np.abs(column(found, "dc") - given["sh"][:, 0]).max() <= 0.5 / 255 / 0.15 + 1e-5
    assert np.abs(column(found, "log_scale") - given["log_scales"]).max() <= 0.5 / 16 + 1e-5
    unit = given["quats"] / np.linalg.norm(given["quats"], axis=1, keepdims=True)
    turned = 2 * np.arccos(np.clip(np.abs((column(found, "quat") * unit).sum(axis=1)), 0, 1))
    assert np.degrees(turned).max() < 0.5
    if bases > 1:
        error = np.abs(column(found, "sh") - given["sh"][:, 1:])
        assert error[:, :3].max() <= 4 / 128 + 1e-6
        assert error[:, 3:].max(initial=0) <= 8 / 128 + 1e-6


def test_one_gaussian_by_hand(tmp_path):
    one = {
        "means": np.array([[0.5, -1.0, 0.0]], np.float32),
        "quats": np.array([[-2.0, 0.0, 0.0, 0.0]], np.float32),
        "log_scales": np.array([[-10.0, -9.0, 0.0]], np.float32),
        "opacity_logits": np.array([0.0], np.float32),
        "sh": np.array([[[0.0, 1.0, -1.0]]], np.float32),
    }
    spz.write(tmp_path / "a.spz", **one)
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert struct.unpack_from("<4sIIBBBB", data) == (b"NGSP", 3, 1, 0, 12, 0, 0)
    assert data[16:25] == (2048).to_bytes(3, "little") + (-4096).to_bytes(3, "little", signed=True) + bytes(3)
    assert data[25] == 128
    assert list(data[26:29]) == [128, 166, 89]
    assert list(data[29:32]) == [0, 16, 160]
    assert int.from_bytes(data[32:36], "little") >> 30 == 3


def test_outliers_are_clipped_and_far_means_lose_bits_not_place(tmp_path):
    given = arrays(4)
    given["means"][0, 0] = 3000.0
    given["log_scales"][0], given["sh"][0, 0], given["opacity_logits"][0] = -50, 9, 200
    spz.write(tmp_path / "a.spz", **given)
    first = spz_reader.read(tmp_path / "a.spz")[0]
    assert first["mean"][0] == pytest.approx(3000, abs=1e-3)
    assert first["log_scale"] == [-10, -10, -10]
    assert first["opacity"] == 254 / 255
    assert first["dc"] == pytest.approx([10 / 3] * 3)


def test_no_gaussians(tmp_path):
    spz.write(tmp_path / "a.spz", **arrays(0))
    assert spz_reader.read(tmp_path / "a.spz") == []


def test_equal_gaussians_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        spz.write(tmp_path / name, **arrays())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_does_not_fit_is_refused(tmp_path):
    far = arrays(1)
    far["means"][:] = 1e8
    with pytest.raises(ValueError, match="the range of SPZ"):
        spz.write(tmp_path / "a.spz", **far)
    with pytest.raises(ValueError, match="sh has 7 bases"):
        spz.write(tmp_path / "a.spz", **arrays(bases=7))
    assert list(tmp_path.iterdir()) == []
