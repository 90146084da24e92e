"""Elastic timm models on a GPU: equal to timm's at the largest, to their extracts, and what a training step costs.

    python benchmarks/gpu_check.py

A step is forward and backward of one batch under bf16 autocast; ratios are medians of alternating rounds against timm's
plain model in the same process.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import timm
import torch
from torch import nn

from ofa.supernet.supernet import Supernet

NAMES = ("resnet50", "mobilenetv4_conv_medium", "efficientnet_b0", "convnext_tiny", "deit_small_patch16_224")
BATCH, ROUNDS = 64, 15


def step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    torch.cuda.synchronize()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - start


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    """The largest of all logits, relative to the largest logit."""
    expected = one(images)
    return float((expected - other(images)).abs().max() / expected.abs().max())


def main() -> None:
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(0)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, timm {timm.__version__}, batch {BATCH} at 224 px"
    )
    print("| model | largest, differs by | 5 subnets, differ by | step / timm's | random / largest | activate ms |")
    print("|---|---|---|---|---|---|")
    for name in NAMES:
        plain = timm.create_model(name, num_classes=100).cuda()
        net = Supernet.from_timm(plain, elastic={"resolutions": [160, 224]})
        plain = plain.to(memory_format=torch.channels_last)
        images = torch.randn(BATCH, 3, 224, 224, device="cuda").contiguous(memory_format=torch.channels_last)
        labels = torch.randint(100, (BATCH,), device="cuda")
        subnets = [net.space.decode(code) for code in net.space.sample(5, np.random.default_rng(0))]

        net.eval(), plain.eval()
        few = images[:8]
        largest = difference(plain, net, few)
        others = max(
            difference(net.extract(one).cuda(), net.activate(one), few[..., : one.resolution, : one.resolution])
            for one in subnets
        )
        net.train(), plain.train()
        ratios, shares, waits = [], [], []
        for round_ in range(ROUNDS + 3):
            base = step(plain, images, labels)
            net.activate(net.space.largest)
            full = step(net, images, labels)
            start = time.perf_counter()
            net.activate(subnets[round_ % len(subnets)])
            waits.append(time.perf_counter() - start)
            shares.append(step(net, images, labels) / full)
            ratios.append(full / base)
        median = statistics.median
        print(
            f"| {name} | {largest:.1e} | {others:.1e} | {median(ratios[3:]):.2f} | {median(shares[3:]):.2f} "
            f"| {1000 * median(waits[3:]):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
