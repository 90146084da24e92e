"""The operators of a derived space's parts for every choice: those of the largest network, with other channels.

A family's ``operators.py`` takes ``stem``, ``block`` and ``head`` from here: no operator is written per family.
"""

from __future__ import annotations

from typing import Any

from ofa.supernet.derived.parts import PartLayout
from ofa.supernet.derived.space import DerivedSpace
from ofa.supernet.derived.strides import chosen_strides
from ofa.supernet.operators import Operator, Operators
from ofa.supernet.space import BlockPosition


def stem(space: DerivedSpace, *, in_chans: int, **choices: Any) -> Operators:
    given = {space.layout.stem.axes[0]: in_chans}
    kernels = space.kernels_of_stem(choices)
    return _chosen(space, space.layout.stem, space.part_columns.stem, choices, given, kernels)


def block(space: DerivedSpace, position: BlockPosition, **choices: Any) -> Operators:
    part, number = space.part_of(position, choices), space.blocks.index(position)
    kernels = space.kernels_of(position, choices)
    return _chosen(space, part, space.part_columns.blocks[number], choices, {}, kernels)


def head(space: DerivedSpace, *, num_classes: int, **choices: Any) -> Operators:
    return _chosen(space, space.layout.head, space.part_columns.head, choices, {space.layout.classes: num_classes})


def _chosen(
    space: DerivedSpace,
    part: PartLayout,
    columns: dict[str, int],
    choices: dict[str, Any],
    given: dict[int, int],
    kernels: dict[str, int] | None = None,
) -> Operators:
    """A part with the channels of ``choices``; ``given`` are those that no gene chooses."""
    option = {column: space.genes[column].options.index(choices[key]) for key, column in columns.items()}

    def size(axis: int) -> int:
        if axis in given:
            return given[axis]
        genes, sizes = space.axis_sizes[axis]
        return int(sizes[tuple(option[column] for column in genes)])

    strides = chosen_strides(space.stride_layers, choices)
    left_out = tuple(f"{path.rpartition('.')[0]}." for path, kernel in (kernels or {}).items() if not kernel)
    made: list[Operator] = []
    tensors = [0]  # of each tensor of the largest network, its number here
    for number, operator in enumerate(part.operators):
        if left_out and part.paths[number].startswith(left_out):
            tensors.append(tensors[operator.inputs[0]])
            continue
        channels, heads = size(part.axes[number + 1]), part.groups[number]
        changed: dict[str, Any] = {"channels": channels, "inputs": tuple(tensors[read] for read in operator.inputs)}
        if operator.kind == "depthwise":
            changed["groups"] = channels
        elif heads is not None:
            changed["groups"] = size(heads)
        if operator.extra_params and operator.kind != "opaque":  # a token or a position has every channel
            changed["extra_params"] = operator.extra_params // operator.channels * channels
        if kernels and (kernel := kernels.get(part.paths[number])):
            changed |= {"kernel": kernel, "padding": kernel // 2}
        if stride := strides.get(part.paths[number]):
            changed["stride"] = stride
        made.append(operator._replace(**changed))
        tensors.append(len(made))
    return Operators(size(part.axes[0]), tuple(made), part.in_tokens)
