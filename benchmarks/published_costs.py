"""Compares our parameter and MAC tables with the published figures of 1,468 OFA MobileNetV3 subnets.

python benchmarks/published_costs.py ../shared/data/nas/ofa_mbv3_w1.0_imagenet.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import ofa


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    path = parser.parse_args().csv
    if not path.exists():
        raise SystemExit(f"{path} is missing: it is DyNAS-T's table of OFA subnets, see docs/results.md")
    space = ofa.SearchSpace.preset("ofa_mbv3")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    codes = np.stack([space.encode(subnet_of(row)) for row in rows])
    for name in ("params", "macs"):
        predicted = getattr(ofa.CostTable, name)(space, num_classes=1000).predict(codes)
        published = np.array([int(row[name]) for row in rows])
        print(f"{name}: {(predicted == published).sum()} of {len(rows)} rows equal")


def subnet_of(row: dict[str, str]) -> ofa.Subnet:
    depths, kernels, expands = (
        tuple(int(value) for value in row[name].split("-")) for name in ("depths", "kernels", "expands")
    )
    return ofa.Subnet(int(row["resolution"]), depths, kernels, expands)


if __name__ == "__main__":
    main()
