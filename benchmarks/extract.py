"""Measures how long it takes to extract a subnet: milliseconds, median over random subnets, one thread.

python benchmarks/extract.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

import ofa
from ofa.supernet import families

SUBNETS = 20


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {SUBNETS} random subnets\n\n| space | median ms | slowest ms |\n|---|---|---|")
    for name in families.presets():
        space = ofa.SearchSpace.preset(name)
        net = ofa.Supernet(space, num_classes=1000)
        times = []
        for code in space.sample(SUBNETS + 1, np.random.default_rng(0)):
            subnet = space.decode(code)
            started = time.perf_counter()
            net.extract(subnet)
            times.append(1e3 * (time.perf_counter() - started))
        times = times[1:]  # the first imports
        print(f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} |")


if __name__ == "__main__":
    main()
