"""Measures how well latency tables predict unseen whole subnets, and how well measurements repeat.

python benchmarks/latency_tables.py [--runtimes onnxruntime torch litert litert-int8] [--subnets 30] [SPACE ...]

A space is a preset or a name of timm, and may be restricted to some resolutions: ofa_mbv3@128,224 resnet18@64,96. Of
the same timings, the column "one fraction" tells what a table without caches would have predicted.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import time
from typing import Any

import ofa
from ofa.predictors.costs.latency import correction
from ofa.predictors.costs.latency.timer import in_this_process
from ofa.supernet import families

COLUMNS = "space, runtime, parts, seconds, error (MAPE), one fraction, Kendall tau, repeat error, repeat tau, kept MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=["tiny_mbv3", "ofa_mbv3@128,224"])
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "torch"])
    parser.add_argument("--subnets", type=int, default=30, help="unseen whole subnets")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args()
    print(f"| {COLUMNS.replace(', ', ' | ')} |")
    print("|---" * len(COLUMNS.split(", ")) + "|")
    for name in options.spaces:
        for runtime in options.runtimes:
            settings = {"num_classes": options.classes, "test_subnets": options.subnets, "rounds": options.rounds}
            print(_row(name, runtime, settings), flush=True)
    print(f"\n{_machine()}")


def _row(name: str, runtime: str, settings: dict[str, Any]) -> str:
    space = _space(name)
    module, _, precision = runtime.partition("-")
    module = importlib.import_module(f"ofa.export.runtimes.{module}")
    convert, bits = (module.convert_int8, 8) if precision else (module.convert, 32)
    times = []

    def timer(models: Any, **how: Any) -> Any:
        times.append(in_this_process(module, threads=1)(models, **how))
        return times[0]

    started = time.perf_counter()
    options = {**settings, "runtime": module, "info": {"bits": bits}}
    table = ofa.CostTable.latency(space, part=convert, timer=timer, **options)
    seconds = time.perf_counter() - started

    # The same timings once more; no error is so low that caches count.
    better, correction.BETTER = correction.BETTER, 0.0
    plain = ofa.CostTable.latency(
        space, part=lambda *_: None, timer=lambda *_, **__: times[0], progress=False, **options
    )
    correction.BETTER = better

    found, info = table.info["quality"], table.info
    version = f"{runtime.partition('-')[0]} {info['version']}{', int8' if precision else ''}"
    return (
        f"| {name} | {version} | {info['blocks']} | {seconds:.0f} | {found['mape']:.1%} | "
        f"{plain.info['quality']['mape']:.1%} | {found['kendall_tau']:.3f} | {found['repeat_mape']:.1%} | "
        f"{found['repeat_kendall_tau']:.3f} | {info.get('kept_bytes', 0) / 1e6:.1f} |"
    )


def _space(name: str) -> ofa.SearchSpace:
    model, _, sides = name.partition("@")
    resolutions = [int(side) for side in sides.split(",")] if sides else None
    if model in families.presets():
        space = ofa.SearchSpace.preset(model)
        return ofa.SearchSpace.from_dict({**space.to_dict(), "resolutions": resolutions}) if sides else space
    return ofa.SearchSpace.from_timm(model, **({"resolutions": resolutions} if sides else {}))


def _machine() -> str:
    from ofa.export.runtimes.machine import cpu_name

    return f"{cpu_name()}, one thread, Python {platform.python_version()}, {platform.system()} {platform.release()}"


if __name__ == "__main__":
    main()
