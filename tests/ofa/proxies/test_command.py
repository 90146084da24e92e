"""``ofa proxies`` on a run and on a recipe, its table, and the collection that it chooses."""

import csv
import shutil

import numpy as np
import pytest

from ofa.config.recipe_file import load_recipe
from ofa.pipeline import subnet_csv
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.metrics import Scores
from ofa.predictors.proxies.proxy import Proxy, Score
from ofa.proxies.table_file import Row, read_rows, write_rows
from ofa.stages import collect


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scored(monkeypatch):
    """The names of the proxies that were computed, one entry a network; their values are made up."""
    names = []

    def made_up(proxy, model, _images, _labels, _seed):
        names.append(proxy.name)
        return Score(float(sum(parameter.numel() for parameter in model.parameters())), "", 1.0)

    monkeypatch.setattr(Proxy, "measure", made_up)
    return names


def test_a_run_is_scored_compared_and_gone_on_with(call, copied, scored):
    words = ("proxies", copied, "--subnets", 6, "--names", "naswot,snip,macs")
    code, out, err = call(*words)
    path = copied / "proxies.csv"
    assert code == 0, err
    assert out.splitlines()[0] == f"{path}: 6 subnets on 16 training images, weights of the trained supernet"
    assert "with 6 accuracies" in out and len(scored) == 18
    table, measured = rows_of(path), subnet_csv.read(copied / "accuracy.csv", load_recipe(copied / "recipe.yaml").space)
    assert len(table) == 6 and {"naswot", "snip", "macs", "weights", "images", "reasons"} <= set(table[0])

    # Killed after four networks, then with another proxy and more networks: only what is missing is computed.
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5]))
    scored.clear()
    assert call(*words)[0] == 0 and len(scored) == 6
    assert path.read_text() == "".join(lines)
    scored.clear()
    assert call("proxies", copied, "--subnets", len(measured[0]) + 1, "--names", "snip,zen")[0] == 0
    assert scored.count("snip") == len(measured[0]) - 5 and scored.count("zen") == len(measured[0]) + 1
    assert call("run", copied)[1].splitlines()[0].endswith("nothing to do, all stages are finished")


def test_a_recipe_is_scored_with_new_weights(call, small, tmp_path):
    out = tmp_path / "table.csv"
    words = ("proxies", small, "--subnets", 3, "--images", 4, "--names", "params,synflow", "--out", out)
    code, text, err = call(*words)
    assert code == 0, err
    assert f"{out}: 3 subnets on 4 training images, weights of seed 0, untrained" in text
    assert "No accuracies to compare with: `ofa collect` measures them." in text
    assert {row["weights"] for row in rows_of(out)} == {"seed 0"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--names", "naswott"], '--names naswott: no such proxy; did you mean "naswot"?'),
        (["--names", "vkdnw"], "--names vkdnw: it is made of the ranks of fisher_spectrum, "),
        (["--subnets", "1"], "--subnets 1: give a number from 2 to "),
        (["--images", "3"], "--images 3: give a number from 4 to "),
    ],
)
def test_mistakes_are_one_sentence(call, small, words, message):
    code, _, err = call("proxies", small, *words)
    assert code == 2 and message in err


def test_a_damaged_table_is_named(call, copied):
    path = copied / "proxies.csv"
    words = ("proxies", copied, "--subnets", 2, "--names", "params")
    assert call(*words)[0] == 0
    good = path.read_text()
    for content, message in [
        ("a,b\n1,2\n", f"{path} is no table of proxies of this space: it has no column resolution; move it away"),
        (good + "99,x,y,z,w,i,1,\n", f"{path}, line 4: could not convert string to float: 'x'; move the file away"),
    ]:
        path.write_text(content)
        code, _, err = call(*words)
        assert code == 2 and message in err
        assert path.read_text() == content  # nothing is lost


def test_collection_measures_mostly_what_the_proxies_rank_first(call, copied, scored, unfinished, monkeypatch):
    monkeypatch.setattr(collect, "scores", lambda subnet, _batches: Scores(0.1 + 0.1 * sum(subnet.depths), 1.0, 0.2))
    monkeypatch.setattr("ofa.pipeline.job.Job.extract_calibrated", lambda _job, subnet: subnet)
    words = ("collect", copied, "--set", "collect.strategy=proxies", "--update")
    code, _, err = call(*words)
    assert code == 0, err
    whole = (copied / "accuracy.csv").read_bytes()
    assert whole.count(b"\n") == 11 and len(rows_of(copied / "proxies.csv")) > 10
    # Going on after a kill scores nothing again, and measures the same networks.
    (copied / "accuracy.csv").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    unfinished("collect")
    scored.clear()
    assert call("collect", copied)[0] == 0
    assert scored == [] and (copied / "accuracy.csv").read_bytes() == whole


def test_a_predictor_learns_from_proxies_beside_the_choices(call, copied, scored):
    words = ("predict", copied, "--set", "predictor.features=[naswot,params]")
    code, _, err = call(*words, "--update")
    assert code == 0, err
    collected = len(rows_of(copied / "accuracy.csv"))
    assert set(scored) == {"naswot", "params"} and collected < len(scored) // 2 <= 2 * collected
    predictor = AccuracyPredictor.load(copied / "predictor")
    assert len(predictor.proxy_line_.arrays()["weights"]) == 2
    # The values are kept: another kind of predictor computes none, and the search goes on with it.
    scored.clear()
    assert call(*words, "--set", "predictor.kind=trees", "--update")[0] == 0 and scored == []
    assert call("search", copied)[0] == 0

    code, _, err = call("predict", copied, "--set", "predictor.features=[naswott]", "--update")
    assert code == 2 and "predictor.features.0: must be 'naswot'" in err


def test_rows_come_back_as_they_were_written(small, tmp_path):
    space = load_recipe(small).space
    codes = space.sample(2, np.random.default_rng(0))
    rows = [
        Row(codes[0], "seed 0", "abc", {"naswot": 1 / 3, "zen": float("nan")}, {"zen": "why, it says"}),
        Row(codes[1], "seed 0", "abc", {"naswot": 1e300}),
    ]
    path = tmp_path / "proxies.csv"
    write_rows(path, space, rows)
    again = read_rows(path, space)
    assert [row.key for row in again] == [row.key for row in rows]
    assert again[0].reasons == rows[0].reasons and again[0].values["naswot"] == 1 / 3
    assert again[1].values == {"naswot": 1e300} and again[1].reasons == {}
    shutil.copy(path, tmp_path / "copy.csv")
    write_rows(path, space, again)
    assert path.read_bytes() == (tmp_path / "copy.csv").read_bytes()
