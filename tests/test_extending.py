"""What ``docs/extending.md`` promises: a module and an entry in one table, and a whole run works with it.

The toys of ``tests/extending`` are outside the product: a family, a runtime, a cost, a strategy, a sampling, a schedule
and a kind of predictor, all of them in one recipe. The recipe's types are made of the tables when it is imported,
so the commands run in processes beside this one.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from forked_commands import forked_commands

TOYS = Path(__file__).parent / "extending"
RECIPE = """
space: {family: toy, resolutions: [8, 12]}
train: {phases: ends_alone, epochs: 1, lr: 0.1}
collect: {subnets: 12, calibration_images: 256}
predictor: {kind: line}
measure: {rounds: 2, fit_subnets: 3, test_subnets: 3}
search: {strategy: climb, boldness: 0.4, population: 10, generations: 3}
targets:
  toy: {runtime: toy, limits: {energy_uj: 0.8x, latency: 1x}}
  phone: {limits: {macs: 0.8x}}
"""


@pytest.fixture(scope="module")
def ofa(tmp_path_factory):
    """``ofa(*arguments)``: exit code, standard output and standard error of the command with the toys."""
    commands = forked_commands(tmp_path_factory.mktemp("commands"), imports="import with_toys", paths=(TOYS,))
    with commands as start:

        def run(*arguments):
            process = start(*arguments)
            out, err = process.communicate()
            return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)

        yield run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("toys") / "toys.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(ofa, recipe):
    folder = recipe.parent / "run"
    done = ofa("run", recipe, "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_recipe_of_toys_is_valid_and_its_mistakes_name_them(ofa, recipe):
    done = ofa("check", recipe)
    assert done.returncode == 0, done.stderr
    assert "toy: toy, latency at most 1x the largest subnet's, energy at most 0.8x" in done.stdout
    for overrides, messages in [
        (
            [
                "targets.toy.runtime=tou",
                "targets.toy.limits={energy: 1x}",
                "search.boldness=2",
                "predictor.kind=lime",
                "train.phases=end_alone",
                "space.width=3",
            ],
            [
                "'cortex_m55' or 'toy'",
                "unknown key; did you mean",
                "search.boldness: must be less than or equal to 1",
                "'auto'",
                "'ends_alone'",
                'space.width: unknown key; did you mean "widths"?',
            ],
        ),
        (
            ["targets.toy.precision=int8", "train.phases=[{name: a, epochs: 1, lr: 0.1, sampling: ends}]"],
            [
                "toy runs float32; leave precision out, or use onnxruntime or litert for int8",
                "sampling 'ends' needs at least 2 subnets a step",
            ],
        ),
        (["targets.toy.limits={energy_uj: 0.000001}"], ["every subnet costs more"]),
    ]:
        done = ofa("check", recipe, *(part for override in overrides for part in ("--set", override)))
        assert done.returncode == 2
        for words in messages:
            assert words in done.stderr, (words, done.stderr)


def test_runtimes_lists_the_toy(ofa):
    assert any(line.startswith("toy ") and "a test" in line for line in ofa("runtimes").stdout.splitlines())


def test_the_family_goes_through_every_file(run):
    assert (run / "accuracy.csv").read_text().startswith("resolution,depths,widths,accuracy,loss,smoothed_accuracy\n")
    assert "is a `toy.Toy`" in (run / "models" / "phone" / "card.md").read_text()
    target = json.loads((run / "report.json").read_text())["targets"]["phone"]
    assert set(target["subnet"]) == {"resolution", "depths", "widths"}
    assert target["verified"]["file"] == "model.onnx"


def test_a_whole_run_works_with_toys(run):
    assert json.loads((run / "train" / "metrics.jsonl").read_text().splitlines()[0])["phase"] == "both ends"
    found = json.loads((run / "search" / "toy.json").read_text())
    assert set(found["subnet"]) == {"resolution", "depths", "widths"}
    assert found["predicted"]["energy"] == pytest.approx(0.5 * found["predicted"]["macs"])
    assert found["predicted"]["energy"] <= found["limits"]["energy"]
    verified = json.loads((run / "models" / "toy" / "verify.json").read_text())
    assert (verified["runtime"], verified["file"]) == ("toy", "weights.safetensors")
    assert json.loads((run / "costs" / "toy.json").read_text())["info"]["runtime"] == "toy"
    assert json.loads((run / "predictor" / "predictor.json").read_text())["chosen"] == "line"
    stored = yaml.safe_load((run / "recipe.yaml").read_text())
    assert stored["search"]["boldness"] == 0.4 and stored["targets"]["toy"]["limits"] == {
        "energy_uj": "0.8x",
        "latency": "1x",
    }


def test_reports_and_cards_show_the_toys(ofa, run):
    done = ofa("show", run)
    assert done.returncode == 0, done.stderr
    assert "uJ energy" in done.stdout and " ms" in done.stdout
    card = (run / "models" / "toy" / "card.md").read_text()
    assert "| energy | " in card and "toy 1.0, 1 thread" in card


def test_a_run_with_nothing_to_do_ends_at_once(ofa, run):
    done = ofa("run", run)
    assert done.returncode == 0 and "nothing to do, all stages are finished" in done.stdout, done.stderr


def test_without_the_toys_the_run_is_refused_in_one_sentence_a_key(run):
    command = [sys.executable, "-m", "ofa", "run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for key in ("targets.toy.runtime", "targets.toy.limits.energy_uj", "predictor.kind", "search.boldness"):
        assert f"{key}: " in done.stderr
