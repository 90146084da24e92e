"""Imported checkpoints held to the published once-for-all networks; used by a test and ``benchmarks/import_ofa.py``.

The published package is called ``ofa`` like ours, so ``published_process.py`` runs in a process of its own, and leaves
checkpoints and outputs in files. Nothing else is downloaded: weights, statistics and kernel matrices are random.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

import ofa

BOUND = 1e-6  # of a subnet's largest logit, in float64


class Published(NamedTuple):
    """A published network: its class and arguments there, our preset, and how a subnet is set there."""

    network: str
    arguments: dict[str, Any]
    preset: str
    setting: Callable[[ofa.SearchSpace, ofa.Subnet], dict[str, Any]]


def mobile_setting(space: ofa.SearchSpace, subnet: ofa.Subnet) -> dict[str, Any]:
    return {"ks": list(subnet.kernels), "e": list(subnet.expands), "d": list(subnet.depths)}


def proxyless_setting(space: ofa.SearchSpace, subnet: ofa.Subnet) -> dict[str, Any]:
    """The stage of the separable block is none of theirs."""
    return {**mobile_setting(space, subnet), "d": list(subnet.depths[1:])}


def resnet_setting(space: ofa.SearchSpace, subnet: ofa.Subnet) -> dict[str, Any]:
    """Depths count from each stage's fewest blocks, widths are indices; the stem's two least first widths are equal."""
    skipped, _, *depths = subnet.depths
    fewest = [stage.depths[0] for stage in space.stages[2:]]
    options = [[24, 24, 32], *list(space.widths.values())[1:]]
    return {
        "d": [2 * skipped, *(depth - few for depth, few in zip(depths, fewest, strict=True))],
        "e": list(subnet.expands),
        "w": [list(own).index(width) for own, width in zip(options, subnet.widths, strict=True)],
    }


_OPTIONS = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
PUBLISHED = {
    "MobileNetV3 1.0": Published("OFAMobileNetV3", {**_OPTIONS, "width_mult": 1.0}, "ofa_mbv3", mobile_setting),
    "MobileNetV3 1.2": Published("OFAMobileNetV3", {**_OPTIONS, "width_mult": 1.2}, "ofa_mbv3_w1.2", mobile_setting),
    "ProxylessNAS 1.3": Published(
        "OFAProxylessNASNets", {**_OPTIONS, "width_mult": 1.3}, "ofa_proxyless", proxyless_setting
    ),
    "ResNet50": Published(
        "OFAResNets",
        {"depth_list": [0, 1, 2], "expand_ratio_list": [0.2, 0.25, 0.35], "width_mult_list": [0.65, 0.8, 1.0]},
        "ofa_resnet50",
        resnet_setting,
    ),
}


class Compared(NamedTuple):
    """Of one network: keys and parameters there, subnets, and the largest difference relative to the largest logit."""

    keys: int
    parameters: int
    subnets: int
    float64: float
    float32: float


def has_package(folder: Path) -> bool:
    return (folder / "ofa" / "imagenet_classification").is_dir()


def compare(published: Published, package: Path, *, subnets: int, resolution: int, seed: int = 0) -> Compared:
    """Raises ``subprocess.CalledProcessError`` when the package cannot run, ``ValueError`` for what is not imported."""
    space = ofa.SearchSpace.preset(published.preset)
    codes = space.sample(subnets, np.random.default_rng(seed))
    chosen = [space.largest, space.smallest, *map(space.decode, codes)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = _run_package(
            package,
            {
                "network": published.network,
                "arguments": published.arguments,
                "settings": [published.setting(space, subnet) for subnet in chosen],
                "resolution": resolution,
                "images": 2,
                "seed": seed,
                "folder": str(folder),
            },
        )
        outputs = load_file(folder / "outputs.safetensors")
        nets = [ofa.import_ofa(folder / file, space) for file in ("new.pth", "old.pth")]
    different = [
        key
        for key, tensor in nets[0].state_dict().items()
        if not key.endswith("num_batches_tracked") and not torch.equal(tensor, nets[1].state_dict()[key])
    ]
    if different:
        raise ValueError(f"the older names give other weights: {different[:3]}")
    net, images = nets[0], outputs["images"]
    float32 = _largest_difference(net, chosen, images, outputs["float32"])
    float64 = _largest_difference(net.double(), chosen, images.double(), outputs["float64"])
    return Compared(told["keys"], told["parameters"], len(chosen), float64, float32)


def _run_package(package: Path, options: dict[str, Any]) -> dict[str, int]:
    child = [sys.executable, str(Path(__file__).with_name("published_process.py")), json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(child, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@torch.no_grad()
def _largest_difference(
    net: ofa.Supernet, subnets: list[ofa.Subnet], images: torch.Tensor, expected: torch.Tensor
) -> float:
    differences = []
    for subnet, logits in zip(subnets, expected, strict=True):
        differences.append(float((net.activate(subnet)(images) - logits).abs().max() / logits.abs().max()))
    return max(differences)
