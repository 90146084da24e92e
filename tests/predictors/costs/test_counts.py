"""Folds over operators equal formulas written by hand, on every block of every preset at every third resolution."""

from itertools import product

import mobilenetv3_by_hand as by_hand
import numpy as np
import pytest
from shared_spaces import BY_HAND

from ofa.predictors.costs import memory
from ofa.predictors.costs.counts import at_each_side, fold_blocks, fold_table
from ofa.predictors.costs.imported import published_names
from ofa.predictors.costs.microcontroller import program
from ofa.predictors.costs.microcontroller.loops import operator_shapes
from ofa.supernet.families.operators import operators_of_family
from ofa.supernet.operators import biases, macs, params, peak_activation, weights
from ofa.supernet.space import SearchSpace

HEAD = {"num_classes": 7, "in_chans": 3}
WITHOUT_SE = [name for name in BY_HAND if name.startswith("mcu")]


def blocks(space):
    """Every block at every third resolution: the part, the side it reads, and how the formulas call it."""
    family = operators_of_family(space)
    for resolution in space.resolutions[::3]:
        sides = space.sizes(resolution)
        for slot, side in zip(space.blocks, sides[:-1], strict=True):
            stage = space.stages[slot.stage]
            for kernel, expand in product(stage.kernels, stage.expands):
                part = family.block(space, slot, kernel=kernel, expand=expand)
                yield part, side, (space, slot), {"kernel": kernel, "expand": expand}


def ends(space):
    """Stem and head at every third resolution, with the sides that they read."""
    family = operators_of_family(space)
    parts = [family.stem(space, in_chans=HEAD["in_chans"]), family.head(space, num_classes=HEAD["num_classes"])]
    for resolution in space.resolutions[::3]:
        yield resolution, list(zip(parts, (resolution, space.sizes(resolution)[-1]), strict=True))


@pytest.mark.parametrize("name", BY_HAND)
def test_blocks(name):
    space = SearchSpace.preset(name)
    for part, side, slot, options in blocks(space):
        assert macs(part, side) == by_hand.block_macs(*slot, **options, size=side)
        assert (weights(part), biases(part)) == by_hand.block_weights(*slot, **options)
        assert params(part) == by_hand.block_params(*slot, **options, size=side)
        assert peak_activation(part, side) == by_hand.block_live(*slot, **options, size=side)
        assert published_names(part, side) == [by_hand.block_name(*slot, *options.values(), side)]


@pytest.mark.parametrize("name", BY_HAND)
def test_stem_and_head(name):
    space = SearchSpace.preset(name)
    for resolution, parts in ends(space):
        assert sum(macs(*part) for part in parts) == by_hand.fixed_macs(space, resolution, **HEAD)
        counts = tuple(sum(fold(part) for part, _ in parts) for fold in (weights, biases))
        assert counts == by_hand.fixed_weights(space, **HEAD)
        assert sum(params(part) for part, _ in parts) == by_hand.fixed_params(space, resolution, **HEAD)
        assert max(peak_activation(*part) for part in parts) == by_hand.fixed_live(space, resolution, **HEAD)
        names = [name for part in parts for name in published_names(*part)]
        assert names == by_hand.fixed_names(space, resolution, *HEAD.values())


@pytest.mark.parametrize("name", WITHOUT_SE)
def test_blocks_on_microcontrollers(name):
    space = SearchSpace.preset(name)
    for part, side, slot, options in blocks(space):
        assert memory.arena(part, side) == by_hand.planned_block(*slot, **options, size=side)
        for vectors in (False, True):
            expected = by_hand.program_block(*slot, **options, size=side, vectors=vectors)
            assert program.arena(part, side, vectors=vectors, in_place=False) == expected
        assert operator_shapes(part, side, in_place=False) == by_hand.block_operators(*slot, **options, size=side)


@pytest.mark.parametrize("name", WITHOUT_SE)
def test_stem_and_head_on_microcontrollers(name):
    space = SearchSpace.preset(name)
    for resolution, parts in ends(space):
        assert max(memory.arena(*part) for part in parts) == by_hand.planned_ends(space, resolution, **HEAD)
        (stem, first), (head, last) = parts
        for vectors in (False, True):
            arena = max(
                program.arena(stem, first, vectors=vectors, in_place=False, outside=[0]),
                program.arena(head, last, vectors=vectors, in_place=False, outside=[len(head)]),
            )
            assert arena == by_hand.program_fixed(space, resolution, in_chans=HEAD["in_chans"], vectors=vectors)
        shapes = [shape for part in parts for shape in operator_shapes(*part, in_place=False)]
        assert sorted(shapes) == sorted(by_hand.fixed_operators(space, resolution, **HEAD))


def test_tables_are_made_of_parts():
    space = SearchSpace.preset("tiny_mbv3")
    for combine, merge in (("sum", sum), ("max", max)):
        table = fold_table(
            space, "own", "units", at_each_side(lambda part, side: len(part) + side), **HEAD, combine=combine
        )
        family = operators_of_family(space)
        lengths = [len(family.stem(space, in_chans=3)), len(family.head(space, num_classes=7))]
        ends, *blocks = (part.costs for part in table.parts)
        for row, resolution in enumerate(space.resolutions):
            assert ends[row] == merge(np.add(lengths, [resolution, space.sizes(resolution)[-1]]).tolist())
        expected = fold_blocks(space, lambda part, sides: len(part) + sides)
        assert all(np.array_equal(one, other) for one, other in zip(blocks, expected, strict=True))
