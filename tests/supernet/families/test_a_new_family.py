"""A family from outside the product works by being there: no table, no list, no other file."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from shared_networks import images, scramble, subnets_of

from ofa.export.runtimes import torch as torch_runtime
from ofa.pipeline import subnet_csv
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.microcontroller import program
from ofa.predictors.metrics import Scores
from ofa.report.subnet_drawing import describe_subnet, draw_subnets, subnet_line
from ofa.strategies.search import search
from ofa.supernet import families
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import params
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import Phase, min_options, progressive_shrinking
from ofa.supernet.training.weight_sharing import _begin_phase


@pytest.fixture
def space(toy_family):
    return SearchSpace.preset("toy_small")


def test_it_is_found_by_its_folder(space):
    assert "toy" in families.names() and space.family == "toy" and "toy_small" in families.presets()
    assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    with pytest.raises(ValidationError, match="extra_forbidden"):
        SearchSpace.from_dict({"family": "toy", "resolutions": [8], "stem": {}})


def test_without_it_the_families_that_are_there_are_named():
    with pytest.raises(ValidationError, match=r"family\n.*should be .*'mobilenetv3'"):
        SearchSpace.from_dict({"family": "toy", "resolutions": [8]})


def test_its_subnets_hold_the_roles_that_it_has(space, tmp_path):
    subnet = space.decode(space.sample(1, np.random.default_rng(0))[0])
    assert set(subnet.to_dict()) == {"resolution", "depths", "widths"}
    assert Subnet.from_json(subnet.to_json()) == subnet
    path = tmp_path / "accuracy.csv"
    subnet_csv.append(path, subnet, Scores(0.5, 1.0, 0.5))
    assert path.read_text().splitlines()[0] == "resolution,depths,widths,accuracy,loss,smoothed_accuracy"
    codes, accuracies = subnet_csv.read(path, space)
    assert space.decode(codes[0]) == subnet and accuracies.tolist() == [0.5]


@torch.no_grad()
def test_it_runs_is_cut_out_saved_and_read(space, tmp_path):
    net, x = scramble(Supernet(space, num_classes=3)), images(space)
    for number, subnet in enumerate(subnets_of(space, 5)):
        expected, model = net.activate(subnet)(x), net.extract(subnet)
        assert torch.equal(model(x), expected)
        save_subnet(model, subnet, tmp_path / f"{number}")
        assert torch.equal(load_subnet(tmp_path / f"{number}")(x), expected)
        parts = parts_of_subnet(space, subnet, num_classes=3, in_chans=3)
        assert sum(params(part) for part, _ in parts) == sum(one.numel() for one in model.parameters())
    before = net.activate(space.largest)(x)
    net.sort_channels()
    assert torch.allclose(net.activate(space.largest)(x), before, rtol=1e-4)
    assert not torch.equal(net.activate(space.smallest)(x), before)


def test_it_is_predicted_searched_and_drawn(space):
    class Widths:
        name, unit = "widths", ""

        def predict(self, codes):
            return (1.0 * (codes + 1) * space.active_genes(codes))[:, space.genes_of("width")].sum(axis=1)

    codes = space.sample(60, np.random.default_rng(0))
    predictor = AccuracyPredictor(space).fit(codes, Widths().predict(codes))
    found = search(space, predictor, limits={Widths(): 9}, population=40, generations=5)
    assert found.costs["widths"] == 9
    shown = describe_subnet("toy", space, found.best)
    assert subnet_line(shown).startswith(f"{found.best.resolution} px  8: w") and ">w" in draw_subnets([shown])


def test_its_costs_are_counted_and_timed(space):
    net, codes = Supernet(space, num_classes=3), space.sample(20, np.random.default_rng(0))
    counted = CostTable.params(space, num_classes=3).predict(codes)
    for code, expected in zip(codes, counted, strict=True):
        model = net.extract(space.decode(code))
        assert sum(parameter.numel() for parameter in model.parameters()) == expected
    ram = program.ram(space, num_classes=3).predict(codes)
    assert (ram > program.STACK["cortex_m4"]).all() and len(set(ram)) > 1
    table = CostTable.latency(
        space, num_classes=3, rounds=2, fit_subnets=3, test_subnets=3, runtime=torch_runtime, progress=False
    )
    assert (table.predict(codes) > 0).all() and table.space == space


def test_it_trains_step_by_step(space):
    phases = progressive_shrinking(space, epochs=1, lr=0.1)
    lowest = min_options(space, phases[-1])
    assert lowest[space.genes_of("depth")].max() == 0


@torch.no_grad()
def test_a_phase_that_sorts_keeps_the_widths_that_are_open(space):
    net, x = scramble(Supernet(space, num_classes=3)), images(space)
    open_widths = space.widths[-2:]
    subnets = [replace(space.largest, widths=(width,) * len(space.largest.widths)) for width in open_widths]
    before = [net.activate(subnet)(x) for subnet in subnets]
    for phase in (Phase("a", 1, 0.1, open={"width": 2}), Phase("b", 1, 0.1, open={"width": 3}, sort_channels=True)):
        _begin_phase(SimpleNamespace(net=net, phase=phase, teacher=None))
    for subnet, expected in zip(subnets, before, strict=True):
        torch.testing.assert_close(net.activate(subnet)(x), expected, rtol=1e-4, atol=1e-5)
