"""Cell supernets: weighted, one network at a time, cut out, trained, exported."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

import ofa
from ofa.supernet.cells.mixed import MixedCell, SlotWeights

SIZES = {
    "nasbench201": {"channels": 4, "cells": 1, "resolution": 8},
    "darts": {"channels": 4, "cells": 3, "nodes": 2, "resolution": 9},
    "nasnet": {"channels": 4, "cells": 3, "nodes": 2, "resolution": 9},
}
LAYOUTS = list(SIZES)


def images(space, n=4):
    return torch.randn(n, 3, space.resolution, space.resolution, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def networks():
    """By layout and ``partial``: a supernet whose every weight and statistic is random, in eval mode."""
    made = {}
    for layout in LAYOUTS:
        for partial in (1, 2):
            torch.manual_seed(0)
            net = ofa.CellNetwork(ofa.CellSpace.preset(layout, **SIZES[layout]), num_classes=5, partial=partial)
            for name, buffer in net.named_buffers():
                if name.endswith("running_var"):
                    buffer.uniform_(0.5, 2)
                elif name.endswith("running_mean"):
                    buffer.normal_(std=0.5)
            made[layout, partial] = net.eval()
    return made


def one_hot(space, code):
    pairs = zip(code.tolist(), space.num_options.tolist(), strict=True)
    return [F.one_hot(torch.tensor(option), count).float() for option, count in pairs]


@torch.no_grad()
@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_plain_model_is_the_active_network_bit_for_bit(networks, layout, partial):
    net = networks[layout, partial]
    space, x = net.space, images(net.space)
    outputs = set()
    for code in space.canonical(
        np.concatenate([space.sample(4, np.random.default_rng(0)), np.zeros((1, space.num_genes), np.int8)])
    ):
        network = space.decode(code)
        expected = net.activate(network)(x)
        model = net.extract(network)
        assert torch.equal(model(x), expected) and expected.shape == (4, 5)
        assert torch.equal(net.extract(network, affine=True)(x), expected)
        assert ofa.CellModel.from_dict(model.description).load_state_dict(model.state_dict())
        if partial == 1:
            mixed = net.forward_mixed(x, one_hot(space, code))
            # Of nodes that others read, zeros are in a mixed output: convolutions add them up in another order.
            assert torch.equal(mixed, expected) if layout != "nasnet" else torch.allclose(mixed, expected, atol=1e-6)
        outputs.add(expected.sum().item())
    assert len(outputs) > 3  # the choices matter


@torch.no_grad()
def test_a_connection_is_the_weighted_sum_of_its_operations(networks):
    net = networks["darts", 1]
    cell = next(cell for cell in net.cells if isinstance(cell, MixedCell))
    x = torch.randn(2, cell.channels, 9, 9)
    weights = torch.rand(len(net.space.facts.operations))
    slot = SlotWeights(tuple(weights.unbind()), tuple(weights.tolist()))
    expected = sum(
        weight * operation(x) for weight, operation in zip(weights[1:], cell.operations(0, 0).values(), strict=True)
    )
    assert torch.allclose(cell._mixed(cell.operations(0, 0), 0, x, slot), expected, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_gene_gets_a_gradient(networks, layout):
    net = networks[layout, 1].train()
    weights = [torch.full((count,), 1 / count, requires_grad=True) for count in net.space.num_options.tolist()]
    F.cross_entropy(net.forward_mixed(images(net.space), weights), torch.arange(4)).backward()
    net.eval().zero_grad()
    assert all(weight.grad.abs().max() > 0 for weight in weights)


def test_options_of_weight_0_do_not_run_but_get_a_gradient_where_a_sample_has_one(networks):
    net = networks["nasbench201", 1]
    ran = []
    hooks = [
        operation.register_forward_hook(lambda *_, name=name: ran.append(name))
        for cell in net.cells
        if isinstance(cell, MixedCell)
        for node in cell.nodes
        for slot in node.values()
        for name, operation in slot.items()
    ]
    chosen = one_hot(
        net.space,
        net.space.encode(
            ofa.CellSubnet.from_arch(
                "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
            )
        ),
    )
    alphas = [torch.zeros(5, requires_grad=True) for _ in chosen]
    weights = [
        hard + soft - soft.detach() for hard, soft in zip(chosen, [alpha.softmax(0) for alpha in alphas], strict=True)
    ]
    logits = net.forward_mixed(images(net.space), weights)
    for hook in hooks:
        hook.remove()
    assert ran == ["nor_conv_3x3"] * 6 * 3
    assert torch.equal(logits, net.forward_mixed(images(net.space), chosen))
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all((alpha.grad != 0).all() for alpha in alphas)
    net.zero_grad()


def test_partial_channels_leave_the_others_as_they_are(networks):
    net = networks["nasbench201", 2]
    cell = next(cell for cell in net.cells if isinstance(cell, MixedCell))
    x = torch.randn(2, 4, 5, 5)
    out = cell._on_part(x, 0, cell.operations(0, 0)["avg_pool_3x3"](x[:, :2]))
    assert torch.equal(out[:, 1::2], x[:, 2:])  # shuffled: each part has one of two neighbours
    assert torch.equal(out[:, ::2], F.avg_pool2d(x[:, :2], 3, 1, 1, count_include_pad=False))


def test_edges_are_weighted_by_parameters_of_their_own(networks):
    net = networks["darts", 2]
    assert [len(each) for each in net.edge_alphas] == [2, 3] * 2
    weights = [torch.full((count,), 1 / count) for count in net.space.num_options.tolist()]
    before = net.forward_mixed(images(net.space), weights)
    before.square().sum().backward()
    assert all(alpha.grad.abs().max() > 0 for alpha in net.edge_alphas)
    net.zero_grad()
    with torch.no_grad():
        net.edge_alphas[0][0] = 3.0
    assert not torch.allclose(net.forward_mixed(images(net.space), weights), before)
    assert not len(networks["darts", 1].edge_alphas) and not len(networks["nasnet", 2].edge_alphas)


def test_skips_are_dropped_while_training_alone(networks):
    net = networks["nasbench201", 1]
    skips = net.activate(
        ofa.CellSubnet.from_arch("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|")
    )
    x = images(net.space)
    expected = skips(x)
    net.skip_drop = 0.9
    assert torch.equal(skips(x), expected) and net.skip_drop == 0.9
    cell = next(cell for cell in net.cells if isinstance(cell, MixedCell)).train()
    dropped = cell._applied(cell.operations(0, 0)["skip_connect"], torch.ones(1, 4, 50, 50))
    assert 0.85 < (dropped == 0).float().mean() < 0.95
    net.eval().skip_drop = 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_trains_and_is_calibrated(networks, layout):
    net = networks[layout, 1]
    network = net.space.decode(net.space.sample(1, np.random.default_rng(1))[0])
    model = ofa.CellModel(net.space, network, num_classes=5).train()
    x, labels = images(net.space, 16), torch.arange(16) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    calibrated = ofa.calibrate(model.eval(), x)
    assert F.cross_entropy(calibrated(x), labels) < 0.8 * losses[0]


def test_onnx_computes_the_same(networks, tmp_path):
    net = networks["darts", 1]
    cell = [[["max_pool_3x3", 0], ["skip_connect", 1]], [["dil_conv_5x5", 0]]]
    empty = [[], [["sep_conv_3x3", 1], ["avg_pool_3x3", 2]]]  # a node that reads nothing is zero
    network = ofa.CellSubnet.from_dict({"normal": cell, "reduction": empty})
    model, x = net.extract(network), images(net.space)
    path = ofa.export_onnx(model, tmp_path / "model.onnx", resolution=net.space.resolution)
    (logits,) = onnxruntime.InferenceSession(path).run(None, {"input": x.numpy()})
    assert np.allclose(logits, model(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "sizes", "subnet", "published"),
    [
        # NAS-Bench-201's largest network, as its table has it.
        (
            "nasbench201",
            {},
            ofa.CellSubnet.from_arch(
                "|nor_conv_3x3~0|+" + "|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
            ),
            1_531_546,
        ),
        # DARTS' second-order cell (https://arxiv.org/abs/1806.09055): 3.3 million parameters.
        (
            "darts",
            {"channels": 36, "cells": 20},
            ofa.CellSubnet.from_dict(
                {
                    "normal": [
                        [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
                        [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]],
                        [["skip_connect", 0], ["sep_conv_3x3", 1]],
                        [["skip_connect", 0], ["dil_conv_3x3", 2]],
                    ],
                    "reduction": [
                        [["max_pool_3x3", 0], ["max_pool_3x3", 1]],
                        [["max_pool_3x3", 1], ["skip_connect", 2]],
                        [["max_pool_3x3", 0], ["skip_connect", 2]],
                        [["max_pool_3x3", 1], ["skip_connect", 2]],
                    ],
                }
            ),
            3_349_342,
        ),
    ],
)
def test_published_networks_have_the_published_parameters(layout, sizes, subnet, published):
    space = ofa.CellSpace.preset(layout, **sizes)
    table = ofa.CostTable.params(space, num_classes=10)
    assert table.predict(space.encode(subnet)[None]) == published


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda space: ofa.CellNetwork(space, partial=3), "partial is 3; it must divide the 4 channels"),
        (lambda space: ofa.CellNetwork(space, affine=True).extract(space.largest, affine=False), "cannot be left out"),
        (lambda space: ofa.CellNetwork(space).forward_mixed(images(space), [torch.ones(5)]), "genes of this space"),
        (lambda space: ofa.CellNetwork(space).activate(ofa.CellSubnet.from_arch("|none~0|")), "1 nodes"),
        (
            lambda space: ofa.CellNetwork(ofa.CellSpace.preset("nasnet", nodes=1, cells=1), edge_weights=True),
            "no edges",
        ),
        (lambda space: ofa.CellModel.from_dict({"space": space.to_dict()}), "no cell network.*subnet"),
        (lambda space: ofa.CostTable.peak_memory(space, num_classes=5), "use CostTable.macs"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(ofa.CellSpace.preset("nasbench201", **SIZES["nasbench201"]))
