"""Compares the time of an elastic training step with its extracted subnets and with the published implementation.

    python benchmarks/training_step.py [--published FOLDER] [--subnets 30] [--threads 1]

FOLDER holds the published package: ``pip install ofa --no-deps --target FOLDER``; without it, its rows are left out.
Random ``ofa_mbv3`` subnets in train mode, cross-entropy, float32. Prints a Markdown table of medians, on the CPU and on
a GPU when there is one. A step is zero_grad, forward and backward of four subnets, and SGD; no side runs a teacher.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import timm
import torch
from published_step import CLASSES, batch, optimizer_of, seconds, step
from torch import nn
from torch.nn import functional as F

import ofa
from ofa.supernet.families.mobilenetv3.model import build, describe

STEP_SUBNETS = 4
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, metavar="FOLDER", help="folder of the published package")
    parser.add_argument("--subnets", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=7, help="timings of each subnet, the two sides in turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--memory", choices=["elastic", "static"], help=argparse.SUPPRESS)  # this script's own child
    parser.add_argument("--device", choices=["cpu", "cuda"], help="only this one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(peak_memory(options))
        return
    if options.published and not (options.published / "ofa").is_dir():
        raise SystemExit(f"{options.published} has no package: pip install ofa --no-deps --target {options.published}")

    print(f"torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}, {processor()},")
    print(f"{options.threads} thread(s), {options.subnets} subnets, {options.resolution} px, batch {options.batch}\n")
    print("| device | what | elastic | compared with | ratio (middle half) | bound |")
    print("|---|---|---|---|---|---|", flush=True)
    devices = [options.device] if options.device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        options.device = device
        print_row(device, "forward and backward", "the extracted subnet", forward_backward(options), bound=1.05)
        if options.published:
            label = f"step of {STEP_SUBNETS} subnets"
            print_row(device, label, "the published package", whole_step(options), bound=0.5)
        # Alternating: the two sides see the same state of the machine.
        pairs = [[memory_of(side, options) for side in ("elastic", "static")] for _ in range(3)]
        print_row(device, "peak memory of a step", "the static largest network", pairs, bound=1.1, unit="MiB")


def print_row(device: str, what: str, other: str, pairs: list, *, bound: float, unit: str = "ms") -> None:
    """Prints a row from pairs (elastic, other) of medians over repetitions."""
    ratios = sorted(one / two for one, two in pairs)
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    mine, others = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"| {device} | {what} | {mine:.0f} {unit} | {other}: {others:.0f} {unit} | "
        f"{middle:.3f} ({low:.3f} to {high:.3f}) | {bound} |",
        flush=True,
    )


def random_subnets(space: ofa.SearchSpace, n: int) -> list[ofa.Subnet]:
    return [space.decode(code) for code in space.sample(n, np.random.default_rng(0))]


def new_supernet(device: str) -> ofa.Supernet:
    torch.manual_seed(0)
    return ofa.Supernet(ofa.SearchSpace.preset("ofa_mbv3"), num_classes=CLASSES).to(device).train()


def forward_backward(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Milliseconds of each subnet, activated and extracted."""
    net = new_supernet(options.device)
    images, labels = batch(options.batch, options.resolution, device=options.device, channels_last=True)

    def once(model: nn.Module) -> float:
        model.zero_grad()
        return 1e3 * seconds(lambda: F.cross_entropy(model(images), labels).backward(), options.device)

    pairs = []
    for subnet in random_subnets(net.space, options.subnets):
        sides = [net.activate(subnet), net.extract(subnet).train()]
        for model in sides:  # the first run of a shape compiles its kernels
            once(model)
        times: list[list[float]] = [[], []]
        for repeat in range(options.repeats):
            for side in (0, 1) if repeat % 2 else (1, 0):
                times[side].append(once(sides[side]))
        # The ratio of a pair that ran back to back is steadier than the ratio of two medians.
        ratio = statistics.median(one / two for one, two in zip(*times, strict=True))
        static = statistics.median(times[1])
        pairs.append((ratio * static, static))
    return pairs


def whole_step(options: argparse.Namespace) -> list[tuple[float, float]]:
    """Milliseconds of a step on each window of four subnets, ours and the published package's."""
    net = new_supernet(options.device)
    images, labels = batch(options.batch, options.resolution, device=options.device, channels_last=True)
    optimizer = optimizer_of(net)
    subnets = random_subnets(net.space, options.subnets)
    pairs = []
    with published(options) as ask:
        for start in range(-1, options.subnets):  # the first step warms both up
            chosen = [subnets[(start + i) % len(subnets)] for i in range(STEP_SUBNETS)]
            activations = [lambda subnet=subnet: net.activate(subnet) for subnet in chosen]
            run = lambda: step(net, activations, optimizer, images, labels)  # noqa: B023, E731
            mine, theirs = seconds(run, options.device), ask(chosen)
            pairs.append((1e3 * mine, 1e3 * theirs))
    return pairs[1:]


@contextmanager
def published(options: argparse.Namespace) -> Iterator:
    """The published package in its own process, as a function from subnets to the seconds of a step."""
    values = {key: getattr(options, key) for key in ("threads", "device", "batch", "resolution")}
    values["folder"] = str(options.published.resolve())
    script = Path(__file__).with_name("published_step.py")
    with subprocess.Popen(
        [sys.executable, str(script), json.dumps(values)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def read() -> str:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the published package's process ended; its message is above")
            return line

        def ask(subnets: list[ofa.Subnet]) -> float:
            theirs = [{"ks": one.kernels, "e": one.expands, "d": one.depths} for one in subnets]
            process.stdin.write(json.dumps(theirs) + "\n")
            process.stdin.flush()
            return float(read())

        read()  # it is ready
        yield ask
        process.stdin.close()


def memory_of(side: str, options: argparse.Namespace) -> float:
    """``peak_memory`` of a fresh process."""
    command = [sys.executable, __file__, "--memory", side, "--device", options.device]
    for name in ("threads", "batch", "resolution"):
        command += [f"--{name}", str(getattr(options, name))]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(options: argparse.Namespace) -> float:
    """The peak memory of three steps in MiB: on the CPU without the network and its weights, on a GPU in all.

    Static: the largest network. Elastic: three random subnets and then the largest. This is the worst order, because
    the gradients of the others are in memory with the activations of the largest.
    """
    images, labels = batch(options.batch, options.resolution, device=options.device, channels_last=True)
    if options.memory == "elastic":
        net = new_supernet(options.device)
        chosen = [*random_subnets(net.space, STEP_SUBNETS - 1), net.space.largest]
        activations = [lambda subnet=subnet: net.activate(subnet) for subnet in chosen]
    else:
        space = ofa.SearchSpace.preset("ofa_mbv3")
        net = build(describe(space, space.largest, num_classes=CLASSES, in_chans=3))
        net = net.to(options.device, memory_format=torch.channels_last).train()
        activations = [lambda: None]
    optimizer = optimizer_of(net)
    before = 0.0
    if options.device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak that imports left
        before = resident("VmRSS")
    for _ in range(3):
        step(net, activations, optimizer, images, labels)
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    return resident("VmHWM") - before


def resident(key: str) -> float:
    """MiB of this process, now (VmRSS) or at its peak (VmHWM). getrusage would include the parent's before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{name}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else name


if __name__ == "__main__":
    main()
