"""The published methods are those of their papers, and say which networks they cannot search."""

from dataclasses import replace

import pytest
import torch
from toy_relaxed import ToyNetwork

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.relaxation.methods import MAX_LR, METHODS, NEEDS, check_method, shortened
from ofa.supernet.relaxation.relaxations import RELAXATIONS
from ofa.supernet.relaxation.updates import UPDATES

# The published settings: relaxation, update, alphas first, learning rate, betas, weight decay and clip of the alphas.
PUBLISHED = {
    "darts": ("softmax", "first_order", True, 3e-4, (0.5, 0.999), 1e-3, None),
    "darts_2nd": ("softmax", "second_order", True, 3e-4, (0.5, 0.999), 1e-3, None),
    "darts_plus": ("softmax", "first_order", True, 3e-4, (0.5, 0.999), 1e-3, None),
    "pdarts": ("softmax", "first_order", True, 6e-4, (0.5, 0.999), 1e-3, 5.0),
    "snas": ("gumbel", "single_level", True, 3e-4, (0.5, 0.999), 1e-3, None),
    "drnas": ("dirichlet", "first_order", True, 6e-4, (0.5, 0.999), 0.0, None),
    "fairdarts": ("sigmoid", "first_order", True, 3e-3, (0.9, 0.999), 1e-3, None),
    "milenas": ("softmax", "mixed", True, 3e-4, (0.5, 0.999), 1e-3, None),
    "proxylessnas": ("gates", "first_order", False, 1e-3, (0.0, 0.999), 0.0, None),
    "fbnet": ("gumbel", "first_order", False, 1e-2, (0.9, 0.999), 5e-4, None),
    "pcdarts": ("softmax", "first_order", True, 6e-4, (0.5, 0.999), 1e-3, None),
    "gdas": ("gumbel_hard", "first_order", False, 3e-4, (0.5, 0.999), 1e-3, None),
}


def test_methods_are_as_published():
    found = {
        name: (
            *(method.relaxation, method.update, method.alphas_first, method.alphas.lr, method.alphas.betas),
            *(method.alphas.weight_decay, method.alphas.clip),
        )
        for name, method in METHODS.items()
    }
    assert found == PUBLISHED
    frozen = {"pdarts": 0.4, "drnas": 0.4, "pcdarts": 0.3, "proxylessnas": 0.25, "fbnet": 1 / 9}
    assert {name: method.stages[0].frozen for name, method in METHODS.items() if method.stages[0].frozen} == frozen
    assert {name: method.every for name, method in METHODS.items() if method.every > 1} == {"proxylessnas": 5}


def test_every_relaxation_and_every_update_is_of_a_method_or_a_variant():
    assert set(RELAXATIONS) - {method.relaxation for method in METHODS.values()} == {"sparsemax"}
    assert set(UPDATES) == {method.update for method in METHODS.values()}
    assert {need for method in METHODS.values() for need in method.needs} == set(NEEDS)


@pytest.mark.parametrize("key", ["relaxation", "update", "cost_term"])
def test_a_method_of_unknown_pieces_is_refused(key):
    with pytest.raises(ValueError, match=rf"^{key} is 'other'; there are "):
        replace(METHODS["darts"], **{key: "other"})


def test_a_network_that_a_method_cannot_search_is_refused_in_a_sentence():
    net = ToyNetwork()
    for method in METHODS.values():
        check_method(method, net, has_stage_network=True)
    with pytest.raises(
        ValueError, match=r"^the method goes on with a deeper network in each stage; give .* stage_network"
    ):
        check_method(METHODS["pdarts"], net, has_stage_network=False)
    net.partial = 1
    with pytest.raises(
        ValueError, match=r"^the method lets a part of the channels .*CellNetwork\(space, ..., partial=4\)$"
    ):
        check_method(METHODS["pcdarts"], net, has_stage_network=False)
    net.space = CategoricalSpace([2, 3])
    with pytest.raises(ValueError, match=r"^the method ends by the share of skips, .* use darts$"):
        check_method(METHODS["darts_plus"], net, has_stage_network=False)


@pytest.mark.parametrize("name", METHODS)
def test_a_shorter_search_lets_parameters_come_as_far(name):
    method = METHODS[name]
    assert shortened(method, 10**7) == method
    rates = [shortened(method, steps).alphas.lr for steps in (1, 100, 1000, 10_000, 10**6)]
    assert rates == sorted(rates, reverse=True) and rates[0] == MAX_LR and rates[-1] == method.alphas.lr
    assert replace(shortened(method, 100), alphas=method.alphas) == method


def test_half_the_steps_have_twice_the_rate():
    method = METHODS["darts"]
    assert shortened(method, method.published_steps // 2).alphas.lr == pytest.approx(2 * method.alphas.lr)


def test_the_optimizers_are_made_of_the_settings():
    alpha = torch.nn.Parameter(torch.zeros(3))
    (group,) = METHODS["proxylessnas"].alphas.make([alpha]).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.0, 0.999), 0.0)
    settings = METHODS["gdas"].weights.settings(seed=4)
    assert (settings.optimizer, settings.weight_decay, settings.clip_grad, settings.seed) == ("sgd", 5e-4, 5.0, 4)
