"""The command ``ofa benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A published table of networks, or a folder of results.")
    ],
    strategies: Annotated[
        str, typer.Option("--strategies", metavar="NAMES", help="Search strategies by commas, or all.")
    ] = "all",
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Searches by each strategy.")] = 50,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="NAME", help="Which accuracies; by default the table's first.")
    ] = None,
    queries: Annotated[int, typer.Option("--queries", metavar="N", help="Accuracies that a search may ask for.")] = 200,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The folder to write; default: runs/FILE-DATASET.")
    ] = None,
) -> None:
    """Compare the search strategies on a table of trained networks: regret by queries, over many seeds.

    It writes regret.csv and report.html. Searches that the folder has are kept: the same command goes on where it was
    stopped, and --seeds can be raised. A pickle is never opened; docs/python.md says how to convert one.

    Example: ofa benchmark nasbench201_200epochs.csv --dataset cifar100 --seeds 50
    """
    from ofa.benchmarking.trials import run_trials
    from ofa.report.escape import printable_lines

    def told(line: str) -> None:
        typer.echo(printable_lines(line))

    run_trials(file, strategies=strategies, seeds=seeds, dataset=dataset, queries=queries, out=out, told=told)
