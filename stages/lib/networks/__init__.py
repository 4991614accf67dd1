"""The networks of the papers' metrics: their architectures, and how their weights are loaded.

Vocabulary
----------
- A network's *name* is its entry in config/weights.yaml and its folder in resources/weights/.
- *Loaded*: a network with its public weights, in evaluation mode on a device, and the sha256 of its weights. Only
  `load` makes one, from files whose checksums hold; what scores pictures takes nothing else, so that a network with
  random weights (`build`, for tests and benchmarks) cannot score anything that reaches a result.
- *Absent*: a network that cannot be had here; its text is the reason that stands in the empty cell.

Conventions: TF32 is off while a network runs (`exact`), gradients too. Weights are safetensors, or a PyTorch file
read with `weights_only`, which runs no code. lpips and open_clip are imported where they are used: they need
torchvision, which cannot be imported beside a CPU build of torch.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stages.cli import StageError
from stages.lib import weights
from stages.lib.networks.i3d import I3D
from stages.lib.networks.inception import InceptionV3
from stages.lib.networks.resnet3d import ResNet3D

State = dict[str, Tensor]
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")
# OpenAI's weights were trained with this approximation of GELU (OpenAI CLIP, model.py); without it features differ.
CLIP_ARCHITECTURE = "ViT-B-32-quickgelu"


class Absent(RuntimeError):
    """A network that is not here; the text is the reason for the empty cell."""


@dataclass(frozen=True)
class Loaded:
    """A network with its public weights, ready to score."""

    name: str
    module: nn.Module
    digest: str
    """sha256 of its weights file"""
    device: torch.device


# ------------------------------------------------------------------ architectures


def _needing_torchvision(what: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        return build()
    except (ImportError, RuntimeError, AttributeError) as error:
        # A torchvision built for another torch fails with RuntimeError while it registers its operators.
        line = str(error).splitlines()[0] if str(error) else repr(error)
        raise Absent(f"{what} cannot be imported here ({line}); it needs a torchvision that fits torch") from None


def _clip() -> nn.Module:
    def build() -> nn.Module:
        import open_clip

        return open_clip.create_model(CLIP_ARCHITECTURE, load_weights=False)

    return _needing_torchvision("open_clip", build)


def _lpips(net: str) -> nn.Module:
    def build() -> nn.Module:
        import lpips

        # Its linear heads ship with the package; `pnet_rand` keeps it from downloading the backbone.
        return lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)

    return _needing_torchvision("lpips", build)


def _as_is(module: nn.Module, state: State) -> State:
    return state


def _resnet3d_state(module: nn.Module, state: State) -> State:
    inner = state.get("state_dict", state)
    return {name.removeprefix("module."): value for name, value in inner.items()}


def _lpips_state(module: nn.Module, state: State) -> State:
    """torchvision's backbone under lpips' names: features.{i} sits in a slice that keeps the number."""
    kept = {name: value for name, value in module.state_dict().items() if not name.startswith("net.")}
    for name in module.state_dict():
        if name.startswith("net."):
            source = "features." + name.split(".", 2)[2]
            if source in state:
                kept[name] = state[source]
    return kept


@dataclass(frozen=True)
class Architecture:
    """How a network is built, and how the names in its weights file become its own."""

    build: Callable[[], nn.Module]
    rename: Callable[[nn.Module, State], State] = _as_is


ARCHITECTURES = {
    "clip_vit_b32": Architecture(_clip),
    "lpips_vgg": Architecture(lambda: _lpips("vgg"), _lpips_state),
    "lpips_alex": Architecture(lambda: _lpips("alex"), _lpips_state),
    "lpips_squeeze": Architecture(lambda: _lpips("squeeze"), _lpips_state),
    "i3d_kinetics": Architecture(I3D),
    "inception_fid": Architecture(InceptionV3),
    "resnet3d_kinetics": Architecture(ResNet3D, _resnet3d_state),
}


def build(name: str) -> nn.Module:
    """The architecture `name` in evaluation mode with random weights: never for a result.

    Raises Absent when its package cannot be imported here.
    """
    return ARCHITECTURES[name].build().eval().requires_grad_(False)


# ------------------------------------------------------------------ weights


def weights_file(folder: Path) -> Path:
    """The one weights file of a folder; raises StageError when there is none or a second one."""
    found = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    if len(found) != 1:
        raise StageError(
            f"{folder} holds {len(found)} weights files; expected one of {', '.join(WEIGHT_SUFFIXES)}. "
            "Keep the file that config/weights.yaml names."
        )
    return found[0]


def read_state(file: Path) -> State:
    """Tensors of a weights file by name; runs no code from it. Raises StageError on anything else."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else repr(error)
        raise StageError(
            f"{file} cannot be read as weights ({line}); expected safetensors, or a PyTorch file of tensors alone "
            "(files that would run code are refused). Delete it and fetch it again."
        ) from None
    if not isinstance(state, dict):
        raise StageError(f"{file} holds a {type(state).__name__}; expected a dictionary of tensors. Fetch it again.")
    return state


def fill(name: str, module: nn.Module, file: Path) -> None:
    """Load a weights file into a module of architecture `name`; raises StageError when it is another network's."""
    state = ARCHITECTURES[name].rename(module, read_state(file))
    # Counters of training steps are in files by PyTorch's age, not by network.
    expected = {k: v.shape for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v.shape for k, v in state.items() if isinstance(v, Tensor) and not k.endswith("num_batches_tracked")}
    missing, extra = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    if name.startswith("lpips_"):
        missing = [k for k in missing if k.startswith("net.")]
    unlike = sorted(k for k in expected.keys() & given.keys() if expected[k] != given[k])
    if missing or extra or unlike:
        first = (missing or extra or unlike)[0]
        raise StageError(
            f"{file} holds the weights of another network than {name}: {len(missing)} of {len(expected)} tensors are "
            f"missing, {len(extra)} are unknown, {len(unlike)} have another shape (first: {first}). "
            "Delete it and fetch it again."
        )
    bad = [k for k, v in state.items() if isinstance(v, Tensor) and v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise StageError(f"{file} holds NaN or infinity in {bad[0]}; expected finite weights. Fetch it again.")
    module.load_state_dict(state, strict=False)


def load(name: str, device: torch.device, folder: Path | None = None) -> Loaded:
    """The network `name` with its public weights from resources/weights/ (or `folder`) on a device.

    Raises Absent when weights or package are missing, StageError when the file is not the network's.
    """
    try:
        found = weights.find(name, folder)
    except weights.WrongWeights as error:
        # No reason for an empty cell: the user believes that this network scores.
        raise StageError(str(error)) from None
    except weights.WeightsMissing as error:
        raise Absent(str(error)) from None
    module = build(name)
    fill(name, module, weights_file(found))
    return Loaded(name, module.to(device), weights.digest(name, folder), device)


class Networks:
    """The networks of one run: each loaded at most once, absent ones remembered with their reason."""

    def __init__(self, device: torch.device, load: Callable[[str, torch.device], Loaded] = load) -> None:
        self.device = device
        self.digests: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self._load = load
        self._kept: dict[str, Loaded] = {}

    def get(self, name: str) -> Loaded | None:
        """The network, or None when it cannot be had; `reasons` then says why."""
        if name not in self._kept and name not in self.reasons:
            try:
                self._kept[name] = self._load(name, self.device)
                self.digests[name] = self._kept[name].digest
            except Absent as error:
                self.reasons[name] = str(error)
        return self._kept.get(name)


@contextmanager
def exact() -> Iterator[None]:
    """No gradients and no TF32, which would cost three decimal digits on a GPU; both restored afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
