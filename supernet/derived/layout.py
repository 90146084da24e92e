"""A whole network that was walked: its parts as operators, and what may be chosen of each group of channels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from timm.models.vision_transformer import Attention
from torch import nn

from ofa.supernet.derived.alternatives import family_parts, walked_with
from ofa.supernet.derived.attention import attention
from ofa.supernet.derived.base import IN_CHANS
from ofa.supernet.derived.block import Alternative
from ofa.supernet.derived.cut import Cut
from ofa.supernet.derived.functions import note_function
from ofa.supernet.derived.layers import HANDLERS
from ofa.supernet.derived.parts import Layout, PartLayout
from ofa.supernet.derived.roles import channels_of
from ofa.supernet.derived.walk import Network, TracedPart, Value, walk_part
from ofa.supernet.elastic.depthwise import is_depthwise
from ofa.supernet.elastic.leaves import can_be_elastic, can_choose_kernel
from ofa.supernet.elastic.stage import why_layer_is_needed
from ofa.supernet.operators import Operators


def layout_of(
    family: str,
    timm_name: str,
    arguments: Mapping[str, Any],
    resolutions: Sequence[int],
    alternatives: Sequence[Alternative] = (),
    *,
    stages_of_one_width: bool = False,
) -> Layout:
    """The layout of a model of ``family`` that timm builds; remembered for the models asked for last.

    With ``stages_of_one_width``, the blocks of a stage give as many channels as its first. Raises ``ValueError`` naming
    a resolution that the model cannot take, or an alternative that does not fit.
    """
    told = json.dumps(arguments, sort_keys=True)
    return _layout_of(family, timm_name, told, tuple(resolutions), tuple(alternatives), stages_of_one_width)


@lru_cache(maxsize=16)
def _layout_of(
    family: str,
    timm_name: str,
    arguments: str,
    resolutions: tuple[int, ...],
    alternatives: tuple[Alternative, ...],
    stages_of_one_width: bool,
) -> Layout:
    model = walked_with(family, timm_name, json.loads(arguments), alternatives)
    cut = family_parts(family).cut(model)
    return walk_model(model, cut, resolutions, alternatives, stages_of_one_width=stages_of_one_width)


def walk_model(
    model: nn.Module,
    cut: Cut,
    resolutions: Sequence[int],
    alternatives: Sequence[Alternative] = (),
    *,
    stages_of_one_width: bool = False,
) -> Layout:
    """The layout of a plain model in eval mode on the meta device, for images of the ``resolutions``.

    ``alternatives`` are submodules of the blocks that they may stand for. Raises ``ValueError`` for a resolution that
    the model cannot take, and for an alternative that does not give what the block does.
    """
    network, parts = _walk(model, cut, resolutions[-1], alternatives)
    own, lengths = parts[: len(parts) - len(alternatives)], [len(stage) for stage in cut.stages]
    if stages_of_one_width:
        for part in (part for stage in _by_stage(own[1:-1], lengths) for part in stage[1:]):
            traced = part.traced
            network.axes.join(traced.axes[0], traced.axes[traced.out.tensor], where="blocks of other widths")
    _check_sides(own, resolutions)
    if any(operator.kind == "opaque" for part in parts for operator in part.traced.operators):
        again = [_walk(model, cut, resolution, alternatives)[1] for resolution in resolutions[:-1]]
        parts = [_with_counts(part, [walked[number] for walked in again]) for number, part in enumerate(parts)]
    _fix_leaves_that_cannot_be_cut(model, network)
    numbers = {
        root: number for number, root in enumerate(dict.fromkeys(map(network.axes.root, range(len(network.axes)))))
    }

    def number(axis: int) -> int:
        return numbers[network.axes.root(axis)]

    layouts = [
        PartLayout(
            part.traced.operators,
            tuple(map(number, part.traced.axes)),
            tuple(None if axis is None else number(axis) for axis in part.traced.groups),
            part.traced.paths,
            part.traced.out.tensor,
            part.tokens,
        )
        for part in parts
    ]
    stem, *inside, head = layouts[: len(own)]
    blocks = _by_stage(inside, lengths)
    return Layout(
        stem,
        blocks,
        head,
        channels=channels_of(network.axes, list(numbers), stem, blocks, head),
        classes=head.axes[head.out],
        leaves={
            path: leaf._replace(reads=number(leaf.reads), writes=number(leaf.writes))
            for path, leaf in network.leaves.items()
        },
        parameters={path: (number(axis), dim) for path, (axis, dim) in network.parameters.items()},
        opaque=network.opaque,
        least_depths=tuple(_least_depth(network, stage) for stage in _by_stage(own[1:-1], lengths)),
        containers=tuple(cut.containers),
        fixed_kernels=frozenset(path for path in network.leaves if not can_choose_kernel(model.get_submodule(path))),
        optional=frozenset(path for path in network.leaves if _can_be_left_out(model, path)),
        alternatives={one[:3]: part for one, part in zip(alternatives, layouts[len(own) :], strict=True)},
    )


class _Part(NamedTuple):
    traced: TracedPart
    side: int
    tokens: int
    out_side: int
    out_tokens: int


def _walk(
    model: nn.Module, cut: Cut, resolution: int, alternatives: Sequence[Alternative]
) -> tuple[Network, list[_Part]]:
    """The parts of ``cut`` in order, and then the alternatives."""
    network, parts, others = Network(model), [], {}
    value = Value(0, network.axes.new(IN_CHANS, fixed="the images"), 1)
    shape, side, tokens = (1, IN_CHANS, resolution, resolution), resolution, 0
    handlers = {**HANDLERS, Attention: attention, **cut.handlers}

    def walked(module: nn.Module) -> _Part:
        given = value._replace(tensor=0)
        options = {"side": side, "tokens": tokens, "handlers": handlers, "note_function": note_function}
        try:
            traced = walk_part(network, module, given, shape, **options)
        except NotImplementedError as error:
            raise ValueError(f"images of {resolution} pixels do not pass through this model: {error}") from error
        operators = Operators(network.axes[given.axis].size, traced.operators, tokens)
        written = operators.shapes(side)[traced.out.tensor]
        return _Part(traced, side, tokens, int(written.side), int(written.tokens))

    places = [(stage, index) for stage, blocks in enumerate(cut.stages) for index in range(len(blocks))]
    modules = [cut.stem, *(block for blocks in cut.stages for block in blocks), cut.head]
    for place, module in zip([None, *places, None], modules, strict=True):
        part = walked(module)
        parts.append(part)
        for one in (one for one in alternatives if (one.stage, one.index) == place):
            others[one] = walked(model.get_submodule(one.path(cut.containers)))
            _join(network, part, others[one], one)
        value, shape, side, tokens = part.traced.out, part.traced.out_shape, part.out_side, part.out_tokens
    network.axes.fix(value.axis, "the classes")
    return network, [*parts, *(others[one] for one in alternatives)]


def _join(network: Network, part: _Part, other: _Part, alternative: Alternative) -> None:
    """What the alternative ``other`` of ``part`` reads and gives has the same channels; those inside it are kept."""
    expected, found = part.traced.out_shape, other.traced.out_shape
    if found != expected:
        raise ValueError(
            f"stages.{alternative.stage}.blocks.{alternative.index}.kinds: {alternative.block} gives maps of the shape "
            f"{list(found[1:])}, and the block in whose place it stands {list(expected[1:])}"
        )
    ends = {network.axes.join(part.traced.out.axis, other.traced.out.axis, where=alternative.block)}
    ends.add(network.axes.root(other.traced.axes[0]))
    for axis in other.traced.axes:
        if network.axes.root(axis) not in ends:
            network.axes.fix(axis, f"{alternative.block}: it stands in the place of another block")


def _check_sides(parts: Sequence[_Part], resolutions: Sequence[int]) -> None:
    """Raises ``ValueError`` for images so small that no map is left of them somewhere."""
    for resolution in resolutions:
        side = resolution
        for part in parts:
            if any(operator.kind == "opaque" for operator in part.traced.operators):
                break  # counted one resolution at a time
            shapes = Operators(0, part.traced.operators, part.tokens).shapes(side)
            blurred = [
                shapes[operator.inputs[0]].side - operator.padding
                for operator in part.traced.operators
                if operator.kind == "blur"
            ]
            if min(*(shape.side for shape in shapes), *blurred) < 1:
                raise ValueError(f"resolutions: images of {resolution} pixels are too small for this model")
            side = int(shapes[part.traced.out.tensor].side)


def _with_counts(part: _Part, others: Sequence[_Part]) -> _Part:
    """Opaque operators know what was counted at every resolution."""
    operators = [
        operator._replace(
            counted=tuple(
                {
                    entry.side: entry for walk in (part, *others) for entry in walk.traced.operators[number].counted
                }.values()
            )
        )
        for number, operator in enumerate(part.traced.operators)
    ]
    return part._replace(traced=replace(part.traced, operators=tuple(operators)))


def _fix_leaves_that_cannot_be_cut(model: nn.Module, network: Network) -> None:
    for path, leaf in network.leaves.items():
        module = model.get_submodule(path)
        if not can_be_elastic(module):
            for axis in (leaf.reads, leaf.writes):
                network.axes.fix(axis, f"{path}: {type(module).__name__} cannot be cut")


def _can_be_left_out(model: nn.Module, path: str) -> bool:
    """Whether a depthwise convolution is in a module that gives what it reads. A number would be a block's name."""
    place = path.rpartition(".")[0]
    named = bool(place) and not place.rpartition(".")[2].isdigit()
    return named and is_depthwise(model.get_submodule(path)) and not why_layer_is_needed(model.get_submodule(place))


def _by_stage(blocks: Iterable[Any], lengths: Sequence[int]) -> tuple[tuple[Any, ...], ...]:
    remaining = iter(blocks)
    return tuple(tuple(islice(remaining, length)) for length in lengths)


def _least_depth(network: Network, stage: Sequence[_Part]) -> int:
    """Blocks of a stage that must stay: all but the last ones that give what they read. None may have to."""
    least = len(stage)
    while least > 0 and _keeps_shape(network, stage[least - 1]):
        least -= 1
    return least


def _keeps_shape(network: Network, part: _Part) -> bool:
    traced = part.traced
    same = network.axes.root(traced.axes[0]) == network.axes.root(traced.axes[traced.out.tensor])
    return same and (part.side, part.tokens) == (part.out_side, part.out_tokens)
