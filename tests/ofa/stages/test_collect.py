"""Active collection in a run: batches that hang on the rows before, and going on with the same ones."""

import numpy as np
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.pipeline import subnet_csv
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import Scores
from ofa.predictors.sampling import stratified_sample
from ofa.stages import collect

ACTIVE = ["--set", "collect.strategy=active", "--set", "collect.batch=10", "--set", "collect.subnets=30", "--update"]


@pytest.fixture
def made_up(monkeypatch):
    """Accuracies by formula, with a millisecond's work; returns the list of subnets that were measured."""
    measured = []

    def scores(subnet, _batches):
        measured.append(subnet)
        accuracy = 0.2 + 0.1 * sum(subnet.depths) + 0.01 * sum(subnet.kernels) - 0.0001 * subnet.resolution
        return Scores(accuracy, 1.0, accuracy / 2)

    monkeypatch.setattr(collect, "scores", scores)
    monkeypatch.setattr("ofa.pipeline.job.Job.extract_calibrated", lambda _job, subnet: subnet)
    return measured


def test_batches_are_chosen_one_by_one_and_again_after_a_kill(call, copied, unfinished, made_up, monkeypatch):
    monkeypatch.setattr(collect, "converged", lambda *_, **__: False)
    code, out, err = call("collect", copied, *ACTIVE)
    assert code == 0, err
    assert "30 subnets, validation accuracy" in out
    path = copied / "accuracy.csv"
    whole = path.read_bytes()
    space = load_recipe(copied / "recipe.yaml").space
    codes, _ = subnet_csv.read(path, space)
    assert len({code.tobytes() for code in codes}) == 30
    macs = CostTable.macs(space, num_classes=10, in_chans=1)
    first = stratified_sample(space, 10, macs, np.random.default_rng([0, 2]))
    assert {code.tobytes() for code in codes[:10]} == {code.tobytes() for code in first}
    assert all(np.all(np.diff(codes[start : start + 10, 0]) >= 0) for start in (0, 10, 20))

    lines = whole.splitlines(keepends=True)
    for rows in (0, 3, 10, 17, 29, 30):
        path.write_bytes(b"".join(lines[: rows + 1]))
        unfinished("collect")
        made_up.clear()
        assert call("collect", copied)[0] == 0
        assert path.read_bytes() == whole
        assert len(made_up) == 30 - rows


def test_it_stops_when_the_front_has_settled(call, copied, made_up, monkeypatch):
    monkeypatch.setattr(collect, "converged", lambda _scores, _costs, *, newest: newest == 20)
    code, out, err = call("collect", copied, *ACTIVE, "--set", "collect.subnets=200")
    assert code == 0, err
    assert "30 subnets of 200 (the front has settled), validation" in out
    assert len(made_up) == 30


@pytest.mark.parametrize("row", [3, 13])
def test_rows_of_other_subnets_are_put_aside(call, copied, unfinished, made_up, monkeypatch, row):
    monkeypatch.setattr(collect, "converged", lambda *_, **__: False)
    assert call("collect", copied, *ACTIVE)[0] == 0
    path = copied / "accuracy.csv"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    lines[row], lines[row + 1] = lines[row + 1], lines[row]
    path.write_bytes(b"".join(lines))
    unfinished("collect")
    made_up.clear()
    code, out, _ = call("collect", copied)
    assert code == 0
    assert "has other subnets than this recipe's: moved to accuracy.csv.damaged" in out
    assert path.read_bytes() == whole
    assert len(made_up) == 30 - row // 10 * 10


def test_networks_without_a_finite_loss_teach_nothing(call, copied, monkeypatch):
    """A network whose logits overflowed has an accuracy, by chance, and no loss."""
    seen = []

    def scores(subnet, _batches):
        seen.append(subnet)
        accuracy = 0.2 + 0.05 * sum(subnet.depths) + 0.001 * len(seen)
        return Scores(0.1, np.inf, np.nan) if len(seen) in (2, 5) else Scores(accuracy, 1 - accuracy, accuracy)

    monkeypatch.setattr(collect, "scores", scores)
    monkeypatch.setattr("ofa.pipeline.job.Job.extract_calibrated", lambda _job, subnet: subnet)
    for stage, words in (("collect", "14 subnets"), ("predict", "2 rows without an accuracy left out")):
        code, out, err = call(stage, copied, "--set", "collect.subnets=14", "--update")
        assert code == 0, err
        assert words in " ".join(out.split())
    with (copied / "accuracy.csv").open() as file:
        assert sum(",inf,nan" in line for line in file) == 2
