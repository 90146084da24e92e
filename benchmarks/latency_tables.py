"""Measures how well latency tables predict unseen whole subnets, and how well measurements repeat.

python benchmarks/latency_tables.py [--runtimes onnxruntime torch litert litert-int8] [--subnets 30] [SPACE ...]

A space may be restricted to some resolutions: ofa_mbv3@128,224.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import time

import ofa


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=["tiny_mbv3", "ofa_mbv3@128,224"])
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "torch"])
    parser.add_argument("--subnets", type=int, default=30, help="unseen whole subnets")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print("| space | runtime | parts | seconds | error (MAPE) | Kendall tau | repeat error | repeat tau |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.spaces:
        for runtime in options.runtimes:
            print(_row(name, runtime, subnets=options.subnets, rounds=options.rounds), flush=True)
    print(f"\n{_machine()}")


def _row(name: str, runtime: str, *, subnets: int, rounds: int) -> str:
    preset, _, sides = name.partition("@")
    space = ofa.SearchSpace.preset(preset)
    if sides:
        space = ofa.SearchSpace.from_dict({**space.to_dict(), "resolutions": [int(side) for side in sides.split(",")]})
    module, _, precision = runtime.partition("-")
    module = importlib.import_module(f"ofa.export.runtimes.{module}")
    part = getattr(module, f"part_{precision}") if precision else module.part
    started = time.perf_counter()
    table = ofa.CostTable.latency(
        space, num_classes=1000, runtime=module, part=part, test_subnets=subnets, rounds=rounds
    )
    found, info = table.info["quality"], table.info
    return (
        f"| {name} | {runtime} {info['version']} | {info['blocks']} | {time.perf_counter() - started:.0f} | "
        f"{found['mape']:.1%} | {found['kendall_tau']:.3f} | {found['repeat_mape']:.1%} | "
        f"{found['repeat_kendall_tau']:.3f} |"
    )


def _machine() -> str:
    from ofa.export.runtimes.machine import cpu_name

    return f"{cpu_name()}, one thread, Python {platform.python_version()}, {platform.system()} {platform.release()}"


if __name__ == "__main__":
    main()
