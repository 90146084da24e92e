"""What holds for every space of every family: a new family is tested by its presets alone."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from shared_networks import images, subnets_of
from shared_spaces import every_space

from ofa.supernet import families
from ofa.supernet.saving import load_subnet, save_subnet
from ofa.supernet.space import SearchSpace, Subnet
from ofa.supernet.supernet import Supernet


def test_presets_are_named_once_and_spaces_are_of_their_family():
    assert sum(len(families.space_class(name).model_fields) > 0 for name in families.names()) == len(families.names())
    for name, values in families.presets().items():
        assert SearchSpace.preset(name).to_dict()["family"] == values["family"] in families.names()


@every_space
def test_codes_subnets_and_json_are_one_thing(space):
    codes = space.sample(50, np.random.default_rng(0))
    assert np.array_equal(space.canonical(codes), codes)
    for code in codes:
        subnet = space.decode(code)
        assert np.array_equal(space.encode(subnet), code)
        assert Subnet.from_json(subnet.to_json()) == subnet
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space and type(again) is type(space) and again.genes == space.genes


@every_space
def test_shapes_are_those_of_the_blocks_that_run(space):
    for code in space.sample(20, np.random.default_rng(1)):
        subnet = space.decode(code)
        shapes = space.shapes(subnet)
        positions = [block for block, runs in zip(space.blocks, space.active(code[None])[0], strict=True) if runs]
        assert [shape.position for shape in shapes] == positions
        sides = space.sizes_of(subnet)
        assert [shape.in_side for shape in shapes] == [sides[space.blocks.index(block)] for block in positions]
        assert shapes[-1].out_side == sides[-1]
        for shape, following in pairwise(shapes):
            assert (following.in_channels, following.in_side) == (shape.out_channels, shape.out_side)
    largest = space.shapes(space.largest)
    assert [shape.in_channels for shape in largest] == [block.in_channels for block in space.blocks]


@every_space
@pytest.mark.parametrize("in_chans", [1, 3])
@torch.no_grad()
def test_activate_equals_extract_bit_for_bit(space, in_chans, scrambled):
    net, x = scrambled(space, in_chans=in_chans), images(space, in_chans=in_chans)
    outputs = []
    for subnet in subnets_of(space, 4):
        outputs.append(net.activate(subnet)(x))
        assert torch.equal(outputs[-1], net.extract(subnet)(x)), subnet
    assert all(output.isfinite().all() and output.std() > 1e-3 for output in outputs)
    assert not any(torch.allclose(one, other) for i, one in enumerate(outputs) for other in outputs[:i])


@every_space
def test_extracted_model_is_timms_own(space, scrambled):
    net = scrambled(space)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.activate(space.smallest)
    output = net(images(space))
    for subnet in subnets_of(space, 2):
        model = net.extract(subnet)
        assert (
            f"{type(model).__module__.split('.')[0]}.models.{type(model).__name__}" == space.timm_class
            and not model.training
        )
        for module in model.modules():
            assert type(module).__module__.partition(".")[0] in ("timm", "torch")
        model.train()(images(space)).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()), "weights are shared"
    assert torch.equal(net(images(space)), output), "extract changed what is active"


@every_space
@torch.no_grad()
def test_new_supernet_is_the_timm_model_it_was_made_from(space):
    torch.manual_seed(0)
    net = Supernet(space, num_classes=5).eval()
    torch.manual_seed(0)
    plain = net.family.build(net.describe(space.largest)).to(memory_format=torch.channels_last).eval()
    assert torch.equal(net(images(space)), plain(images(space)))

    mine, timms = net.model.state_dict(), plain.state_dict()
    assert all(".transforms." in name or ".alternatives." in name for name in set(mine) - set(timms))
    assert all(torch.equal(mine[name], tensor) for name, tensor in timms.items())
    net.activate(space.smallest).activate(space.largest)
    assert torch.equal(net(images(space)), plain(images(space)))


@every_space
@torch.no_grad()
def test_sorted_channels_keep_the_largest_network_and_the_open_ones(space, scrambled):
    """Subnets that take only the ``opened`` largest options of every gene keep their function."""
    for opened in (1, 2):
        net, x = scrambled(space), images(space)
        lowest = np.maximum(space.num_options - opened, 0)
        depths = space.genes_of("depth")
        lowest[depths] = 0
        codes = space.sample(3, np.random.default_rng(2), min_options=lowest)
        # Of inactive blocks nothing is read, so that canonical zeros do no harm.
        subnets = [space.largest, *map(space.decode, codes)]
        before = [net.activate(subnet)(x) for subnet in subnets]
        net.sort_channels(num_open=dict.fromkeys(space.shrinking, opened))
        for subnet, expected in zip(subnets, before, strict=True):
            difference = (net.activate(subnet)(x) - expected).abs().max() / expected.abs().max()
            assert difference < 1e-5, f"{subnet}: {difference:.1e}"


@every_space
@torch.no_grad()
def test_sorting_twice_changes_nothing(space, scrambled):
    net = scrambled(space).double()  # sums in another order must not change which of two channels is the larger
    net.sort_channels()
    once = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.sort_channels()
    assert all(torch.equal(tensor, once[name]) for name, tensor in net.state_dict().items())


@every_space
def test_weights_are_channels_last(space, scrambled):
    net = scrambled(space)
    for model in (net, net.extract(space.smallest)):
        for name, tensor in model.state_dict().items():
            assert tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last), name


@every_space
@torch.no_grad()
def test_saved_subnets_are_read(space, scrambled, tmp_path):
    subnet = subnets_of(space, 1)[1]
    model = scrambled(space).extract(subnet)
    save_subnet(model, subnet, tmp_path)
    assert torch.equal(load_subnet(tmp_path)(images(space)), model(images(space)))
