"""``ofa.search(..., strategy="differentiable")``: what it finds, of supernets and cells, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ofa
from ofa.errors import UserError
from ofa.strategies.differentiable import adapted, share_of
from ofa.strategies.learned import LearnedSettings
from ofa.strategies.limits import InfeasibleLimit
from ofa.strategies.proposals import fix_resolution, proposals
from ofa.supernet.relaxation.methods import MAX_LR, METHODS
from ofa.supernet.relaxation.names import COST_TERM_NAMES, METHOD_NAMES
from ofa.supernet.relaxation.objectives import COST_TERMS
from ofa.supernet.relaxation.relaxed import Relaxed

SPACE = ofa.SearchSpace.from_dict(
    {
        "family": "mobilenetv3",
        "resolutions": [8, 12, 16],
        "stem": {"width": 8, "first_width": 8, "stride": 2},
        "stages": [{"width": 8, "stride": 2, "act": "relu", "depths": [1, 2], "kernels": [3, 5], "expands": [1, 2]}],
        "head": {"width": 16, "features": 16},
    }
)
MACS = ofa.CostTable.macs(SPACE, num_classes=3, in_chans=1)
LARGEST = float(MACS.predict(SPACE.encode(SPACE.largest)[None])[0])
rng = np.random.default_rng(0)
IMAGES, LABELS = rng.standard_normal((48, 1, 16, 16)).astype(np.float32), rng.integers(0, 3, 48)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ofa.Supernet(SPACE, num_classes=3, in_chans=1)


def searched(net, predictor=None, *, space=SPACE, limits=None, **options):
    options = {"images": IMAGES, "labels": LABELS, "method": "gdas", "epochs": 1, "batch_size": 8, **options}
    limits = {MACS: 0.6 * LARGEST} if limits is None else limits
    return ofa.search(space, predictor, limits=limits, strategy="differentiable", net=net, **options)


def test_it_gives_networks_inside_the_limits_and_a_history(net):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    told = []
    result = searched(net, epochs=2, on_epoch=told.append)
    assert result.history == told and [row["epoch"] for row in told] == [1, 2]
    assert {"entropy", "skip_share", "costs", "probabilities", "collapsed", "loss"} <= told[-1].keys()
    codes = np.stack([SPACE.encode(subnet) for subnet in result.top])
    assert (MACS.predict(codes) <= 0.6 * LARGEST).all() and result.best == result.top[0]
    assert 0 <= result.accuracy <= 1 and result.costs["macs"] <= 0.6 * LARGEST
    # The network that was given is neither trained nor otherwise changed.
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not set(method.needs) - {"skips"}])
def test_every_method_that_fits_searches_a_supernet(net, method):
    epochs = len(METHODS[method].stages)
    term = "hinge" if METHODS[method].cost_term == "fbnet" else None
    share = 0.5 if METHODS[method].architecture_share else None  # of so few images a small one is none
    how = {"method": method, "epochs": epochs, "cost_term": term, "architecture_share": share, "seed": 3}
    first, again = (searched(net, **how) for _ in range(2))
    assert first.best == again.best and first.history[-1]["probabilities"] == again.history[-1]["probabilities"]


def test_a_predictor_ranks_what_is_proposed_of_every_resolution(net):
    likes = SimpleNamespace(predict=lambda codes: -codes[:, 0].astype(float))
    result = searched(net, likes, limits={MACS: LARGEST})
    assert result.best.resolution == 8 and result.accuracy == 0
    assert result.evaluated > len(result.top) == 20


def test_images_as_a_loader_are_those_of_arrays(net):
    loader = [(torch.from_numpy(IMAGES[part]), torch.from_numpy(LABELS[part])) for part in (slice(20), slice(20, 48))]
    one, other = searched(net), searched(net, images=loader, labels=None)
    assert one.history[-1]["probabilities"] == other.history[-1]["probabilities"]


def test_a_cell_network_is_searched_too():
    space = ofa.CellSpace.preset("nasbench201", channels=4, cells=1, resolution=16)
    net = ofa.CellNetwork(space, num_classes=3, in_chans=1)
    result = searched(net, space=space, limits={})
    assert result.best == space.decode(space.encode(result.best)) and result.costs == {}


def test_the_resolution_searched_at_is_the_largest_that_an_average_network_can_have(net):
    for share, expected in ((1.0, 16), (0.45, 12), (0.01, 8)):
        relaxed = Relaxed(net, seed=0)
        assert fix_resolution(relaxed.architecture, SPACE, {MACS: share * LARGEST}) == expected
        assert relaxed.probabilities()[0].tolist() == [float(side == expected) for side in (8, 12, 16)]


def test_limits_stand_above_pruned_options():
    """Options of probability 0 are taken where nothing else is inside the limits."""
    probabilities = [np.eye(len(gene.options))[-1] for gene in SPACE.genes]
    smallest = float(MACS.predict(SPACE.encode(SPACE.smallest)[None])[0])
    (code,) = proposals(SPACE, probabilities, {MACS: smallest})
    assert SPACE.decode(code) == SPACE.smallest
    with pytest.raises(InfeasibleLimit, match=r"^limit macs .*: every subnet costs more"):
        proposals(SPACE, probabilities, {MACS: 0.9 * smallest})


def test_few_steps_have_a_larger_learning_rate_unless_it_is_given():
    rates = [adapted(LearnedSettings(method="darts"), steps=steps).alphas.lr for steps in (10, 10**6)]
    assert rates == [MAX_LR, METHODS["darts"].alphas.lr]
    assert adapted(LearnedSettings(method="darts", architecture_lr=1e-4), steps=10).alphas.lr == 1e-4
    assert share_of(LearnedSettings(method="snas", architecture_share=0.5)) == 0  # one level: no images of its own


def test_recipes_know_the_names():
    assert tuple(METHODS) == METHOD_NAMES and set(COST_TERMS) == set(COST_TERM_NAMES)


class Plain:
    """A cost that only predicts."""

    name, unit, space = "plain", "", SPACE

    def predict(self, codes):
        return np.ones(len(codes))


class Flat(Plain):
    """A cost whose expectation is a number, without gradient."""

    def expected(self, probabilities):
        return torch.tensor(1.0)


OTHER = ofa.CostTable.macs(ofa.SearchSpace.preset("tiny_mbv3"), num_classes=3)
MISTAKES = {
    "no net": ({"net": None}, "differentiable learns from images; give net= and images="),
    "another space": ({"space": OTHER.space}, "net is of another search space"),
    "method": ({"method": "dart"}, "no method is called 'dart'; there are darts, "),
    "of cells": ({"method": "pcdarts"}, "pcdarts: the method lets a part of the channels"),
    "epochs": ({"method": "drnas"}, "the search has 2 stages"),
    "term": ({"cost_term": "hinges"}, "cost_term is 'hinges'; there are fbnet"),
    "share": ({"architecture_share": 0.99}, "architecture_share: 0.99 of 48 training images leaves"),
    "table of another space": ({"limits": {OTHER: 1e6}}, "cost macs is of another search space"),
    "no gradient": ({"limits": {Flat(): 2.0}}, "plain is a cost table without gradient"),
    "no expectation": ({"limits": {Plain(): 2.0}}, "plain is a cost without gradient; give an ofa.CostTable"),
    "infeasible": ({"limits": {MACS: 1.0}}, "limit macs 1: every subnet costs more"),
    "no images": ({"images": IMAGES[:3], "labels": LABELS[:3]}, "each needs two"),
    "raw images": ({"images": (IMAGES * 255).astype(np.uint8)}, "search"),
    "labels": ({"labels": LABELS[:-1]}, "48 images and 47 labels"),
    "no labels": ({"images": [IMAGES], "labels": None}, "batch 0 has no labels"),
    "setting": ({"temprature": 3}, "no strategy has the setting temprature"),
    "include": ({"include": [SPACE.smallest]}, "differentiable has no objectives, include or avoid"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_one_sentence(net, options, words):
    with pytest.raises((UserError, ValueError), match=words) as caught:
        searched(**({"net": net} | options))
    assert "\n" not in str(caught.value)
