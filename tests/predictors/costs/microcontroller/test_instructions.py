"""Instruction tables: the loops that they count, and the error on programs that they never saw."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("bakenn", reason="pip install 'once-for-all[mcu]'")
pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from ofa.export.microcontroller.build import missing_tools
from ofa.export.runtimes import cortex_m
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.microcontroller import counting, instructions
from ofa.predictors.costs.microcontroller.instructions import fit, operator_from_profile, table
from ofa.predictors.costs.microcontroller.loops import (
    Axis,
    conv,
    features,
    macs_or_values,
    operator_shapes,
    taps,
)
from ofa.supernet.families.mobilenetv3 import model as mobilenetv3
from ofa.supernet.families.operators import operators_of_family, parts_of_subnet
from ofa.supernet.space import SearchSpace

emulated = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
HEAD = {"num_classes": 6, "in_chans": 1}
SPACE = SearchSpace.preset("mcu_32_ir")


def every_operator(space, subnet, *, in_place=True, **head):
    parts = parts_of_subnet(space, subnet, **head)
    return [operator for part in parts for operator in operator_shapes(*part, in_place=in_place)]


@pytest.mark.parametrize(
    "size, kernel, stride, positions", [(4, 1, 1, 16), (4, 3, 1, 100), (5, 3, 2, 49), (4, 3, 2, 25), (3, 7, 1, 81)]
)
def test_kernel_positions_inside_the_map(size, kernel, stride, positions):
    assert conv(size, 8, 8, kernel=kernel, stride=stride).kernel_positions == positions


def test_multiply_accumulates_of_the_operators_are_those_of_the_table():
    codes = SPACE.sample(20, np.random.default_rng(0))
    macs = CostTable.macs(SPACE, **HEAD).predict(codes)
    for code, expected in zip(codes, macs, strict=True):
        every = every_operator(SPACE, SPACE.decode(code), **HEAD)
        total = sum(macs_or_values(operator) for operator in every if operator.kind not in ("add", "pool"))
        assert total == expected


def test_a_fit_finds_the_instructions_of_each_loop():
    rng = np.random.default_rng(1)
    sizes, widths = rng.integers(3, 40, 60), rng.integers(1, 30, (60, 2)) * 4
    convs = [conv(int(n), int(i), int(o)) for n, (i, o) in zip(sizes, widths, strict=True)]
    weights = np.arange(1, len(features(convs[0])) + 1)
    model = fit([(operator, int(features(operator) @ weights)) for operator in convs])
    other = conv(23, 52, 36)
    assert model.predict(other) == pytest.approx(features(other) @ weights, rel=1e-3)
    with pytest.raises(ValueError, match="no depthwise with kernel 5 was counted; measure more subnets"):
        model.predict(conv(8, 8, 8, kernel=5, depthwise=True))


def test_the_table_sums_the_operators():
    rng = np.random.default_rng(2)
    every = {
        (operator.kind, operator.kernel): operator
        for code in SPACE.sample(20, rng)
        for operator in every_operator(SPACE, SPACE.decode(code), **HEAD)
    }
    model = instructions.Model({key: rng.random(len(features(operator))) for key, operator in every.items()})
    costs = table(SPACE, model, **HEAD)
    assert (costs.name, costs.unit) == ("instructions", "instructions")
    codes = SPACE.sample(10, rng)
    for code, total in zip(codes, costs.predict(codes), strict=True):
        every = every_operator(SPACE, SPACE.decode(code), **HEAD)
        assert total == pytest.approx(sum(map(model.predict, every)))


def test_taps_are_the_positions_inside_the_input():
    for inputs, outputs, before, kernel, stride in [(5, 5, 1, 3, 1), (7, 4, 3, 7, 2), (6, 3, 0, 3, 2), (1, 1, 3, 7, 1)]:
        starts = [output * stride - before for output in range(outputs)]
        inside = sum(0 <= start + position < inputs for start in starts for position in range(kernel))
        assert taps(Axis(inputs, outputs, before), kernel, stride) == inside


@emulated
@pytest.mark.parametrize("in_place", [True, False])
def test_operator_shapes_are_those_of_the_operators_that_run(in_place):
    subnet = dataclasses.replace(SPACE.smallest, depths=(2, 2, 2, 2), resolution=28)
    module = mobilenetv3.build(mobilenetv3.describe(SPACE, subnet, **HEAD)).eval()
    session = cortex_m.load(cortex_m.convert_int8(module, (1, 28, 28)), in_place=in_place)
    found = [operator_from_profile(operator) for operator in cortex_m.operators(session)]
    assert sorted(map(str, found)) == sorted(map(str, every_operator(SPACE, subnet, **HEAD, in_place=in_place)))


def test_an_operator_that_no_program_has_is_named():
    space = SearchSpace.preset("ofa_mbv3")
    block = operators_of_family(space).block(space, space.blocks[4], kernel=3, expand=3)
    with pytest.raises(ValueError, match="no instruction count is known for mul"):
        operator_shapes(block, 28, in_place=True)


def test_a_counted_operator_that_no_block_has_is_named():
    odd = cortex_m.Operator("max_pool2d_s8", (4, 4, 8), (2, 2, 8), (2, 2), 2, (0, 0), 100)
    with pytest.raises(ValueError, match="max_pool2d_s8"):
        operator_from_profile(odd)


@emulated
@pytest.mark.parametrize("cpu", cortex_m.NAMES)
def test_error_on_programs_that_were_never_seen(cpu, tmp_path):
    found = counting.measure(SPACE, **HEAD, cpu=cpu, fit_subnets=5, test_subnets=2, progress=False)
    quality = found.info["quality"]
    assert quality["fit_subnets"] >= 5  # and those with patches
    assert (quality["test_subnets"], len(quality["pairs"])) == (2, 2)
    assert quality["largest"] < 0.05
    assert 0.5 < found.info["operators"]["conv 1x1"] < 6
    assert found.info["operators"]["by_channel 3x3"] > 2
    found.save(tmp_path / "costs.json")
    codes = SPACE.sample(50, np.random.default_rng(0))
    assert np.array_equal(CostTable.load(tmp_path / "costs.json").predict(codes), found.predict(codes))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1], [4, 3, 1, 2, 0], [1, 2, 3, 4, 0]])
def test_both_ends_of_a_space_are_in_the_fit(order):
    ends = [SPACE.encode(SPACE.smallest), SPACE.encode(SPACE.largest)]
    codes = np.concatenate([ends, SPACE.sample(3, np.random.default_rng(1))])[order]
    fitted, test = counting.with_ends(SPACE, codes[:3], codes[3:])
    assert (len(fitted), len(test)) == (3, 2)
    assert all((fitted == end).all(axis=1).any() for end in ends)
    assert sorted(map(bytes, [*fitted, *test])) == sorted(map(bytes, codes))


def test_every_kernel_of_a_space_is_counted():
    """Also one that a few networks lack."""
    space = SearchSpace.preset("mcu_32")
    smallest = space.encode(space.smallest)[None]
    codes = counting.with_every_kind(space, smallest, **HEAD, rng=np.random.default_rng(0))
    assert np.array_equal(codes[:1], smallest)
    stems = {space.choices(space.decode(code)).stem["kernel_conv_stem"] for code in codes}
    assert stems == {3, 5, 7}


@emulated
def test_programs_with_patches_are_predicted_like_others():
    """Few of the space have any; without one in the fit the error was up to six times the count."""
    space = SearchSpace.preset("mcu_32")
    found = counting.measure(space, **HEAD, fit_subnets=4, test_subnets=3, progress=False)
    assert found.info["quality"]["largest"] < 0.1


@emulated
def test_a_space_with_other_operators_names_the_layer_and_what_would_do():
    with pytest.raises(ValueError, match=r"no C is known for \w+ \(layer .*the space 'mcu'"):
        counting.measure(SearchSpace.preset("tiny_mbv3"), **HEAD, progress=False)
