"""3D ResNet-50 with Kinetics weights (Hara et al. 2018): the network of DisCo's FID-VID.

Names of parameters are those of `resnet-50-kinetics.pth` without its `module.` prefix. The feature is what the
classifier reads: 2048 numbers a segment of 16 frames.

Letters: B segments, T frames, H W pixels. Segments are (B, 3, 16, 112, 112) float32: RGB 0 to 255 minus MEAN.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# Mean colour of ActivityNet, RGB 0 to 255, no deviation: DisCo's tool/metrics/utils.py.
MEAN = (114.7748, 107.7354, 99.4750)
SEGMENT_FRAMES = 16
SIDE = 112
CLASSES = 400
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (projected where shape changes, shortcut type B)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv3d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


def _layer(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1)))


class ResNet3D(nn.Module):
    """Features (B, 2048) of segments (B, 3, 16, 112, 112); `fc` is loaded with the file and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.layer1 = _layer(64, 64, 3, 1)
        self.layer2 = _layer(256, 128, 4, 2)
        self.layer3 = _layer(512, 256, 6, 2)
        self.layer4 = _layer(1024, 512, 3, 2)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, segments: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(segments))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3, 4))
