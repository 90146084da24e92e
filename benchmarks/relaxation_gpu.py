"""Memory and time of a relaxed step on a GPU, against the largest subnet's.

    python benchmarks/relaxation_gpu.py [SPACE:BATCH:RESOLUTION ...]

SPACE is a preset or a timm model. A step is forward in train mode, cross-entropy and backward; memory is what it
allocates above weights, at its fullest; time is the median of ratios of pairs that ran in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ofa
from ofa.supernet import families

CASES = ["ofa_mbv3:64:224", "ofa_mbv3:16:128", "ofa_resnet50:32:224", "resnet18:64:224"]
PAIRS, WARM_UP = 8, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=CASES, metavar="SPACE:BATCH:RESOLUTION")
    print("| space | batch | largest, MiB | relaxed, MiB | memory | time |\n|---|---|---|---|---|---|")
    for case in parser.parse_args().cases:
        name, batch, side = case.split(":")
        print(row(name, int(batch), int(side)), flush=True)


def row(name: str, batch: int, side: int) -> str:
    published = name in families.presets()
    space = ofa.SearchSpace.preset(name) if published else ofa.SearchSpace.from_timm(name, resolutions=[side])
    net = ofa.Supernet(space, num_classes=1000).cuda().train()
    relaxed = ofa.Relaxed(net).cuda().train()
    images = torch.randn(batch, 3, side, side, device="cuda")
    labels = torch.randint(0, 1000, (batch,), device="cuda")
    ratios = []
    for pair in range(PAIRS):
        net.activate(space.largest)
        largest, largest_seconds = step(net, images, labels)
        mixed, mixed_seconds = step(relaxed, images, labels)
        if pair >= WARM_UP:
            ratios.append(mixed_seconds / largest_seconds)
    memory = f"{largest / 2**20:.0f} | {mixed / 2**20:.0f} | {mixed / largest:.3f}"
    return f"| {name} | {batch} x {side} px | {memory} | {statistics.median(ratios):.2f} |"


def step(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[int, float]:
    """Bytes at the fullest, and seconds."""
    model.zero_grad()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    started = time.perf_counter()
    F.cross_entropy(model(images), labels).backward()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    used = torch.cuda.max_memory_allocated() - before
    model.zero_grad()
    return used, seconds


if __name__ == "__main__":
    main()
