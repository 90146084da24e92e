"""Checks that the three targets of the quickstart get three networks of clearly different cost with any seed.

    python benchmarks/quickstart_seeds.py [--seeds 10] [--runs FOLDER] [--out benchmarks/results/quickstart_seeds.md]

Runs the shipped recipe with each seed in FOLDER/SEED, and resumes runs that are there already. Exits with 1 when two
targets of one seed got the same network.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ofa

TARGETS = ("server", "phone", "board")


def networks(seed: int, runs: Path) -> dict[str, dict[str, Any]]:
    """The network of each target in the run of one seed."""
    folder = runs / str(seed)
    words = ["run", "quickstart", "--out", str(folder), "--set", f"seed={seed}", "--update"]
    subprocess.run([sys.executable, "-m", "ofa", *words], check=True, stdout=subprocess.DEVNULL)
    return {name: json.loads((folder / "search" / f"{name}.json").read_text()) for name in TARGETS}


def cell(network: dict[str, Any], largest: float) -> str:
    """Id, millions of MACs, measured latency as a fraction of the server's, validation accuracy."""
    measured, predicted = network["measured"], network["predicted"]
    return (
        f"`{network['id']}` {predicted['macs'] / 1e6:.2f} M, {measured['latency'] / largest:.2f}x, "
        f"{100 * measured['accuracy']:.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = options.runs or Path(tempfile.mkdtemp(prefix="quickstart-"))
    rows, alike = [], []
    for seed in range(1, options.seeds + 1):
        found = networks(seed, runs)
        server = found["server"]["measured"]["latency"]
        rows.append([str(seed), *(cell(found[name], server) for name in TARGETS)])
        if len({network["id"] for network in found.values()}) < len(TARGETS):
            alike.append(seed)
        print(" | ".join(rows[-1]), flush=True)
    table = [["seed", *TARGETS], ["---"] * 4, *rows]
    text = (
        "# The quickstart's three networks, by seed\n\n"
        f"`python benchmarks/quickstart_seeds.py --seeds {options.seeds}`; once-for-all {ofa.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}. Each cell: the network, its MACs, its measured\n"
        "latency as a fraction of the server's network, validation accuracy.\n\n"
        + "\n".join(f"| {' | '.join(row)} |" for row in table)
        + f"\n\nSeeds with two targets of one network: {', '.join(map(str, alike)) or 'none'}.\n"
    )
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    sys.exit(1 if alike else 0)


if __name__ == "__main__":
    main()
