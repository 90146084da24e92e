"""Compares int8 with float32: latency of ten subnets on two runtimes, in interleaved rounds, and sizes of their files.

    python benchmarks/int8.py [--rounds 30]

Weights are random, because they change neither time nor size. Times are relative to the same subnet in float32 on ONNX
Runtime.
"""

from __future__ import annotations

import argparse
import platform

import numpy as np

import ofa
from ofa.export.runtimes import litert, onnxruntime
from ofa.export.runtimes.machine import cpu_name
from ofa.export.runtimes.timing import interleaved, lower_quartile
from ofa.predictors.sampling import stratified_sample
from ofa.supernet import families

SPACES = {"tiny_mbv3": 3, "mcu": 3, "ofa_mbv3": 4}
KINDS = {
    "ORT float32": (onnxruntime, onnxruntime.convert),
    "ORT int8": (onnxruntime, onnxruntime.convert_int8),
    "LiteRT float32": (litert, litert.convert),
    "LiteRT int8": (litert, litert.convert_int8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    rows = [(name, subnet) for name, count in SPACES.items() for subnet in _spread(name, count)]
    calls, sizes = [], []
    for name, subnet in rows:
        space = ofa.SearchSpace.preset(name)
        family = families.model(space.family)
        model = family.build(family.describe(space, subnet, num_classes=1000, in_chans=3)).eval()
        shape = (3, subnet.resolution, subnet.resolution)
        for runtime, part in KINDS.values():
            content = part(model, shape)
            calls.append(runtime.bind(runtime.load(content), (1, *shape)))
            sizes.append(len(content) / 1024)
    times = 1e3 * lower_quartile(interleaved(calls, rounds=options.rounds, progress=False)).reshape(
        len(rows), len(KINDS)
    )
    kilobytes = np.reshape(sizes, times.shape)
    print(f"| space | subnet, pixels | ms | {' | '.join(KINDS)} | KB: {' | KB: '.join(KINDS)} |")
    print("|" + "---|" * (3 + 2 * len(KINDS)))
    for (name, subnet), time, size in zip(rows, times, kilobytes, strict=True):
        ratios, files = (
            " | ".join(cells) for cells in ([f"{t / time[0]:.2f}" for t in time], [f"{s:.0f}" for s in size])
        )
        print(f"| {name} | {subnet.id}, {subnet.resolution} | {time[0]:.3f} | {ratios} | {files} |")
    print(f"\n{cpu_name()}, one thread, Python {platform.python_version()}, ", end="")
    print(
        ", ".join(
            f"{each['runtime']} {each['version']}" for each in (m.environment(threads=1) for m in (onnxruntime, litert))
        )
    )


def _spread(name: str, count: int) -> list[ofa.Subnet]:
    space = ofa.SearchSpace.preset(name)
    macs = ofa.CostTable.macs(space, num_classes=1000)
    return [space.decode(code) for code in stratified_sample(space, count, macs, np.random.default_rng(0))]


if __name__ == "__main__":
    main()
