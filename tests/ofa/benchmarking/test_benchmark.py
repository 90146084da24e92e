"""``ofa benchmark``: regret of every strategy on tiny tables, kept runs, and bad input."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ofa.benchmarking.bench import bench_of
from ofa.benchmarking.regret import as_csv, curves, marks
from ofa.benchmarking.runs import Run, append_run, read_runs, run_once
from ofa.cli import main
from ofa.errors import UserError
from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.strategies.table import STRATEGIES
from ofa.supernet.categorical import CategoricalSpace

SPACE = CategoricalSpace([3] * 4, roles=["layer"] * 4)
CODES = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
ACCURACY = 50.0 + CODES.sum(axis=1) + 0.01 * np.arange(len(CODES))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    rows = zip(CODES.tolist(), ACCURACY.tolist(), strict=True)
    entries = {"".join(map(str, code)): {"mean_acc": accuracy, "flops": 1 + sum(code)} for code, accuracy in rows}
    path.write_text(json.dumps(entries))
    return path


def test_regret_of_strategies_and_runs_that_are_kept(table, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["benchmark", str(table), "--strategies", "evolution,random", "--queries", "30", "--out", str(out)]
    main([*command, "--seeds", "2"])
    runs = (out / "runs.jsonl").read_text()
    assert "81 networks" in capsys.readouterr().out
    assert len(runs.splitlines()) == 1 + 4
    # A line that was cut short is run again, and more seeds are added to those that there are.
    (out / "runs.jsonl").write_text(runs[:-9])
    main([*command, "--seeds", "3"])
    lines = (out / "runs.jsonl").read_text().splitlines()
    assert lines[:4] == runs.splitlines()[:4]
    found = {(row["strategy"], row["seed"]) for row in map(json.loads, lines[1:])}
    assert found == set(itertools.product(["evolution", "random"], range(3)))
    with (out / "regret.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 30
    assert all(float(row["low"]) <= float(row["mean_regret"]) <= float(row["high"]) for row in rows)
    page = (out / "report.html").read_text()
    assert "evolution" in page and "<svg" in page and 'class="shade"' in page


def test_all_strategies_serve_a_table_or_say_why_not(table, tmp_path, capsys):
    main(["benchmark", str(table), "--seeds", "1", "--queries", "21", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert all(name in said for name in STRATEGIES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategies", "evolutoin"], "no such strategy; did you mean"),
        (["--strategies", ","], "give all, or some of"),
        (["--dataset", "svhn"], "no data set 'svhn'; there are cifar10"),
        (["--seeds", "0"], "at least one seed"),
    ],
)
def test_bad_options_are_one_sentence(table, capsys, options, said):
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", str(table), *options])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_bad_files_are_one_sentence(table, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["benchmark", str(table), "--strategies", "random", "--seeds", "1", "--out", str(out), "--queries"]
    main([*command, "10"])
    for change, said in [
        (lambda: None, "runs with queries 10, not 20; give another --out"),
        (lambda: (out / "runs.jsonl").write_text("no JSON\n"), "is damaged"),
        (lambda: table.write_bytes(b"\x80\x04K\x01."), "is a pickle"),
    ]:
        change()
        with pytest.raises(SystemExit) as stop:
            main([*command, "20"])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_regret_is_against_the_best_of_the_table():
    runs = [Run("random", seed, 1.0, 4, ((1, 10.0), (3, 20.0 + seed))) for seed in range(2)]
    (curve,) = curves(runs, best=25.0, queries=4)
    assert curve.mean.tolist() == [15, 15, 4.5, 4.5]
    assert curve.found.tolist() == [0, 0, 0, 0]
    assert (curve.low <= curve.mean).all() and (curve.mean <= curve.high).all()
    (curve,) = curves(runs, best=None, queries=4)  # the best that was found is 21
    assert curve.mean[-1] == 0.5 and curve.found[-1] == 0.5
    assert as_csv([curve]).splitlines()[3].startswith("random,3,0.5,")
    assert marks(200) == [25, 50, 100, 200] and marks(10) == [10]


def test_a_run_asks_no_more_than_it_may_and_is_the_same_again():
    bench = bench_of(Benchmark(name="toy", space=SPACE, codes=CODES, accuracies={"toy": ACCURACY}), "toy")
    first, again = (run_once(bench, "evolution", 3, queries=33, population=20) for _ in range(2))
    assert (first.asked, first.best) == (33, again.best)
    assert first.best[-1][1] <= bench.best == ACCURACY.max()


def test_searches_stay_among_networks_that_a_table_has():
    kept = CODES.sum(axis=1) % 3 != 0  # not the smallest, which searches start from
    accuracies = {"toy": np.where(CODES[:, 0] == 1, np.nan, ACCURACY)[kept]}
    bench = bench_of(Benchmark(name="toy", space=SPACE, codes=CODES[kept], accuracies=accuracies), "toy")
    run = run_once(bench, "evolution", 0, queries=30, population=10)
    assert run.asked == 30 and np.isfinite(run.best[-1][1])
    assert run.best[-1][1] <= bench.best == np.nanmax(accuracies["toy"])


def test_a_table_with_few_networks_of_its_space_is_fitted():
    space = CategoricalSpace([4] * 10, roles=["layer"] * 10)
    codes = np.unique(space.sample(150, np.random.default_rng(0)), axis=0)
    bench = bench_of(
        Benchmark(name="toy", space=space, codes=codes, accuracies={"toy": codes.sum(axis=1).astype(float)}), "toy"
    )
    assert bench.best is None and "Gaussian process" in bench.about[0]
    assert run_once(bench, "random", 0, queries=20, population=10).asked == 20


def test_runs_of_another_table_are_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert read_runs(path, {"file": "a"}) == []
    append_run(path, Run("random", 0, 1.0, 2, ((1, 1.0), (2, 3.0))))
    assert read_runs(path, {"file": "a"}) == [Run("random", 0, 1.0, 2, ((1, 1.0), (2, 3.0)))]
    with pytest.raises(UserError, match="file 'a', not 'b'; give another --out"):
        read_runs(path, {"file": "b"})
