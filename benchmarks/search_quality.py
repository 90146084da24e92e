"""Compares the results of searches with the optimum of tabulated spaces, and with pymoo's NSGA-II.

    python benchmarks/search_quality.py FOLDER [--pymoo FOLDER] [--latency TABLE]

FOLDER holds nas-bench-macro_cifar10.json, nasbench201_200epochs.csv and ofa_mbv3_w1.0_imagenet.csv. ``--pymoo`` is the
FOLDER of ``pip install pymoo --target FOLDER``; without it, that comparison is left out. ``--latency`` is a latency
table of ``ofa_mbv3`` (``CostTable.save``); without it, multiply-accumulates are used instead. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from published_costs import subnet_of

import ofa
from ofa.strategies.pareto import front
from ofa.strategies.table import STRATEGIES
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.integers import ceil_div

QUERIES = (50, 100, 200, 500)
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
WEIGHTS = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
POPULATION = 20
ROWS, GENERATIONS, FRONT_POPULATION = 300, 50, 100

# From space, predictor, cost and seed to the codes that were evaluated.
Run = Callable[[ofa.SearchSpace, ofa.AccuracyPredictor, ofa.CostTable, int], np.ndarray]


class Table(NamedTuple):
    """A space all of whose networks were trained: accuracy and cost by code."""

    name: str
    space: CategoricalSpace
    accuracy: np.ndarray
    costs: np.ndarray


class Asked:
    """The true accuracy of codes; records the codes in the order of the calls."""

    def __init__(self, table: Table) -> None:
        self._table, self.answers = table, np.empty(0)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        found = self._table.accuracy[tuple(codes.T)]
        self.answers = np.concatenate([self.answers, found])
        return found


class Looked:
    """A cost by code."""

    unit = ""

    def __init__(self, table: Table) -> None:
        self.name, self._table = "cost", table

    def predict(self, codes: np.ndarray) -> np.ndarray:
        return self._table.costs[tuple(codes.T)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pymoo", type=Path, metavar="FOLDER")
    parser.add_argument("--latency", type=Path, metavar="TABLE")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--front-seeds", type=int, default=10)
    options = parser.parse_args()
    if not options.folder.is_dir():
        raise SystemExit(
            f"{options.folder} is missing; it is the folder of tabulated networks that the first lines name"
        )
    print(f"numpy {np.__version__}, Python {platform.python_version()}\n")
    print(
        f"Regret in points of accuracy: mean of {options.seeds} seeds (share of seeds that found the best network).\n"
    )
    print("| space | networks | best | strategy |" + "".join(f" {count} queries |" for count in QUERIES))
    print("|---|---|---|---|" + "---|" * len(QUERIES))
    for table in tables(options.folder):
        for strategy in STRATEGIES:
            regrets = np.array([regret(table, strategy, seed) for seed in range(options.seeds)])
            cells = (
                f" {mean:.3f} ({hit:.0%}) |" for mean, hit in zip(regrets.mean(0), (regrets == 0).mean(0), strict=True)
            )
            best = table.accuracy.max()
            print(f"| {table.name} | {table.space.size:,} | {best:.2f} | {strategy} |" + "".join(cells), flush=True)
    if options.pymoo:
        sys.path.append(str(options.pymoo))
        fronts(options)


def tables(folder: Path) -> list[Table]:
    networks = json.loads((folder / "nas-bench-macro_cifar10.json").read_text())
    macro = CategoricalSpace([3] * 8)
    codes = np.array([[int(digit) for digit in name] for name in networks])
    accuracy, costs = (np.full(macro.num_options, np.nan) for _ in range(2))
    accuracy[tuple(codes.T)] = [values["mean_acc"] for values in networks.values()]
    costs[tuple(codes.T)] = [values["flops"] for values in networks.values()]
    found = [Table("NAS-Bench-Macro, CIFAR-10", macro, accuracy, costs)]

    cells = CategoricalSpace([len(OPERATIONS)] * 6)
    codes, rows = nas_bench_201_codes(folder / "nasbench201_200epochs.csv", "ArchitectureString")
    costs = np.full(cells.num_options, np.nan)
    costs[tuple(codes.T)] = [sum(WEIGHTS.get(OPERATIONS[choice], 0) for choice in code) for code in codes]
    for name, column in (("CIFAR-10", "CIFAR10"), ("CIFAR-100", "CIFAR100"), ("ImageNet16-120", "ImageNet")):
        accuracy = np.full(cells.num_options, np.nan)
        accuracy[tuple(codes.T)] = [float(row[f"{column}TestAccuracy200Epochs"]) for row in rows]
        found.append(Table(f"NAS-Bench-201, {name}", cells, accuracy, costs))
    for table in found:
        if np.isnan(table.accuracy).any():
            raise SystemExit(f"{table.name}: the file does not have all {table.space.size} networks")
    return found


def nas_bench_201_codes(path: Path, column: str) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Codes ``(n, 6)`` of the networks that the column of a CSV file describes, and its rows."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [[part.split("~")[0] for part in row[column].replace("+", "").split("|") if part] for row in rows]
    return np.array([[OPERATIONS.index(operation) for operation in names] for names in chosen]), rows


def regret(table: Table, strategy: str, seed: int) -> np.ndarray:
    """The best accuracy of the table minus the best among the first 50, 100, ... evaluated networks."""
    asked = Asked(table)
    ofa.search(
        table.space,
        asked,
        limits={},
        objectives=[Looked(table)],
        strategy=strategy,
        seed=seed,
        population=POPULATION,
        generations=ceil_div(QUERIES[-1], POPULATION * 3 // 4),
    )
    best = np.maximum.accumulate(asked.answers)
    return table.accuracy.max() - best[np.array(QUERIES) - 1]


def fronts(options: argparse.Namespace) -> None:
    """Hypervolumes over accuracy and one cost, at equal numbers of evaluations."""
    import pymoo

    # The measured networks all have 224 pixels: a predictor fitted on them knows nothing of other resolutions.
    space = ofa.SearchSpace.from_dict(ofa.SearchSpace.preset("ofa_mbv3").to_dict() | {"resolutions": [224]})
    with (options.folder / "ofa_mbv3_w1.0_imagenet.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[number] for number in np.random.default_rng(0).permutation(len(rows))[:ROWS]]
    codes = np.stack([space.encode(subnet_of(row)) for row in rows])
    predictor = ofa.AccuracyPredictor(space, kind="gp").fit(codes, np.array([float(row["top1"]) for row in rows]))
    cost = ofa.CostTable.load(options.latency) if options.latency else ofa.CostTable.macs(space, num_classes=1000)
    if cost.space.to_dict() != space.to_dict():
        raise SystemExit(f"{options.latency} is no table of ofa_mbv3 at 224 pixels alone")

    corners = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    low, high = cost.predict(corners)
    worst, best = predictor.predict(corners)

    def volume(codes: np.ndarray) -> float:
        """The fraction of the box between the smallest and the largest network that the codes' front dominates."""
        values = np.column_stack(
            [(cost.predict(codes) - low) / (high - low), (best - predictor.predict(codes)) / (best - worst)]
        )
        return hypervolume(values)

    evaluations = FRONT_POPULATION * GENERATIONS
    contenders = {"ours: random": _ours("random"), "ours: nsga2": _ours("nsga2"), **_pymoo()}
    print(f"\npymoo {pymoo.__version__}: hypervolume of everything evaluated, {evaluations:,} networks, populations of")
    print(f"{FRONT_POPULATION}, GP fitted on {ROWS} rows, cost: {cost.name}; {options.front_seeds} seeds.\n")
    print("| strategy | mean | lowest | highest |")
    print("|---|---|---|---|")
    for name, run in contenders.items():
        found = []
        for seed in range(options.front_seeds):
            asked = run(space, predictor, cost, seed)
            assert len(asked) == evaluations, f"{name} evaluated {len(asked)} networks"
            found.append(volume(asked))
        print(f"| {name} | {np.mean(found):.4f} | {min(found):.4f} | {max(found):.4f} |", flush=True)


class Recorded:
    """A predictor that records the codes it is called with."""

    def __init__(self, predictor: ofa.AccuracyPredictor) -> None:
        self._predictor, self.codes = predictor, []

    def predict(self, codes: np.ndarray) -> np.ndarray:
        self.codes.append(codes)
        return self._predictor.predict(codes)


def _ours(strategy: str) -> Run:
    def run(space: ofa.SearchSpace, predictor: ofa.AccuracyPredictor, cost: ofa.CostTable, seed: int) -> np.ndarray:
        recorded = Recorded(predictor)
        settings = {"population": FRONT_POPULATION, "generations": GENERATIONS - 1}
        ofa.search(space, recorded, limits={}, objectives=[cost], strategy=strategy, seed=seed, **settings)
        return np.concatenate(recorded.codes)

    return run


def _pymoo() -> dict[str, Run]:
    """Pymoo's NSGA-II on genes as integers, with two crossovers; the third variant also makes codes canonical."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.core.repair import NoRepair, Repair
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Networks(Problem):
        def __init__(self, space: ofa.SearchSpace, predictor: Recorded, cost: ofa.CostTable) -> None:
            super().__init__(n_var=space.num_genes, n_obj=2, xl=0, xu=space.num_options - 1, vtype=int)
            self.space, self._predictor, self._cost = space, predictor, cost

        def _evaluate(self, x: np.ndarray, out: dict, *_: object, **__: object) -> None:
            codes = self.space.canonical(x.astype(np.int8))
            out["F"] = np.column_stack([-self._predictor.predict(codes), self._cost.predict(codes)])

    class Canonical(Repair):
        def _do(self, problem: Networks, x: np.ndarray, **_: object) -> np.ndarray:
            return problem.space.canonical(np.around(x).astype(np.int8)).astype(int)

    def running(crossover: object, repair: Repair | None = None) -> Run:
        def run(space: ofa.SearchSpace, predictor: ofa.AccuracyPredictor, cost: ofa.CostTable, seed: int) -> np.ndarray:
            recorded = Recorded(predictor)
            algorithm = NSGA2(
                pop_size=FRONT_POPULATION,
                sampling=IntegerRandomSampling(),
                crossover=crossover,
                mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
                eliminate_duplicates=True,
                repair=repair or NoRepair(),
            )
            minimize(Networks(space, recorded, cost), algorithm, ("n_eval", FRONT_POPULATION * GENERATIONS), seed=seed)
            return np.concatenate(recorded.codes)

        return run

    return {
        "pymoo: NSGA-II, simulated binary crossover": running(
            SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair())
        ),
        "pymoo: NSGA-II, uniform crossover": running(UX()),
        "pymoo: NSGA-II, uniform crossover, canonical codes": running(UX(), Canonical()),
    }


def hypervolume(values: np.ndarray) -> float:
    """The area of the unit square that ``(n, 2)`` objectives, lower being better, dominate."""
    inside = values[(values < 1).all(axis=1)]
    chosen = inside[front(inside)]
    widths = np.diff(np.r_[chosen[:, 0], 1.0])
    return float((widths * (1 - chosen[:, 1])).sum())


if __name__ == "__main__":
    main()
