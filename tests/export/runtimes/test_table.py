"""The table of runtimes is held to their modules, to the table of costs and to setup.py."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from ofa.export.runtimes import RUNTIMES
from ofa.predictors.costs.names import COSTS
from ofa.targets.model_formats import FORMATS

ROOT = Path(__file__).parents[3]
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
README_WORDS = {"latency": "latency", "sram": "RAM", "instructions": "instructions"}  # of costs


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_module_has_the_calls_that_its_facts_promise(name):
    spec = RUNTIMES[name]
    try:
        module = import_module(spec.module)
    except ValueError as error:
        pytest.skip(str(error))
    calls = {"load", "run", "environment"}
    calls |= {"bind", "convert", "memory"} if spec.has_latency else set()
    calls |= {"convert_int8"} if spec.has_latency and "int8" in spec.precisions else set()
    assert name == module.NAME and [call for call in calls if not callable(getattr(module, call, None))] == []


@pytest.mark.parametrize("spec", RUNTIMES.values(), ids=list(RUNTIMES))
def test_facts_are_of_what_there_is(spec):
    assert spec.precisions and set(spec.measures) <= set(COSTS) and spec.format in FORMATS
    assert set(spec.tool_costs) <= set(spec.measures) and bool(spec.tools) == bool(spec.tools_install)
    assert spec.scored_by is None or RUNTIMES[spec.scored_by].precisions == spec.precisions
    assert not spec.remote or spec.has_latency
    extras = {*spec.packages.values(), *spec.int8_packages.values()}
    assert extras <= set(re.findall(r'^        "(\w+)": ', SETUP, re.MULTILINE))


def test_readme_s_table_has_every_runtime_and_its_facts():
    rows = re.findall(r"^\| (`\w+`.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[0])}
    rows = {name: row for name, row in named.items() if name in RUNTIMES}
    assert list(rows) == list(RUNTIMES)
    for name, spec in RUNTIMES.items():
        assert all(precision in rows[name] for precision in spec.precisions)
        assert ("ssh" in rows[name]) == spec.remote
        assert {cost: word in rows[name] for cost, word in README_WORDS.items()} == {
            cost: cost in spec.measures for cost in README_WORDS
        }
