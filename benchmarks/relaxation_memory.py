"""Compares a step of a relaxed supernet with one of its largest subnet, and of an ordinary mixed-operation network.

    python benchmarks/relaxation_memory.py [SPACE:BATCH:RESOLUTION ...] [--repeats 7]

A step is forward in train mode, cross-entropy, backward, and SGD with momentum, in float32 on one CPU thread. Relaxed
networks get gradients of weights and of architecture parameters. SPACE is a preset, a model of timm, or ``darts`` or
``nasbench201``: these cells, 8 or 15 of them with 16 channels. Prints a Markdown table:

- tensors: bytes that a step allocates above weights, gradients and momentum, at its fullest (torch's profiler).
- resident: the peak of the process's resident memory, weights and libraries included (a process of its own).
- time: processor time, the median of ratios of pairs that ran in turn.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from mixed_operations import MixedOperations
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import ofa

CLASSES = 100
CELLS = {"darts": {"cells": 8}, "nasbench201": {"cells": 5}}
HEAVY = ("sep_conv_5x5", "nor_conv_3x3")  # the operations of cells with the most weights and maps
CASES = (
    *("tiny_mbv3:64:32", "tiny_mbv3:256:32", "ofa_mbv3:4:128", "ofa_mbv3:16:128", "ofa_mbv3:32:128"),
    *("mobilenetv3_large_100:8:128", "mobilenetv3_large_100:32:128", "resnet18:8:128", "resnet18:32:128"),
    *("convnext_atto:16:128", "deit_tiny_patch16_224:8:224", "nasbench201:16:32", "darts:8:32", "darts:32:32"),
)
MIB = 2**20
Step = Callable[[], None]


class Case(NamedTuple):
    """What is measured: a space, a batch size and a resolution."""

    space: str
    batch: int
    resolution: int


def softmax_weights(alphas: list[Tensor]) -> list[Tensor]:
    return [alpha.softmax(0) for alpha in alphas]


def hard_weights(alphas: list[Tensor]) -> list[Tensor]:
    """One option each, with the gradient of the softmax: as GDAS draws."""
    soft = softmax_weights(alphas)
    return [F.one_hot(one.argmax(), len(one)) + one - one.detach() for one in soft]


def network_of(case: Case, **options: int) -> nn.Module:
    """A supernet, or a cell network with its ``options``."""
    if case.space in CELLS:
        space = ofa.CellSpace.preset(case.space, channels=16, resolution=case.resolution, **CELLS[case.space])
        return ofa.CellNetwork(space, num_classes=CLASSES, **options)
    return ofa.Supernet(space_of(case.space), num_classes=CLASSES)


def space_of(name: str) -> ofa.SearchSpace:
    return ofa.SearchSpace.from_timm(name) if timm.is_model(name) else ofa.SearchSpace.preset(name)


def largest(case: Case) -> Step:
    """The largest network of a space; of cells the one that has a heavy operation everywhere."""
    net = network_of(case).train()
    net.activate(net.space.decode(heaviest(net.space)) if case.space in CELLS else net.space.largest)
    return step_of(net, lambda images: net(images), case, alphas=[])


def heaviest(space: Any) -> np.ndarray:
    """The code of cells whose every connection has a heavy operation."""
    return np.array([next(gene.options.index(name) for name in HEAVY if name in gene.options) for gene in space.genes])


def relaxed(case: Case, weights: Callable[[list[Tensor]], list[Tensor]], **options: int) -> Step:
    """A network with weighted choices."""
    return mixed(network_of(case, **options), case, weights)


def operations(case: Case) -> Step:
    """A MobileNetV3 space of which every option is an operation of its own."""
    return mixed(MixedOperations(space_of(case.space), num_classes=CLASSES), case, softmax_weights)


def mixed(net: nn.Module, case: Case, weights: Callable[[list[Tensor]], list[Tensor]]) -> Step:
    generator = torch.Generator().manual_seed(0)
    alphas = [torch.randn(len(gene.options), generator=generator).requires_grad_() for gene in net.space.genes]
    return step_of(net.train(), lambda images: net.forward_mixed(images, weights(alphas)), case, alphas=alphas)


def step_of(net: nn.Module, forward: Callable[[Tensor], Tensor], case: Case, *, alphas: list[Tensor]) -> Step:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.resolution, case.resolution, generator=generator)
    labels = torch.randint(CLASSES, (case.batch,), generator=generator)
    optimizer = torch.optim.SGD([*net.parameters(), *alphas], lr=1e-3, momentum=0.9, foreach=False)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()

    return step


SIDES: dict[str, Callable[[Case], Step]] = {
    "largest": largest,
    "softmax": lambda case: relaxed(case, softmax_weights),
    "hard": lambda case: relaxed(case, hard_weights),
    "operations": operations,
    "partial": lambda case: relaxed(case, softmax_weights, partial=4),
}


def sides_of(case: Case) -> list[str]:
    """Cells relax by mixed operations anyway, of a part of the channels, too; MobileNetV3 has them for comparison."""
    only = {"operations": case.space.endswith("mbv3"), "partial": case.space in CELLS}
    return [name for name in SIDES if only.get(name, True)]


def allocated(step: Step) -> int:
    """Bytes of tensors that a step has more than there were before it, at its fullest."""
    step()  # gradients and momentum are there now
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = fullest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        fullest = max(fullest, held)
    return fullest


def resident(side: str, case: Case) -> float:
    """Bytes of the peak of a process that takes three steps."""
    case_text = ":".join(map(str, case))
    command = [sys.executable, __file__, case_text, "--resident", side]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_of_this_process() -> int:
    """Bytes; ``getrusage`` would count the parent's, too, whose memory this process had before it was loaded."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024


def times(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Processor time of each side as a ratio of the first one's, in the median of pairs."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    first = next(iter(seconds.values()))
    return {
        name: statistics.median(one / two for one, two in zip(values, first, strict=True))
        for name, values in seconds.items()
    }


def print_rows(case: Case, repeats: int) -> None:
    steps = {name: SIDES[name](case) for name in sides_of(case)}
    tensors = {name: allocated(step) / MIB for name, step in steps.items()}
    ratios = times(steps, repeats)
    steps.clear()
    peaks = {name: resident(name, case) / MIB for name in tensors}
    for name in tensors:
        cells = [
            *(case.space, f"{case.batch} x {case.resolution} px", name),
            *(f"{values[name]:.0f} MiB ({values[name] / values['largest']:.2f})" for values in (tensors, peaks)),
            f"{ratios[name]:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, metavar="SPACE:BATCH:RESOLUTION")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--resident", choices=SIDES, help=argparse.SUPPRESS)  # this script's own child
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [Case(space, int(batch), int(side)) for space, batch, side in (case.split(":") for case in options.cases)]
    if options.resident:
        step = SIDES[options.resident](cases[0])
        for _ in range(3):
            step()
        print(peak_of_this_process())
        return
    print(f"torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}, one thread\n")
    print("| space | batch | step of | tensors | resident | time |")
    print("|---|---|---|---|---|---|", flush=True)
    for case in cases:
        print_rows(case, options.repeats)


if __name__ == "__main__":
    main()
