"""Run as a script: one of the published once-for-all networks with random weights, as a checkpoint and as outputs.

The published package is called ``ofa`` like ours, so ``published_networks.py`` starts this file as a process that has
the package's folder first on its path. Options are JSON in the first argument: ``network`` and ``arguments`` (class and
constructor), ``settings`` (a list of what ``set_active_subnet`` takes), ``resolution``, ``images`` and ``folder``.
It writes into the folder: ``new.pth`` and ``old.pth`` (the same weights by the names of today's code and by those of
the published files), and ``outputs.safetensors``: ``images``, and for each type of floats the logits ``(settings,
images, classes)`` of every subnet.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


@torch.no_grad()
def randomise(net: nn.Module, images: Tensor) -> None:
    """Every weight, statistic, bias and matrix random, so that each matters.

    Statistics are around those of the largest network on ``images``: with others, no trace of the image would be left
    in the logits.
    """
    for name, tensor in net.state_dict().items():
        if name.endswith("_matrix"):
            tensor.add_(0.1 * torch.randn_like(tensor))
        elif tensor.ndim == 1 and "running" not in name:
            tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(0, 0.3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(images)
    for name, tensor in net.eval().state_dict().items():
        if name.endswith("running_var"):
            tensor.mul_(torch.empty_like(tensor).uniform_(0.5, 2))
        elif name.endswith("running_mean"):
            tensor.add_(0.3 * torch.randn_like(tensor))


def old_name(name: str) -> str:
    """As the published files of MobileNets spell it; their loader maps it back."""
    name = re.sub(r"^(blocks\.\d+)\.conv\.", r"\1.mobile_inverted_conv.", name)
    return (
        name.replace(".bn.bn.", ".bn.")
        .replace(".conv.conv.weight", ".conv.weight")
        .replace(".linear.linear.", ".linear.")
    )


@torch.no_grad()
def logits(net: nn.Module, settings: list[dict[str, Any]], images: Tensor) -> Tensor:
    outputs = []
    for setting in settings:
        net.set_active_subnet(**setting)
        outputs.append(net(images))
    return torch.stack(outputs)


def main(options: dict[str, Any]) -> None:
    from ofa.imagenet_classification.elastic_nn import networks

    torch.manual_seed(options["seed"])
    torch.set_num_threads(1)
    net = getattr(networks, options["network"])(**options["arguments"]).eval()
    images = torch.randn(options["images"], 3, options["resolution"], options["resolution"])
    randomise(net, images)
    folder, state = Path(options["folder"]), net.state_dict()
    old = {old_name(name): tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"state_dict": state}, folder / "new.pth")
    torch.save({"state_dict": old, "epoch": 1}, folder / "old.pth", _use_new_zipfile_serialization=False)

    outputs = {"images": images, "float32": logits(net, options["settings"], images)}
    outputs["float64"] = logits(net.double(), options["settings"], images.double())
    save_file(outputs, folder / "outputs.safetensors")
    print(json.dumps({"keys": len(state), "parameters": sum(one.numel() for one in net.parameters())}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
