"""Compares our parameter and MAC tables with published figures: 1,468 OFA MobileNetV3 subnets, or NAS-Bench-Macro.

python benchmarks/published_costs.py ../shared/data/nas/ofa_mbv3_w1.0_imagenet.csv
python benchmarks/published_costs.py ../shared/data/nas/nas-bench-macro_cifar10.json
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

import ofa
from ofa.supernet.families.efficientnet import nasbench_macro

Figures = dict[str, np.ndarray]  # published parameters and multiply-accumulates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    path = parser.parse_args().table
    if not path.exists():
        raise SystemExit(
            f"{path} is missing: it is DyNAS-T's table of OFA subnets or NAS-Bench-Macro's, see docs/results.md"
        )
    name, num_classes, subnets, published = macro_rows(path) if path.suffix == ".json" else ofa_rows(path)
    space = ofa.SearchSpace.preset(name)
    codes = np.stack([space.encode(subnet) for subnet in subnets])
    print(f"{name}: {len(np.unique(codes, axis=0))} different networks of {space.size:,}")
    for cost, figures in published.items():
        predicted = getattr(ofa.CostTable, cost)(space, num_classes=num_classes).predict(codes)
        print(f"{cost}: {(predicted == figures).sum()} of {len(codes)} rows equal")


def ofa_rows(path: Path) -> tuple[str, int, list[ofa.Subnet], Figures]:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    subnets = [subnet_of(row) for row in rows]
    return "ofa_mbv3", 1000, subnets, {name: figures(rows, name) for name in ("params", "macs")}


def macro_rows(path: Path) -> tuple[str, int, list[ofa.Subnet], Figures]:
    """The table's name for multiply-accumulates is ``flops``."""
    table = json.loads(path.read_text())
    rows = list(table.values())
    subnets = [nasbench_macro.subnet_of(architecture) for architecture in table]
    return "nasbench_macro", 10, subnets, {"params": figures(rows, "params"), "macs": figures(rows, "flops")}


def figures(rows: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([int(row[key]) for row in rows])


def subnet_of(row: dict[str, str]) -> ofa.Subnet:
    depths, kernels, expands = (
        tuple(int(value) for value in row[name].split("-")) for name in ("depths", "kernels", "expands")
    )
    return ofa.Subnet(int(row["resolution"]), depths, kernels, expands)


if __name__ == "__main__":
    main()
