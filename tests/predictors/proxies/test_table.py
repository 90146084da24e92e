"""What holds for every zero-cost proxy: the network stays as it is, one seed gives one value, and misuse is named."""

import warnings

import pytest
import torch
from shared_networks import images, scramble
from shared_spaces import SMALL
from torch import nn

import ofa
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.proxies.network import blocks, working_copy
from ofa.predictors.proxies.table import AGGREGATES, PROXIES
from ofa.supernet.supernet import Supernet

every_proxy = pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)


@pytest.fixture(scope="module")
def net():
    net = scramble(Supernet(SMALL, num_classes=4))
    return net.activate(SMALL.smallest)


def state(model):
    """All that a user could notice of a network, and of torch's own generator."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modules = [
        (module.training, len(module._forward_hooks) + len(module._forward_pre_hooks)) for module in model.modules()
    ]
    parameters = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return tensors, modules, parameters, torch.get_rng_state()


@every_proxy
def test_the_network_stays_as_it_is_and_one_seed_gives_one_value(proxy, net):
    model, batch = net.extract(SMALL.largest), images(SMALL, 6)
    model[0].train() if isinstance(model, nn.Sequential) else model.bn1.train()
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    with torch.no_grad():
        first, second = (proxy.measure(model, batch, seed=3) for _ in range(2))
    after = state(model)
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())
    assert before[1:3] == after[1:3] and torch.equal(before[3], after[3])
    assert first.value == second.value and first.reason == "" and first.milliseconds >= 0


@every_proxy
def test_a_supernet_is_scored_as_its_active_subnet(proxy, net):
    batch = images(SMALL, 4)
    active = proxy.score(net, batch)
    assert active == proxy.score(net.extract(SMALL.smallest), batch)
    assert active != proxy.score(net.extract(SMALL.largest), batch)


def test_counts_are_those_of_the_cost_tables(net):
    counted = ofa.zero_cost(net, images(SMALL), names=("macs", "params"))
    code = SMALL.encode(SMALL.smallest)[None]
    assert counted["macs"] == CostTable.macs(SMALL, num_classes=4).predict(code)[0]
    assert counted["params"] == CostTable.params(SMALL, num_classes=4).predict(code)[0]


def test_cells_are_scored_as_the_active_network():
    space = ofa.CellSpace.preset("nasbench201", channels=4, cells=1, resolution=8)
    many, few = (
        ofa.CellSubnet.from_arch(f"|{first}~0|+|skip_connect~0|none~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|")
        for first in ("nor_conv_3x3", "skip_connect")
    )
    net = ofa.CellNetwork(space, num_classes=4).activate(many)
    batch = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    scores = ofa.zero_cost(net, batch, names=PROXIES)
    assert set(scores) == set(PROXIES) and len(blocks(working_copy(net))) == 5
    assert scores["macs"] > ofa.zero_cost(net.activate(few), batch, names="macs")["macs"]


class Chain(nn.Sequential):
    """Without rectifiers, batch norms, or blocks."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 4))


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ("naswot", {}, "naswot is not defined here: it needs activation functions such as ReLU"),
        ("zen", {}, "batch norms, whose statistics tell how signals grow, and Chain has none; take another proxy"),
        ("progressivity", {}, "two blocks that run one after the other, and Chain has none"),
        ("zico", {"images": torch.randn(3, 3, 8, 8)}, "zico needs at least 4 images; the batch has 3"),
        ("nazwot", {}, "no proxy is called 'nazwot', did you mean naswot?"),
        ("az_nas", {}, "az_nas ranks a population and has no value of one network; ask for expressivity, "),
        (
            "snip",
            {"labels": [0, 1]},
            r"labels are 4 whole numbers from 0 to 3, one an image; these have the shape \(2,",
        ),
        (
            "snip",
            {"labels": [0, 1, 2, 4]},
            "labels are 4 whole numbers from 0 to 3, one an image; these go from 0 to 4",
        ),
        ("snip", {"labels": [0, 1, 2, -1]}, "these go from -1 to 2"),
        ("snip", {"images": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)}, "proxy batch 0 holds uint8 values"),
    ],
)
def test_what_is_wrong_is_named(names, options, message):
    values = {"images": torch.randn(4, 3, 8, 8), **options}
    with pytest.raises(ValueError, match=message):
        ofa.zero_cost(Chain(), names=names, **values)


def test_attention_has_no_synaptic_flow():
    import timm

    model = timm.create_model("test_vit", num_classes=4, img_size=32)
    with pytest.raises(ValueError, match="synflow is not defined here: a softmax"):
        ofa.zero_cost(model, torch.randn(2, 3, 32, 32), names="synflow")


def test_a_value_that_is_no_number_says_why():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4))
    twice = torch.randn(1, 3, 8, 8).repeat(4, 1, 1, 1)
    with pytest.warns(UserWarning, match="naswot is not a number: two images switch all units alike"):
        scores = ofa.zero_cost(model, twice, names=("naswot", "params"))
    assert scores["naswot"] != scores["naswot"] and scores["params"] == 4 * 28 + 4 * 145
    nn.init.constant_(model[0].weight, float("nan"))
    with pytest.warns(UserWarning, match="grad_norm is not a number: its value is nan, since"):
        ofa.zero_cost(model, torch.randn(4, 3, 8, 8), names="grad_norm")


def test_labels_are_drawn_from_the_seed():
    batch = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = Chain()
    values = {seed: ofa.zero_cost(model, batch, names="snip", seed=seed)["snip"] for seed in (0, 0, 1)}
    assert len(set(values.values())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ofa.zero_cost(model, batch, [0, 1, 2, 3] * 2, "snip") != ofa.zero_cost(model, batch, [1] * 8, "snip")


def test_groups_are_made_of_proxies():
    assert all(set(members) <= set(PROXIES) for members in AGGREGATES.values())
    assert not set(AGGREGATES) & set(PROXIES)
