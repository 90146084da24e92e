"""How many of timm's models become supernets, what of them can be chosen, and how long it takes to find out.

    python benchmarks/timm_models.py > benchmarks/results/timm_models.md

One row a class. A model works when its space is derived and the costs of its largest and smallest subnet are known;
``OFA_ALL_NAMES=1 pytest tests/supernet/derived/test_all_names.py`` compares these with counts of torch, too.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from pathlib import Path

import timm
import torch
from tqdm import tqdm

from ofa.catalogue.models import matching_names
from ofa.supernet import families
from ofa.supernet.derived.derive import base_of
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs
from ofa.supernet.space import SearchSpace

ROLES = ("depth", "width", "expand", "kernel", "heads")
ROOT = Path(__file__).parent.parent


def main() -> None:
    rows: dict[str, list[dict]] = {}
    failed: list[str] = []
    for name in tqdm(matching_names(None), file=sys.stderr):
        timm_class = type(base_of(name, {})).__name__
        if timm_class not in families.derived_classes():
            continue
        start = time.perf_counter()
        try:
            space = SearchSpace.from_timm(name)
            costs = [
                sum(
                    int(macs(part, side)) for part, side in parts_of_subnet(space, subnet, num_classes=1000, in_chans=3)
                )
                for subnet in (space.smallest, space.largest)
            ]
        except ValueError as error:
            failed.append(f"- `{name}`: {error}")
            rows.setdefault(timm_class, []).append({})
            continue
        seconds = time.perf_counter() - start
        chosen = {gene.role for gene in space.genes if len(gene.options) > 1}
        rows.setdefault(timm_class, []).append({"seconds": seconds, "chosen": chosen, "share": costs[0] / costs[1]})

    print("# timm's models as supernets\n\n`python benchmarks/timm_models.py`\n")
    print(f"torch {torch.__version__}, timm {timm.__version__}, Python {platform.python_version()}. Columns of choices")
    print("count the models that have some. The share: MACs of the smallest subnet of the largest's, with defaults.\n")
    print(f"| timm class | family, lines | models | work | {' | '.join(ROLES)} | share, median | seconds, median |")
    print("|---" * (len(ROLES) + 6) + "|")
    for timm_class, found in rows.items():
        family = families.derived_classes()[timm_class]
        folder = ROOT / "supernet" / "families" / family
        lines = sum(len(path.read_text().splitlines()) for path in folder.glob("*.py") if path.name != "presets.py")
        works = [row for row in found if row]
        counts = [str(sum(role in row["chosen"] for row in works)) for role in ROLES]
        share = statistics.median(row["share"] for row in works)
        seconds = statistics.median(row["seconds"] for row in works)
        print(
            f"| {timm_class} | {family}, {lines} | {len(found)} | {len(works)} | {' | '.join(counts)} "
            f"| {share:.2f} | {seconds:.2f} |"
        )
    total = [sum(map(len, rows.values())), sum(bool(row) for found in rows.values() for row in found)]
    print(f"\n{total[1]} of {total[0]} work." + (" The others:\n\n" + "\n".join(failed) if failed else ""))


if __name__ == "__main__":
    main()
