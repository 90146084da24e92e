"""How well do latency tables predict whole subnets that they never saw? Beside it, how well a measurement repeats.

python benchmarks/latency_tables.py [--subnets 30] [SPACE ...]
"""

from __future__ import annotations

import argparse
import time

import ofa
from ofa.supernet.presets import PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", default=["tiny_mbv3", "ofa_mbv3"], choices=list(PRESETS))
    parser.add_argument("--subnets", type=int, default=30, help="unseen whole subnets")
    options = parser.parse_args()
    print("| space | blocks | seconds | error (MAPE) | Kendall tau | repeat error | repeat tau | runtime |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.spaces:
        started = time.perf_counter()
        space = ofa.SearchSpace.preset(name)
        table = ofa.CostTable.latency(space, num_classes=1000, test_subnets=options.subnets)
        found, info = table.info["quality"], table.info
        print(
            f"| {name} | {info['blocks']} | {time.perf_counter() - started:.0f} | {found['mape']:.1%} | "
            f"{found['kendall_tau']:.3f} | {found['repeat_mape']:.1%} | {found['repeat_kendall_tau']:.3f} | "
            f"{info['runtime']} {info['version']}, {info['threads']} thread, {info['cpu']} |"
        )


if __name__ == "__main__":
    main()
