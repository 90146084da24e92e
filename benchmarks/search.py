"""Measures time and memory of a search, and compares it with the published implementation.

    python benchmarks/search.py [--published FOLDER] [--rounds 5]

FOLDER holds the published package: ``pip install ofa --no-deps --target FOLDER``; without it, nothing is compared. All
searches are on ``ofa_mbv3``, with one thread, at most 300 M multiply-accumulates and populations of 100. Ours and the
published one take turns; the published one has fewer generations because it is slow. Both are measured in subnets
evaluated per second of processor time, so that other work on the machine does not count. All predictors are fitted on
300 subnets with made-up accuracies that grow with size. Prints a Markdown table of medians.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sklearn

import ofa

GENERATIONS, PUBLISHED_GENERATIONS, ROWS, LIMIT = 500, 30, 300, 300e6
MILLION, PART = 1_000_000, 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, metavar="FOLDER", help="folder of the published package")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=["mlp", "gp"], help=argparse.SUPPRESS)  # this script's own child
    options = parser.parse_args()
    space = ofa.SearchSpace.preset("ofa_mbv3")
    macs = ofa.CostTable.macs(space, num_classes=1000)
    if options.memory:
        search(space, macs, fitted(space, macs, options.memory))
        million(space, macs)
        print(peak())
        return
    if options.published and not (options.published / "ofa").is_dir():
        raise SystemExit(f"{options.published} has no package: pip install ofa --no-deps --target {options.published}")

    print(
        f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, Python {platform.python_version()}, {processor()}"
    )
    print(f"\nMedians (lowest to highest) of {options.rounds} rounds.\n")
    print(f"Ours: {GENERATIONS} generations; the published package: {PUBLISHED_GENERATIONS}.\n")
    print("| what | ours | the published package | ratio | bound |")
    print("|---|---|---|---|---|")
    with published(options.published) as ask:
        for kind in ("mlp", "gp"):
            predictor = fitted(space, macs, kind)
            ours, theirs, seconds = [], [], []
            for _ in range(options.rounds):
                took, evaluated = search(space, macs, predictor)
                seconds.append(took)
                ours.append(evaluated / took)
                theirs.append(ask())
            ratios = [one / two for one, two in zip(ours, theirs, strict=True)] if options.published else [np.nan]
            print(
                f"| subnets evaluated a second, {kind} | {spread(ours)} | {spread(theirs)} | "
                f"{spread(ratios)} | >= 50 |\n"
                f"| search of 100 x {GENERATIONS}, {kind} | {spread(seconds, 2)} s | | | about 1 s |",
                flush=True,
            )
    times = [million(space, macs) for _ in range(options.rounds)]
    print(f"| costing {MILLION:,} subnets | {spread(times, 2)} s | | | <= 2 s |", flush=True)
    for kind in ("mlp", "gp"):
        command = [sys.executable, __file__, "--memory", kind]
        mib = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"| peak memory of a process that does both, {kind} | {mib * 2**20 / 1e6:.0f} MB | | | < 400 MB |")


def fitted(space: ofa.SearchSpace, macs: ofa.CostTable, kind: str) -> ofa.AccuracyPredictor:
    rng = np.random.default_rng(0)
    codes = space.sample(ROWS, rng)
    return ofa.AccuracyPredictor(space, kind=kind).fit(
        codes, 10 * np.log(macs.predict(codes)) + rng.normal(0, 0.1, ROWS)
    )


def search(space: ofa.SearchSpace, macs: ofa.CostTable, predictor: ofa.AccuracyPredictor) -> tuple[float, int]:
    """Seconds of processor time, and the number of distinct subnets evaluated."""
    started = time.process_time()
    found = ofa.search(space, predictor, limits={macs: LIMIT}, population=100, generations=GENERATIONS)
    return time.process_time() - started, found.evaluated


def million(space: ofa.SearchSpace, macs: ofa.CostTable) -> float:
    rng = np.random.default_rng(0)
    codes = np.concatenate([space.sample(PART, rng) for _ in range(MILLION // PART)])
    started = time.process_time()
    macs.predict(codes)
    return time.process_time() - started


@contextmanager
def published(folder: Path | None) -> Iterator[Callable[[], float]]:
    """The published package in its own process, as a function that searches and returns subnets per second."""
    if folder is None:
        yield lambda: np.nan
        return
    script = Path(__file__).with_name("published_search.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(folder.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def read() -> str:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the published package's process ended; see: {sys.executable} {script} {folder}")
            return line

        def ask() -> float:
            process.stdin.write(f"{PUBLISHED_GENERATIONS}\n")
            process.stdin.flush()
            seconds, evaluated = map(float, read().split())
            return evaluated / seconds

        read()  # it is ready
        yield ask
        process.stdin.close()


def spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def peak() -> float:
    """The peak memory of this process in MiB. getrusage would include the parent's before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")


if __name__ == "__main__":
    main()
