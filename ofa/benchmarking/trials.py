"""Many searches on one table: runs what is missing of them, then writes curves and page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ofa.benchmarking.bench import Bench, bench_of
from ofa.benchmarking.page import render
from ofa.benchmarking.regret import Curve, as_csv, curves, marks
from ofa.benchmarking.runs import Run, append_run, read_runs, run_once
from ofa.config.errors import nearest
from ofa.errors import UserError
from ofa.pipeline.manifest import file_digest
from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.predictors.benchmarks.load import load_benchmark
from ofa.strategies.table import STRATEGIES
from ofa.supernet.files import write_atomic

POPULATION = 20  # of a generation: of 200 queries there are ten


def run_trials(
    file: Path,
    *,
    strategies: str,
    seeds: int,
    dataset: str | None,
    queries: int,
    out: Path | None,
    told: Callable[[str], None],
) -> Path:
    """The folder with ``runs.jsonl``, ``regret.csv`` and ``report.html``.

    Runs that a folder has are kept, so that more seeds, more strategies or the rest of a stopped command are added.
    Raises ``UserError`` for a file that is no table, a data set or strategy that there is none of, and a folder of
    other runs.
    """
    names, named = _strategies(strategies)
    if seeds < 1 or queries < 2:
        raise UserError(f"--seeds {seeds} --queries {queries}: give at least one seed and two queries")
    try:
        table = load_benchmark(file)
        dataset = table.dataset(dataset)
    except (ValueError, KeyError) as error:
        raise UserError(str(error.args[0])) from error
    folder = out or Path("runs") / f"{file.stem}-{dataset}"
    header = {"file": _identity(file), "dataset": dataset, "queries": queries, "population": POPULATION}
    path = folder / "runs.jsonl"
    done = read_runs(path, header)
    bench = bench_of(table, dataset)
    for sentence in bench.about:
        told(sentence)
    done += _run_missing(bench, names, named, path, seeds, queries, {(run.strategy, run.seed) for run in done}, told)
    wanted = [run for run in done if run.strategy in names and run.seed < seeds]
    if not wanted:
        raise UserError("no strategy serves this table; see the sentences above")
    found = curves(wanted, best=bench.best, queries=queries)
    write_atomic(folder / "regret.csv", as_csv(found))
    write_atomic(folder / "report.html", render(_title(table, dataset), bench.about, found))
    for line in summary(found):
        told(line)
    told(f"{folder / 'report.html'}, {folder / 'regret.csv'}")
    return folder


def summary(found: Sequence[Curve]) -> list[str]:
    """The mean regrets as lines of text, the best strategy first."""
    shown = marks(len(found[0].mean))
    width = max(len(curve.strategy) for curve in found)
    lines = [f"{'regret after':{width}}" + "".join(f"{mark:>9}" for mark in shown) + "  queries"]
    for curve in found:
        values = "".join(f"{curve.mean[mark - 1]:9.3f}" for mark in shown)
        lines.append(f"{curve.strategy:{width}}{values}  {curve.seconds:.3g} s a run")
    return lines


def _run_missing(
    bench: Bench,
    names: Sequence[str],
    named: bool,
    path: Path,
    seeds: int,
    queries: int,
    known: set[tuple[str, int]],
    told: Callable[[str], None],
) -> list[Run]:
    """Seed by seed, so that a stopped command has as many of each strategy. A strategy of ``all`` that cannot serve the
    table is left out and said; one that was named raises."""
    from tqdm import tqdm

    missing = [(name, seed) for seed in range(seeds) for name in names if (name, seed) not in known]
    left_out, runs = set(), []
    for name, seed in tqdm(missing, desc="searches", unit="search", disable=None):
        if name in left_out:
            continue
        try:
            run = run_once(bench, name, seed, queries=queries, population=POPULATION)
        except UserError as error:
            if named:
                raise
            left_out.add(name)
            told(f"{name} is left out: {error}")
            continue
        append_run(path, run)
        runs.append(run)
    return runs


def _strategies(text: str) -> tuple[list[str], bool]:
    """The strategies that are meant, and whether they were named one by one."""
    if text == "all":
        return list(STRATEGIES), False
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in STRATEGIES:
            raise UserError(f"--strategies {name}: no such strategy{nearest(name, STRATEGIES)}")
    if not names:
        raise UserError(f"--strategies: give all, or some of {', '.join(STRATEGIES)}")
    return names, True


def _identity(file: Path) -> str:
    """What tells a table from another one of its name."""
    if file.is_dir():
        return f"{file.name}, a folder of {sum(1 for _ in file.rglob('*.json'))} results"
    return f"{file.name} {file_digest(file)}"


def _title(table: Benchmark, dataset: str) -> str:
    return f"Search strategies on {table.name}, {dataset}"
