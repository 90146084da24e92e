"""Measures how other processes slow down each stage, by default and with the best way to use the cores.

    python benchmarks/busy_machine.py [--rounds 3] [--rows train,collect] > benchmarks/results/busy_machine.md

Each stage runs in one process for each policy: the product's default, and settings that a user could choose. Policies
take turns, beside no, one and two busy processes. A cell is the default's time over that of the best policy, from the
medians of the rounds. Needs an idle machine; takes about seven minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
PRODUCT = "product"
TORCH = {
    PRODUCT: {},
    f"libgomp's spin, {CORES} threads": {"OMP_NUM_THREADS": str(CORES), "GOMP_SPINCOUNT": "300000"},
    f"passive, {CORES} threads": {"OMP_NUM_THREADS": str(CORES), "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BLAS = {PRODUCT: {}, f"{CORES} BLAS threads": {"OPENBLAS_NUM_THREADS": str(CORES), "OFA_BENCHMARK_BLAS": "1"}}
ROWS = {
    "train": ("training step, tiny_mbv3, 32 images, largest network", TORCH),
    "collect": ("accuracy of a network, tiny_mbv3, 768 images", TORCH),
    "gp": ("predict: Gaussian process, 1,000 rows", BLAS),
    "mlp": ("predict: MLP, 1,000 rows", BLAS),
    "search": ("search: evolution, ofa_mbv3", BLAS),
}
ONCE = ("gp", "mlp")  # one call a round tells enough
SETTLE_SECONDS = 15.0  # for the product to see that the machine changed
TOO_LONG = 2.5  # a policy so many times slower than the product is stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a policy in a round")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    found = {name: measure(name, options.rounds, options.seconds) for name in options.rows.split(",")}
    print("\n".join(page(found)))


def measure(name: str, rounds: int, seconds: float) -> list[dict[str, float]]:
    """Seconds of a unit of work for each policy, beside no, one and two busy processes; infinite when stopped."""
    states = []
    with workers(name) as asked:
        for busy in range(3):
            with busy_processes(busy):
                if name not in ONCE:
                    asked[PRODUCT](SETTLE_SECONDS, None)
                times: dict[str, list[float]] = {policy: [] for policy in asked}
                for _ in range(1 if name in ONCE else rounds):
                    for policy, ask in asked.items():
                        limit = TOO_LONG * times[PRODUCT][-1] if name in ONCE and policy != PRODUCT else None
                        times[policy].append(ask(0.0 if name in ONCE else seconds, limit))
            states.append({policy: statistics.median(values) for policy, values in times.items()})
            print(name, busy, {policy: round(value, 4) for policy, value in states[-1].items()}, file=sys.stderr)
    return states


@contextmanager
def workers(name: str) -> Iterator[dict[str, Callable[[float, float | None], float]]]:
    """A process for each policy, run in turn. One that takes too long is killed and started again."""
    alive: dict[str, subprocess.Popen] = {}

    def start(policy: str) -> None:
        settings = ("OMP_", "GOMP_", "MKL_", "OPENBLAS_")
        given = {key: value for key, value in os.environ.items() if not key.startswith(settings)}
        alive[policy] = subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            env=given | ROWS[name][1][policy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert alive[policy].stdout.readline() == "ready\n"

    def ask(policy: str, seconds: float, limit: float | None) -> float:
        if alive[policy].poll() is not None:
            start(policy)
        process = alive[policy]
        process.stdin.write(f"{seconds}\n")
        process.stdin.flush()
        before = signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.setitimer(signal.ITIMER_REAL, limit or 0)
        line = answer(process)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if not line:
            process.wait()
        return float(line) if line else float("inf")

    try:
        for policy in ROWS[name][1]:
            start(policy)
        yield {policy: lambda seconds, limit, policy=policy: ask(policy, seconds, limit) for policy in ROWS[name][1]}
    finally:
        for process in alive.values():
            process.kill()
            process.wait()


def answer(process: subprocess.Popen) -> str:
    """The next line that is a number; other lines report a changed number of threads."""
    while (line := process.stdout.readline()) and " " in line:
        print(line, end="", file=sys.stderr)
    return line


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def page(found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    load = os.getloadavg()[2]
    yield "# A busy machine\n"
    yield f"{platform.processor() or platform.machine()}, {CORES} cores; load over the last 15 minutes {load:.1f}."
    yield "A cell: time of a unit of work by default, and how many times that of the best policy.\n"
    yield "| stage | quiet | one busy process | two |\n|---|---|---|---|"
    for name, states in found.items():
        cells = [f"{_seconds(times[PRODUCT])}, {times[PRODUCT] / min(times.values()):.2f}x" for times in states]
        yield f"| {ROWS[name][0]} | {' | '.join(cells)} |"
    yield "\nThe same of every policy:\n\n| stage | policy | quiet | one busy process | two |\n|---|---|---|---|---|"
    for name, states in found.items():
        for policy in ROWS[name][1]:
            yield f"| {name} | {policy} | {' | '.join(_seconds(times[policy]) for times in states)} |"


def _seconds(value: float) -> str:
    return "stopped" if value == float("inf") else f"{1e3 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


# -- in the processes that are measured -------------------------------------------------------------------------------


def work(name: str) -> None:
    """For each line of standard input, works for so many seconds and prints the seconds of a unit of work."""
    import ofa  # noqa: F401  (before torch: it sets how threads wait)
    from ofa.predictors import blas

    if os.environ.get("OFA_BENCHMARK_BLAS"):
        unlimited = SimpleNamespace(limit=lambda **_: nullcontext())
        blas._libraries = lambda: unlimited
    {"train": train, "collect": collect}.get(name, lambda: repeat(CALLS[name]()))()


def asked() -> Iterator[float]:
    print("ready", flush=True)
    for line in sys.stdin:
        yield float(line)


def repeat(call: Callable[[], object]) -> None:
    for seconds in asked():
        started, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - started < seconds:
            call()
            count += 1
        print((time.perf_counter() - started) / count, flush=True)


def train() -> None:
    """The training loop itself, timed by its requests for batches."""
    import torch

    from ofa.pipeline.threads import training_threads
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.supernet.space import SearchSpace
    from ofa.supernet.supernet import Supernet
    from ofa.supernet.training.phases import progressive_shrinking
    from ofa.supernet.training.settings import Settings
    from ofa.supernet.training.weight_sharing import train_supernet

    # One network at one resolution, so that every step of every policy is the same work.
    space = SearchSpace.preset("tiny_mbv3")
    space = SearchSpace.from_dict({**space.to_dict(), "resolutions": [space.resolutions[-1]]})
    side = space.resolutions[-1]
    images, labels = torch.randint(256, (32, 3, side, side), dtype=torch.uint8), torch.randint(10, (32,))

    def batches(epoch: int, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for seconds in asked():
            started, count = time.perf_counter(), 0
            while count < 2 or time.perf_counter() - started < seconds:
                yield images, labels
                count += 1
            print((time.perf_counter() - started) / count, flush=True)

    threads = training_threads(told=lambda sentence: print(f"  {sentence}", file=sys.stderr))
    with threads.used():
        train_supernet(
            Supernet(space, num_classes=10),
            progressive_shrinking(space, epochs=10**6, lr=1e-4)[:1],
            batches,
            steps_per_epoch=10**6,
            normalize=lambda given: given.float() / 128 - 1,
            settings=Settings(),
            macs=CostTable.macs(space, num_classes=10).predict,
            threads=threads,
            progress=False,
        )


def collect() -> None:
    """Calibration and accuracy, as in the stages."""
    import numpy as np
    import torch

    from ofa.pipeline.threads import EvaluationThreads
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.predictors.metrics import top1
    from ofa.supernet.calibration import calibrate
    from ofa.supernet.space import SearchSpace
    from ofa.supernet.supernet import Supernet

    space = SearchSpace.preset("tiny_mbv3")
    net, macs = Supernet(space, num_classes=10).eval(), CostTable.macs(space, num_classes=10)
    evaluation, code = EvaluationThreads(), space.sample(1, np.random.default_rng(0))[0]
    code[0] = len(space.resolutions) - 1
    images = [torch.randn(256, 3, space.resolutions[-1], space.resolutions[-1]) for _ in range(3)]
    images = [batch.contiguous(memory_format=torch.channels_last) for batch in images]
    labels = torch.zeros(256, dtype=torch.int64)

    def evaluate() -> None:
        subnet = space.decode(code)
        with torch.no_grad():
            evaluation.ready(lambda: net.activate(subnet)(images[0][:64]))
        with evaluation.timed(macs.predict(code[None])[0]):
            model = calibrate(net.extract(subnet), images[:1])
            top1(model, [(batch, labels) for batch in images[1:]])

    with evaluation.threads.used():
        repeat(evaluate)


def _rows() -> tuple:
    import numpy as np

    from ofa.supernet.space import SearchSpace

    space, rng = SearchSpace.preset("ofa_mbv3"), np.random.default_rng(0)
    codes = space.sample(1000, rng)
    return space, codes, 0.7 + 0.01 * codes[:, 1:].mean(axis=1) + 0.002 * rng.standard_normal(len(codes))


def fit(kind: str) -> Callable[[], object]:
    from ofa.predictors.accuracy.predictor import AccuracyPredictor

    space, codes, accuracy = _rows()
    return lambda: AccuracyPredictor(space, kind=kind).fit(codes, accuracy)


def search() -> Callable[[], object]:
    from ofa.predictors.accuracy.predictor import AccuracyPredictor
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.strategies.search import search as find

    space, codes, accuracy = _rows()
    predictor, macs = AccuracyPredictor(space).fit(codes[:300], accuracy[:300]), CostTable.macs(space, num_classes=1000)
    return lambda: find(space, predictor, limits={macs: 300e6})


CALLS = {"gp": lambda: fit("gp"), "mlp": lambda: fit("mlp"), "search": search}

if __name__ == "__main__":
    main()
