"""Program of test_features.py: holds our networks against public libraries on the same random weights.

It runs by itself, since it gives torchvision a stand-in for its compiled operators, which a CPU build of torch
refuses, and since the libraries live in a folder that nothing else sees (requirements/beside.txt).

    python -m tests.lib.networks.beside FOLDER CHECK        CHECK: clip, lpips, inception, i3d or resnet3d

Exits 0 when they agree; 77 when the libraries are not in FOLDER.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from stages.lib.networks import Loaded, build, features, fill

NOT_HERE = 77
CPU = torch.device("cpu")
# Operators are forgotten with the library that declared them.
STAND_INS: list[torch.library.Library] = []


def random_state(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Random weights that keep signals of order one through every layer, and no trivial batch normalisation."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            state[name] = torch.zeros_like(value)
        elif value.ndim > 1:
            state[name] = torch.randn(value.shape, generator=generator) * math.sqrt(2 / value[0].numel())
        elif name.endswith(("running_var", "weight")):
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(value.shape, generator=generator) * 0.1
    return state


def pictures(count: int, side: int = 96) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def loaded(name: str, state: dict[str, torch.Tensor], folder: Path) -> Loaded:
    """Our network filled from a weights file, as in production."""
    file = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, file)
    module = build(name)
    fill(name, module, file)
    return Loaded(name, module, "random", CPU)


def agree(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    scale = np.abs(theirs).max()
    worst = np.abs(ours - theirs).max() / scale
    print(f"shape {ours.shape}, largest {scale:.3g}, worst relative difference {worst:.3g}")
    assert ours.shape == theirs.shape and scale > 0 and np.ptp(theirs) > 1e-3 * scale and worst <= tolerance


def check_clip(folder: Path) -> None:
    """open_clip with quickgelu against transformers' CLIPModel and its preparation of pictures."""
    from PIL import Image
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    theirs = CLIPModel(CLIPConfig()).eval()
    source = random_state(theirs.vision_model, 1)
    theirs.vision_model.load_state_dict(source)
    state = build("clip_vit_b32").state_dict()
    state["visual.proj"] = theirs.visual_projection.weight.detach().T
    names = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
    }
    names |= {f"ln_pre.{p}": f"pre_layrnorm.{p}" for p in ("weight", "bias")}
    names |= {f"ln_post.{p}": f"post_layernorm.{p}" for p in ("weight", "bias")}
    for index in range(12):
        block, layer = f"transformer.resblocks.{index}", f"encoder.layers.{index}"
        for p in ("weight", "bias"):
            pairs = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
            pairs |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
            names |= {f"{block}.{mine}.{p}": f"{layer}.{other}.{p}" for mine, other in pairs.items()}
            joined = torch.cat([source[f"{layer}.self_attn.{c}_proj.{p}"] for c in "qkv"])
            state[f"visual.{block}.attn.in_proj_{p}"] = joined
    state |= {f"visual.{mine}": source[other] for mine, other in names.items()}
    images = pictures(3)
    ours = features.clip_features(loaded("clip_vit_b32", state, folder), images, 2, features.PROTOCOL_SIDE)
    processor = CLIPImageProcessorPil()
    resized = [Image.fromarray(image).resize((512, 512)) for image in images]
    given = processor(images=resized, return_tensors="pt")["pixel_values"]
    mine = np.stack([np.moveaxis(features.clip_input(image, features.PROTOCOL_SIDE), -1, 0) for image in images])
    assert np.abs(mine - given.numpy()).max() < 1e-5
    with torch.inference_mode():
        out = theirs.get_image_features(pixel_values=given).pooler_output
    agree(ours, (out / out.norm(dim=-1, keepdim=True)).numpy(), 1e-5)


def check_lpips(folder: Path) -> None:
    """torchvision's backbones under lpips' names; the distance against lpips called directly."""
    import lpips
    import torchvision

    # The protocol's 512 pixels would take sixteen times as long and hold the same.
    side = 128
    first, second = pictures(2), pictures(4)[2:]
    backbones = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}
    for net, name in backbones.items():
        # LPIPS uses no classifier, and VGG's is nine tenths of its weights.
        without = {"init_weights": False, "num_classes": 1} if net == "vgg" else {}
        backbone = getattr(torchvision.models, name)(weights=None, **without)
        state = {f"features.{key}": value for key, value in random_state(backbone.features, 2).items()}
        backbone.load_state_dict(state, strict=False)
        network = loaded(f"lpips_{net}", state, folder)
        reference = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
        for part in reference.net.children():
            for inner in part.children() if isinstance(part, nn.ModuleList) else [part]:
                for index, layer in inner.named_children():
                    layer.load_state_dict(backbone.features[int(index)].state_dict())

        def tensor(image: np.ndarray) -> torch.Tensor:
            return lpips.im2tensor(features.resized(image, side))

        with torch.inference_mode():
            theirs = [float(reference(tensor(a), tensor(b))) for a, b in zip(first, second, strict=True)]
        ours = features.lpips_distances(network, first, second, 2, side)
        agree(ours, np.array(theirs), 1e-5)
        same = features.lpips_distances(network, first, first, 2, side)
        assert np.all(same == 0)


def check_inception(folder: Path) -> None:
    """torch-fidelity's extractor, which torchmetrics uses."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = random_state(build("inception_fid"), 3)
    network = loaded("inception_fid", state, folder)
    torch.save(state, folder / "inception.pth")
    theirs = FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(folder / "inception.pth")
    ).eval()
    images = pictures(3, 128)
    ours = features.inception_features(network, images, batch=2)
    with torch.inference_mode():
        (out,) = theirs(torch.from_numpy(np.moveaxis(np.stack(images), -1, 1).copy()))
    agree(ours, out.flatten(1).numpy(), 1e-4)
    assert not np.allclose(ours, features.inception_features(network, images, batch=2, resize="antialias"), rtol=1e-3)


def check_i3d(folder: Path) -> None:
    """cd-fvd's port of the same weights, with the protocol's pool and eps put in place of its own."""
    spec = importlib.util.find_spec("cdfvd")
    place = Path(spec.submodule_search_locations[0]) / "third_party" / "i3d" / "pytorch_i3d.py"
    spec = importlib.util.spec_from_file_location("pytorch_i3d", place)
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    theirs = library.InceptionI3d(400, in_channels=3).eval()
    theirs.avg_pool = nn.AvgPool3d((1, 7, 7), stride=1)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    state = random_state(theirs, 4)
    theirs.load_state_dict(state)
    clip = pictures(11, 64)
    ours = features.i3d_logits(loaded("i3d_kinetics", state, folder), clip)
    frames = np.stack([features.resized_float(p, 224) / 127.5 - 1 for p in clip])
    with torch.inference_mode():
        out = theirs(torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float())
    agree(ours, out.reshape(400, -1).mean(-1).numpy(), 1e-4)


def check_resnet3d(folder: Path) -> None:
    """MONAI's 3D ResNet-50, which follows Hara's, with the strides and the shortcut of his Kinetics file."""
    from monai.networks.nets import resnet50

    theirs = resnet50(
        spatial_dims=3, n_input_channels=3, num_classes=400, conv1_t_stride=(1, 2, 2), shortcut_type="B",
        bias_downsample=False,
    ).eval()  # fmt: skip
    state = random_state(theirs, 5)
    theirs.load_state_dict(state)
    theirs.fc = nn.Identity()
    clip = pictures(20, 64)
    # The Kinetics file names its tensors after the parallel wrapper it was trained in.
    named = {f"module.{name}": value for name, value in state.items()}
    ours = features.resnet3d_features(loaded("resnet3d_kinetics", named, folder), clip, batch=2)
    frames = np.stack([features.resized_float(p, 112) for p in clip]) - np.float32([114.7748, 107.7354, 99.4750])
    frames = np.concatenate([frames, np.repeat(frames[-1:], 12, axis=0)]).reshape(2, 16, 112, 112, 3)
    with torch.inference_mode():
        out = theirs(torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float()).mean(0)
    agree(ours, out.numpy(), 1e-4)


def make_importable(folder: str) -> bool:
    """Put a folder behind everything that is installed and make torchvision importable; False if it is not there."""
    sys.path.append(folder)
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for module in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        STAND_INS.append(library)
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return True


def main() -> None:
    """Run CHECK with the libraries in FOLDER."""
    folder, check = sys.argv[1:]
    if not make_importable(folder):
        sys.exit(NOT_HERE)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        globals()[f"check_{check}"](Path(place))


if __name__ == "__main__":
    main()
