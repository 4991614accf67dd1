"""The networks of the metrics: true architectures, weights that are refused, and features that stay in their place."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from stages.cli import StageError
from stages.lib import networks, weights
from stages.lib.networks import Absent, Loaded, features

ROOT = Path(__file__).resolve().parents[3]
BESIDE = ROOT / ".venv" / "beside"
CPU = torch.device("cpu")
# Of the largest feature: float32 sums of some thousand terms in another order (config/README.md states it).
DEVICES_AGREE = 1e-4


@pytest.mark.parametrize("check", ["clip", "lpips", "inception", "i3d", "resnet3d"])
def test_features_equal_a_librarys_on_the_same_random_weights(check):
    command = [sys.executable, "-W", "ignore", "-m", "tests.lib.networks.beside", str(BESIDE), check]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if done.returncode == 77:
        pytest.skip(
            "type `pip install --no-deps --target .venv/beside -r requirements/beside.txt "
            "-c requirements/constraints.txt`"
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("i3d_kinetics", 12_697_264), ("resnet3d_kinetics", 47_018_576), ("inception_fid", 23_850_960)],
)
def test_parameter_counts(name, parameters):
    assert sum(p.numel() for p in networks.build(name).parameters()) == parameters


@pytest.mark.parametrize("frames", [1, 9])
def test_i3d_gives_400_logits_for_any_number_of_frames(frames):
    module = networks.build("i3d_kinetics")
    x = torch.zeros(1, 3, frames, 224, 224)
    with torch.inference_mode():
        assert module(x).shape == (1, 400)
        inner = module.Mixed_5c(torch.zeros(1, 832, 2, 7, 7))
        assert inner.shape == (1, 1024, 2, 7, 7)


def test_every_network_has_an_entry_in_the_manifest():
    for name in networks.ARCHITECTURES:
        assert weights.entry(name)


@pytest.mark.parametrize(("name", "package"), [("lpips_vgg", "lpips"), ("clip_vit_b32", "open_clip")])
def test_a_package_that_cannot_be_imported_is_the_reason(name, package, monkeypatch):
    """As on a CPU build of torch, where torchvision fails while it registers its operators."""

    class Broken:
        def find_spec(self, wanted, path=None, target=None):
            if wanted == package:
                raise RuntimeError("operator torchvision::nms does not exist\nand a second line")

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    why = r"\(operator torchvision::nms does not exist\); it needs a torchvision that fits torch$"
    with pytest.raises(Absent, match=rf"^{package} cannot be imported here {why}"):
        networks.build(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Absent, match=rf"^{package} cannot be imported here \(.*{package}.*\); it needs a torchvision"):
        networks.build(name)


# ------------------------------------------------------------------ weights


@pytest.fixture
def i3d_file(tmp_path) -> Path:
    file = tmp_path / "i3d.safetensors"
    save_file(networks.build("i3d_kinetics").state_dict(), file)
    return file


def test_weights_of_the_wrong_network_are_refused(i3d_file):
    with pytest.raises(StageError, match=rf"{i3d_file} holds the weights of another network than inception_fid"):
        networks.fill("inception_fid", networks.build("inception_fid"), i3d_file)


def test_weights_with_a_tensor_of_another_shape_are_refused(tmp_path):
    state = networks.build("i3d_kinetics").state_dict()
    state["logits.conv3d.weight"] = torch.zeros(600, 1024, 1, 1, 1)
    save_file(state, tmp_path / "i3d600.safetensors")
    with pytest.raises(StageError, match=r"1 have another shape \(first: logits.conv3d.weight\)"):
        networks.fill("i3d_kinetics", networks.build("i3d_kinetics"), tmp_path / "i3d600.safetensors")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = networks.build("i3d_kinetics").state_dict()
    state["logits.conv3d.bias"] = torch.full((400,), torch.nan)
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(StageError, match=r"NaN or infinity in logits\.conv3d\.bias"):
        networks.fill("i3d_kinetics", networks.build("i3d_kinetics"), tmp_path / "nan.safetensors")


def test_a_pickle_never_runs_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.write_text, (tmp_path / "ran", "yes")

    file = tmp_path / "evil.pt"
    file.write_bytes(pickle.dumps({"weight": Evil()}))
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    for path in (file, tmp_path / "evil.pth"):
        with pytest.raises(StageError, match=rf"{path} cannot be read as weights"):
            networks.read_state(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_damaged_file_is_refused(tmp_path, suffix):
    file = tmp_path / f"x{suffix}"
    file.write_bytes(b"\0" * 100)
    with pytest.raises(StageError, match="cannot be read as weights"):
        networks.read_state(file)


def test_absent_weights_are_a_reason(tmp_path):
    with pytest.raises(Absent, match=r"i3d_kinetics"):
        networks.load("i3d_kinetics", CPU, tmp_path)


def test_a_random_network_cannot_be_loaded(tmp_path, i3d_file):
    """A file of the right shape whose checksum is not the manifest's is an error by name, never an empty cell."""
    folder = tmp_path / "weights" / "i3d_kinetics"
    folder.mkdir(parents=True)
    i3d_file.rename(folder / "i3d_pretrained_400.pt")
    with pytest.raises(StageError, match=rf"{folder / 'i3d_pretrained_400.pt'} is not the file that was meant: .*type"):
        networks.load("i3d_kinetics", CPU, tmp_path / "weights")


# ------------------------------------------------------------------ features


class Mean(torch.nn.Module):
    """A network whose feature of a picture is its mean colour; it keeps the size of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        return x.flatten(2).mean(-1)


def clip(count: int, side: int = 20) -> list[np.ndarray]:
    return [np.full((side, side, 3), value, np.uint8) for value in np.linspace(0, 250, count).astype(int)]


def test_batches_have_one_size_and_keep_order():
    module = Mean()
    found = features.inception_features(Loaded("x", module, "", CPU), clip(5), batch=2)
    assert module.sizes == [2, 2, 2]
    expected = (np.linspace(0, 250, 5).astype(int) - 128) / 128
    assert found.shape == (5, 3) and np.allclose(found, expected[:, None], atol=1e-6)


def test_segments_of_sixteen_repeat_the_last_frame():
    module = Mean()
    found = features.resnet3d_features(Loaded("x", module, "", CPU), clip(18), batch=4)
    values = np.linspace(0, 250, 18).astype(int)
    segments = [values[:16].mean(), (values[16] + 15 * values[17]) / 16]
    assert np.allclose(found, np.mean(segments) - np.array([114.7748, 107.7354, 99.4750]), atol=1e-3)


def test_the_protocol_resizes_twice():
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    twice = features.clip_input(picture, features.PROTOCOL_SIDE)
    once = features.resized(picture, 224) / 255
    normalised = (once - np.array(features.CLIP_MEAN)) / np.array(features.CLIP_STD)
    assert twice.shape == (224, 224, 3) and np.abs(twice - normalised).max() > 0.05
    assert np.abs(features.clip_input(picture, None) - normalised).max() < 1e-5


def test_tf1_resize_is_aligned_to_the_corner():
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)
    found = features.bilinear_tf1(ramp, 8)[0, 0, 0]
    assert torch.allclose(found, torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.0]))
    centred = F.interpolate(ramp, (8, 8), mode="bilinear", align_corners=False)[0, 0, 0]
    assert not torch.allclose(found, centred)


def test_tf32_is_off_inside_and_restored():
    before = torch.backends.cudnn.allow_tf32
    with networks.exact():
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert not (torch.ones(1, requires_grad=True) * 2).requires_grad
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "name", ["i3d_kinetics", "inception_fid", "resnet3d_kinetics", "clip_vit_b32", "lpips_vgg", "lpips_alex"]
)
def test_cpu_and_gpu_agree(name):
    torch.manual_seed(0)
    try:
        module, images = networks.build(name), clip(8, 64)
    except Absent as error:
        pytest.skip(str(error))
    calls = {
        "i3d_kinetics": features.i3d_logits,
        "inception_fid": lambda n, c: features.inception_features(n, c, 4),
        "resnet3d_kinetics": lambda n, c: features.resnet3d_features(n, c, 1),
        "clip_vit_b32": lambda n, c: features.clip_features(n, c, 4, features.PROTOCOL_SIDE),
    }
    # At the size of the pictures: 512 x 512 would take minutes on the CPU and hold the same.
    call = calls.get(name, lambda n, c: features.lpips_distances(n, c, c[::-1], 4, None))
    found = []
    for device in (CPU, torch.device("cuda")):
        found.append(call(Loaded(name, module.to(device), "", device), images))
    assert np.abs(found[0] - found[1]).max() <= DEVICES_AGREE * np.abs(found[0]).max()
