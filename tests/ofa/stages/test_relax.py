"""The stage ``relax``: what it leaves, how it goes on after any step, what it shares, what ends it, what is shown."""

import json
import shutil
import time
from contextlib import redirect_stdout
from io import StringIO

import pytest

from ofa.cli import main
from ofa.pipeline import checkpoints
from ofa.pipeline.artefacts.relaxation import RelaxationRecord
from ofa.pipeline.opened_run import open_run
from ofa.pipeline.stage_inputs import stages_of

SEARCH = {"strategy": "differentiable", "method": "gdas", "epochs": 2}
STEPS = 2 * 8  # batches of 64 of half of 1,092 images


def options(**values):
    pairs = {f"search.{key}": value for key, value in {**SEARCH, **values}.items()}
    return [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


def record(folder, target="phone"):
    return json.loads((folder / "relax" / f"{target}.json").read_text())


def parameters(folder, target="phone"):
    return (folder / "relax" / record(folder, target)["folder"] / "architecture.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(finished, tmp_path_factory):
    """A finished run of which the search was made anew, by architecture parameters that nothing interrupted."""
    folder = shutil.copytree(finished.folder, tmp_path_factory.mktemp("relaxed") / "run")
    with redirect_stdout(out := StringIO()):
        main(["relax", str(folder), *options(), "--update"])
        main(["search", str(folder)])
    return folder, out.getvalue()


def test_it_runs_where_the_recipe_says_so_and_search_takes_its_networks(whole, finished, ran):
    folder, out = whole
    assert ran(out) == ["relax", "search"]
    assert "relax" in stages_of(open_run(folder).recipe) and "relax" not in stages_of(open_run(finished.folder).recipe)
    found = record(folder)
    assert (found["method"], found["alternates"], len(found["history"])) == ("gdas", True, 2)
    searched = json.loads((folder / "search" / "phone.json").read_text())
    assert found["id"] in [candidate["id"] for candidate in searched["candidates"]]
    assert searched["history"] == [] and searched["evaluated"] >= 3
    assert all(candidate["predicted"]["macs"] <= found["limits"]["macs"] for candidate in searched["candidates"])
    assert not list((folder / "relax").glob(f"*/{checkpoints.PATTERN}"))
    assert out.count("  relax phone ") == 2 and "1,092 training images are few" in out


def test_an_epoch_has_a_line_and_its_figures(whole):
    folder, _ = whole
    path = folder / "relax" / "phone.json"
    before = path.read_bytes()
    assert RelaxationRecord.load(folder, "phone").save(folder, "phone") == path and path.read_bytes() == before
    space, history = open_run(folder).space, record(folder)["history"]
    for epoch, row in enumerate(history, 1):
        assert row["epoch"] == epoch and 0 < row["entropy"] <= 1 and set(row["costs"]) == {"macs"}
        assert [len(values) for values in row["probabilities"]] == space.num_options.tolist()
        assert all(sum(values) == pytest.approx(1, abs=1e-4) for values in row["probabilities"])
    assert history[-1]["chosen"] == record(folder)["id"]


def test_the_trained_supernet_stays_as_it_is(whole, finished):
    path = "supernet/weights.safetensors"
    assert (whole[0] / path).read_bytes() == (finished.folder / path).read_bytes()


def assert_alike(folder, whole):
    assert parameters(folder) == parameters(whole)
    without = dict.fromkeys(("made_from",))  # a key that changes no result may have
    assert record(folder) | without == record(whole) | without


def test_it_goes_on_after_any_step_as_if_nothing_had_been(call, copied, whole, monkeypatch):
    real, steps = checkpoints.write, [3, 8, STEPS]

    def dies_after_the_next(folder, checkpoint):
        real(folder, checkpoint)
        if checkpoint.global_step in dying:
            dying.discard(checkpoint.global_step)
            raise KeyboardInterrupt

    dying = set(steps)
    monkeypatch.setattr(checkpoints, "write", dies_after_the_next)
    command = ["relax", copied, *options(), "--set", "train.checkpoint.steps=1", "--update"]
    for _ in steps:
        code, _, err = call(*command)
        assert code == 130, err
    assert not dying and call(*command)[0] == 0
    assert_alike(copied, whole[0])


def test_a_kill_in_the_middle(call, start, copied, whole):
    every_step = ["--set", "train.checkpoint.steps=1"]
    process = start("relax", copied, *options(), *every_step, "--update")
    deadline = time.monotonic() + 240
    while not (found := list((copied / "relax").glob(f"*/{checkpoints.PATTERN}"))):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.003)
    process.kill()
    process.communicate()
    assert found
    code, out, err = call("relax", copied, *options(), *every_step)
    assert code == 0 and " moved to " not in out, (out, err)
    assert_alike(copied, whole[0])


def test_equal_limits_share_a_search_and_others_are_kept(call, copied, whole):
    shutil.rmtree(copied)
    shutil.copytree(whole[0], copied)
    before = parameters(copied)
    more = ["--set", "targets.tv={limits: {macs: 0.8x}}", "--set", "targets.board={limits: {macs: 0.5x}}"]
    code, out, err = call("relax", copied, *more, "--update")
    assert code == 2 and "measure" in err, err  # the new targets' cost tables are missing
    assert call("measure", copied, *more, "--update")[0] == 0
    code, out, err = call("relax", copied)
    assert code == 0, err
    assert record(copied, "tv")["folder"] == record(copied)["folder"] != record(copied, "board")["folder"]
    assert parameters(copied) == before and out.count("relax board 1/2") == 1 and "relax phone" not in out
    # What the stage search asks is what is there: damaged, it is made anew.
    path = copied / "relax" / record(copied)["folder"] / "architecture.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    assert "architecture.safetensors is missing or damaged" in call("search", copied)[2]


def test_dominance_stops_it_and_is_named(call, copied):
    """An epoch in which anything is most probably skipped ends the search."""
    code, out, err = call(
        "relax", copied, *options(epochs=4, architecture_lr=1, dominance=0.001, method="darts"), "--update"
    )
    assert code == 0, err
    found = record(copied)
    assert "skips dominate" in found["stopped"] and len(found["history"]) < 4
    assert found["history"][-1]["skip_share"] > 0 and "! phone: the search stopped early: skips dominate" in out


def test_data_of_the_test_split_and_validation_images_teach_nothing(call, copied, monkeypatch):
    from ofa.data.loader import Data

    seen = []
    real = Data.split_batches
    monkeypatch.setattr(
        Data, "split_batches", lambda self, split, **kw: (seen.append(split), real(self, split, **kw))[1]
    )
    assert call("relax", copied, *options(epochs=1), "--update")[0] == 0
    assert set(seen) == {"train", "validation"}  # calibration, and the gap once it has ended


MISTAKES = {
    "cells": ({"method": "pcdarts"}, "search: pcdarts: the method lets a part of the channels"),
    "stages": ({"method": "pdarts", "epochs": 3}, "search: pdarts: the method goes on with a deeper network"),
    "epochs": ({"method": "drnas", "epochs": 1}, "search: the search has 2 stages"),
    "share": ({"architecture_share": 0.01}, "search.architecture_share: must be greater than or equal to 0.05"),
    "method": ({"method": "dart"}, "search.method: must be 'darts', 'darts_2nd'"),
    "term": ({"cost_term": "hinges"}, "search.cost_term: must be 'fbnet', 'proxyless'"),
    "dominance": ({"dominance": 2}, "search.dominance: must be less than or equal to 1"),
}


@pytest.mark.parametrize(("values", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_sentence(call, small, tmp_path, values, words):
    code, _, err = call("run", small, "--out", tmp_path / "run", *options(**values))
    assert code == 2 and words in err and len(err.splitlines()) == 1, err
    assert not (tmp_path / "run" / "train").exists()


def test_parameters_of_another_space_are_refused(whole):
    from ofa.supernet.relaxation.saving import load_architecture
    from ofa.supernet.space import SearchSpace

    path = next((whole[0] / "relax").glob("*/architecture.safetensors"))
    with pytest.raises(ValueError, match=r"is of another space: \w+ has the shape .*; learn them"):
        load_architecture(path, SearchSpace.preset("tiny_mbv3"))
    with pytest.raises(ValueError, match="damaged"):
        load_architecture(whole[0] / "report.json", open_run(whole[0]).space)


def test_a_check_tells_what_it_takes(call, small):
    code, out, err = call("check", small, *options())
    assert code == 0, err
    assert "relax     1,092 training images are few for a differentiable search" in out
    assert "relax     gdas: 2 epochs for each set of limits" in out and ", differentiable search " in out
    code, out, err = call("check", small)
    assert code == 0 and "relax" not in out and "differentiable" not in out, err
