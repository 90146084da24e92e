"""One training step, the same code for both sides; run as a script, the published implementation's side of it.

Its package is called ``ofa`` like ours, so ``training_step.py`` starts this file as a process that has the package's
folder first on its path. Protocol: options as JSON in the first argument; then per line of input a JSON list of subnets
({"ks", "e", "d"}) and per line of output the seconds of one step on them.
"""

from __future__ import annotations

import json
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 1000


def batch(size: int, resolution: int, *, device: str, channels_last: bool) -> tuple[Tensor, Tensor]:
    """Random images ``(size, 3, resolution, resolution)`` and labels, always the same."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(size, 3, resolution, resolution, generator=generator).to(device)
    labels = torch.randint(CLASSES, (size,), generator=generator).to(device)
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images, labels


def optimizer_of(net: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=3e-5)


def step(
    net: nn.Module,
    activations: Sequence[Callable[[], object]],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
) -> None:
    """One optimizer step on several subnets, each switched on by a call; their gradients are averaged."""
    optimizer.zero_grad()
    for activate in activations:
        activate()
        (F.cross_entropy(net(images), labels) / len(activations)).backward()
    optimizer.step()


def seconds(run: Callable[[], object], device: str) -> float:
    """The time of a call, until the device has finished, too."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def published_net() -> nn.Module:
    """The published supernet at the settings of our preset ``ofa_mbv3``."""
    # Its data loader needs modules that torch dropped years ago; a training step needs no data loader.
    sys.modules["ofa.utils.my_dataloader"] = types.ModuleType("ofa.utils.my_dataloader")
    from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

    return OFAMobileNetV3(
        n_classes=CLASSES, dropout_rate=0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
    )


def main() -> None:
    options = json.loads(sys.argv[1])
    sys.path.insert(0, options["folder"])
    torch.set_num_threads(options["threads"])
    torch.manual_seed(0)
    device = options["device"]
    net = published_net().to(device).train()
    package = Path(sys.modules["ofa"].__file__).resolve()
    if not package.is_relative_to(Path(options["folder"]).resolve()):
        raise SystemExit(f"{package} is not the published package: pip install ofa --no-deps --target FOLDER")
    images, labels = batch(options["batch"], options["resolution"], device=device, channels_last=False)
    optimizer = optimizer_of(net)
    print(sum(parameter.numel() for parameter in net.parameters()), flush=True)
    for line in sys.stdin:
        activations = [lambda subnet=subnet: net.set_active_subnet(**subnet) for subnet in json.loads(line)]
        print(seconds(lambda: step(net, activations, optimizer, images, labels), device), flush=True)  # noqa: B023


if __name__ == "__main__":
    main()
