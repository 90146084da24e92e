"""`ofa measure --from TABLE`: a few whole networks timed in place of all blocks."""

import json

import numpy as np
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.errors import UserError
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.stage_inputs import changes
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace
from ofa.targets.known_tables import known_table

HEAD = {"num_classes": 10, "in_chans": 1}


@pytest.fixture
def known(small, tmp_path):
    """A latency table of another device, whose times follow the MACs."""
    macs = CostTable.macs(load_recipe(small).space, **HEAD)
    table = CostTable(macs.space, "latency", "ms", macs.parts, slope=1e-6, intercept=0.1, info={"device": "a board"})
    table.save(tmp_path / "board.json")
    return tmp_path / "board.json"


def test_measure_from_a_known_table(call, copied, known, monkeypatch):
    timed = []

    def times(space, subnets, *, rounds, **_):
        timed.append((len(subnets), rounds))
        return 0.5 + 2 * CostTable.load(known, foreign=True).predict(np.stack([space.encode(each) for each in subnets]))

    monkeypatch.setattr("ofa.predictors.costs.latency.table.time_subnets", times)
    code, out, err = call("measure", copied, "--from", known, "--samples", 6, "--set", "measure.rounds=3")
    assert code == 0, err
    recipe = load_recipe(copied / "recipe.yaml")
    assert recipe.measure.known == known and recipe.measure.samples == 6
    assert timed == [(6 + recipe.measure.test_subnets, 3)]
    assert f"of {recipe.measure.test_subnets} unseen subnets" in " ".join(out.split())
    saved = CostTable.load(copied / "costs" / "phone.json")
    codes = recipe.space.sample(50, np.random.default_rng(0))
    assert saved.predict(codes) == pytest.approx(0.5 + 2 * CostTable.load(known, foreign=True).predict(codes), rel=0.1)
    info = json.loads((copied / "costs" / "phone.json").read_text())["info"]
    assert info["runtime"] == "onnxruntime" and info["known"] == ["board.json"] and info["reference"]["ms"] > 0.5

    # The table's content is part of what the stage is made from, not its place.
    moved = known.with_name("moved.json")
    moved.write_bytes(known.read_bytes())
    manifest, elsewhere = RunManifest(copied), load_recipe(copied / "recipe.yaml", overrides=[f"measure.known={moved}"])
    assert changes(manifest, "measure", elsewhere) == []
    moved.write_text(moved.read_text().replace("1e-06", "2e-06"))
    assert changes(manifest, "measure", elsewhere) == ["measure.known: its table is another"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path, table: path.unlink(), "measure.known: .*cannot be read"),
        (lambda path, table: path.write_text("{}"), "measure.known: .*damaged"),
        (lambda path, table: CostTable.macs(table.space, **HEAD).save(path), "is a table of macs; give one of latency"),
        (
            lambda path, table: CostTable(
                SearchSpace.preset("tiny_mbv3"),
                "latency",
                "ms",
                CostTable.macs(SearchSpace.preset("tiny_mbv3"), **HEAD).parts,
            ).save(path),
            "another search space",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_one_sentence(small, known, make, said):
    table = CostTable.load(known)
    make(known, table)
    with pytest.raises(UserError, match=said):
        known_table(known, table.space)


def test_check_and_measure_say_so_before_anything_runs(call, small, tmp_path):
    code, _, err = call("check", small, "--set", f"measure.known={tmp_path / 'none.json'}")
    assert code == 2 and "measure.known: " in err and "cannot be read" in err


def test_samples_without_a_table(call, small):
    code, _, err = call("measure", small, "--samples", 6)
    assert code == 2 and "--samples says how many subnets are timed with --from" in err
