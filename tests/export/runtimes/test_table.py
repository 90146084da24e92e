"""The table of runtimes is held to their modules, to the table of costs and to setup.py."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from ofa.export.runtimes import RUNTIMES
from ofa.predictors.costs.names import COSTS
from ofa.targets.model_formats import FORMATS

SETUP = (Path(__file__).parents[3] / "setup.py").read_text(encoding="utf-8")


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
