"""Compares imported checkpoints with the published networks: the same subnets, the same images, the same outputs.

    PYTHONPATH=tests/oracles python benchmarks/import_ofa.py --published FOLDER [--subnets 20] [--resolution 128]

FOLDER holds the published package: ``pip install ofa --no-deps --target FOLDER``. Nothing else is downloaded: weights,
statistics and kernel matrices are random. Each network is saved by the package, in both spellings of its keys, and
imported here; the largest, the smallest and random subnets must give the same logits. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import timm
import torch
from published_networks import BOUND, PUBLISHED, compare, has_package


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, required=True, metavar="FOLDER", help="folder of the package")
    parser.add_argument("--subnets", type=int, default=20, help="random ones, beside the largest and smallest")
    parser.add_argument("--resolution", type=int, default=128)
    options = parser.parse_args()
    if not has_package(options.published):
        raise SystemExit(f"{options.published} has no package: pip install ofa --no-deps --target {options.published}")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}\n")
    print("| network | space | keys | parameters | subnets | float64 | float32 |")
    print("|---|---|---|---|---|---|---|", flush=True)
    failed = []
    for name, published in PUBLISHED.items():
        found = compare(published, options.published, subnets=options.subnets, resolution=options.resolution)
        print(
            f"| {name} | `{published.preset}` | {found.keys} | {found.parameters:,} | {found.subnets} | "
            f"{found.float64:.1e} | {found.float32:.1e} |",
            flush=True,
        )
        if found.float64 > BOUND:
            failed.append(name)
    if failed:
        raise SystemExit(f"above {BOUND}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
