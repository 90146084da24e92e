"""Hand-made depthwise separable networks for keyword spotting, after "Hello Edge" (https://arxiv.org/abs/1711.07128)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers import BatchNormAct2d, SelectAdaptivePool2d
from torch import Tensor, nn
from train_alone import train_alone

from ofa.pipeline.job import Job

# Channels of the first convolution; channels and stride of each block. Published are blocks that are all alike; tapered
# ones are wider where maps are smaller. Two maps of 16 x 16 x 40 or of 8 x 8 x 160 fill 22 KB beside image and stack.
NETWORKS: dict[str, tuple[int, Sequence[tuple[int, int]]]] = {
    "DS-CNN, 8 KB": (12, [(12, 1)] * 4),
    "DS-CNN, 8 KB, tapered": (12, [(48, 2), (48, 1), (48, 1), (48, 1)]),
    "DS-CNN, 16 KB": (28, [(28, 1)] * 4),
    "DS-CNN, 16 KB, tapered": (28, [(112, 2), (112, 1), (112, 1), (112, 1)]),
    "DS-CNN, 22 KB": (40, [(40, 1)] * 4),
    "DS-CNN, 22 KB, tapered": (40, [(160, 2), (160, 1), (160, 1), (160, 1)]),
    "DS-CNN, 64 KB": (120, [(120, 1)] * 4),
    "DS-CNN, 64 KB, tapered": (120, [(120, 1), (240, 2), (240, 1), (240, 1)]),
}


class DsCnn(nn.Module):
    """A 7x7 convolution of stride 2, then blocks of a 3x3 depthwise and a 1x1 convolution, average pool, classifier."""

    def __init__(self, width: int, blocks: Sequence[tuple[int, int]], *, num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.in_chans, self.num_classes = in_chans, num_classes
        layers = [_convolution(in_chans, width, kernel=7, stride=2)]
        for channels, stride in blocks:
            layers.append(_convolution(width, width, kernel=3, stride=stride, groups=width))
            layers.append(_convolution(width, channels, kernel=1))
            width = channels
        self.features = nn.Sequential(*layers)
        self.pool = SelectAdaptivePool2d(pool_type="avg")
        self.flatten = nn.Flatten()
        self.drop = nn.Dropout(0.1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.drop(self.flatten(self.pool(self.features(images)))))


def _convolution(given: int, wanted: int, *, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(given, wanted, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, BatchNormAct2d(wanted, act_layer=nn.ReLU6))


def trained(job: Job, name: str, *, lr: float, epochs: int) -> DsCnn:
    """A network trained on labels, with as many images as the supernet in so many epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.recipe.seed)
        model = DsCnn(*NETWORKS[name], **job.model_kwargs).to(memory_format=torch.channels_last)
    size = job.recipe.space.resolutions[-1]
    return train_alone(job, model, epochs=epochs, lr=lr, resolution=size)
