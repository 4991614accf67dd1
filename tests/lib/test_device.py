"""Device and backend are chosen in one place, or refused with what to type."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from stages.lib import device
from stages.settings import Run, SettingsError


def test_cpu_uses_numba_and_the_settings_threads():
    chosen = device.choose(Run(device="cpu", threads=2))
    assert (chosen.device.type, chosen.backend, chosen.threads) == ("cpu", "numba", 2)
    assert torch.get_num_threads() == 2
    assert chosen.describe() == {"device": "cpu", "backend": "numba"}
    device.choose(Run(device="cpu", threads=1))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("driver", [True, False])
@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_the_words_are_those_of_the_chosen_device(monkeypatch, wanted, driver):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_has_driver", lambda: driver)
    assert device.describe(Run(device=wanted)) == device.choose(Run(device=wanted)).describe()


def test_the_words_of_cuda_asked_for_in_vain(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="torch sees no CUDA device here"):
        device.describe(Run(device="cuda"))


def test_precision_of_diffusion_models():
    chosen = device.choose(Run(device="cpu"))
    assert (chosen.precision("auto"), chosen.precision("bfloat16")) == ("float32", "bfloat16")
    assert device.Device(torch.device("cuda"), "gsplat", 1).precision("auto") == "float16"


def test_cuda_asked_for_in_vain(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="torch sees no CUDA device here; type `device: cpu` or `device: auto`"):
        device.choose(Run(device="cuda"))
    assert device.choose(Run(device="auto")).backend == "numba"


def test_cuda_without_gsplat(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"gsplat is not installed; type `pip install gsplat==1\.5\.3`"):
        device.choose(Run(device="cuda"))


def test_the_peak_of_a_gpu_is_said(monkeypatch, report):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda place: 2_345_600_000)
    device.say_peak(torch.device("cpu"), report)
    assert report.text == ""
    device.say_peak(torch.device("cuda"), report)
    assert report.text.endswith("peak GPU memory 2346 MB\n")


def test_torchs_threads_survive_a_render():
    import numpy as np

    from stages.lib.cameras import orbit
    from stages.lib.raster import render_numpy

    device.choose(Run(device="cpu", threads=1))
    one = np.ones((1, 3), np.float32)
    quats = np.array([[1, 0, 0, 0]], np.float32)
    render_numpy(
        0 * one, quats, 0.1 * one, one[:, 0], one[:, None], orbit(0, 0, 2.0, 49.1, 32, 32), np.ones(3, np.float32)
    )
    assert torch.get_num_threads() == 1
