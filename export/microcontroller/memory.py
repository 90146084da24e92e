"""Which tensors share memory: some operators may write their output over their input.

- A depthwise convolution that is computed one channel after the other (``c/model_depthwise.c``) needs a few rows of
  a channel beside its map, and neither a second map nor a copy of its window. So does TinyML's best known system
  (MCUNetV2, https://arxiv.org/abs/2110.15352).
- An addition reads a value of each input before it writes one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ofa.export.microcontroller.scratch import ALIGNMENT, operator_scratch
from ofa.supernet.integers import round_up
from ofa.supernet.operators import Operator, Operators, Side, largest, lifetimes, moments

KERNELS = (1, 3, 5, 7)  # sides of those that ``c/model_depthwise.c`` knows
_BLOCK = {True: 4, False: 2}  # its outputs that are computed at once, with vector instructions or without
_BYTES = {True: 1, False: 2}  # of a value of its ring


@dataclass(frozen=True)
class Memory:
    """What a program may do to need less RAM.

    Attributes:
        in_place: outputs are written over inputs.
        patches: the first blocks are computed in patches (``microcontroller.patches``) where that needs less.
        overhead: multiply-accumulates that patches may add, as a share of the network's.
    """

    in_place: bool = True
    patches: bool = True
    overhead: float = 0.25


DEFAULT = Memory()


class Reading(NamedTuple):
    """What an operator reads and writes: numbers of tensors. ``in_place``: those that it may overwrite."""

    inputs: tuple[int, ...]
    output: int
    in_place: tuple[int, ...] = ()


class Buffer(NamedTuple):
    """Memory that ``tensors`` have one after the other, from step ``first`` to step ``last``."""

    tensors: tuple[int, ...]
    first: int
    last: int


def by_channel(operator: Operator) -> bool:
    """Whether an operator is a depthwise convolution that ``c/model_depthwise.c`` can compute."""
    return operator.kind == "depthwise" and operator.kernel in KERNELS and operator.padding <= operator.kernel // 2


def ring_bytes(kernel: int, stride: int, width: Side, *, vectors: bool) -> Side:
    """Bytes of the rows of one channel that it keeps, for an output of ``width``."""
    block = _BLOCK[vectors]
    values = (round_up(width, block) - 1) * stride + kernel
    return _BYTES[vectors] * kernel * round_up(values, 2)


def overwrites(channels: int, stride: int, readers: Sequence[int]) -> bool:
    """Whether a depthwise convolution's output shall be in its input's memory, which the output keeps for its life.

    ``readers`` are the channels that the operators behind it write. A smaller map, of stride 2, keeps more than
    it needs: while those run that is worse than a map of its own, if they write more channels.
    """
    return stride == 1 or (len(readers) > 0 and max(readers) <= channels)


def part_readings(part: Operators) -> list[Reading]:
    """What the operators of ``part`` read and write, in place where they can and that needs less."""
    found = []
    for number, operator in enumerate(part, 1):
        readers = [other.channels for other in part if number in other.inputs]
        in_place = operator.kind == "add" and len(operator.inputs) == 2
        in_place |= by_channel(operator) and overwrites(operator.channels, operator.stride, readers)
        found.append(Reading(operator.inputs, number, operator.inputs if in_place else ()))
    return found


def buffers(
    living: Sequence[tuple[int, int]], readings: Iterable[Reading], *, outside: Collection[int] = ()
) -> list[Buffer]:
    """The memory of all tensors whose (first, last) steps are ``living``, but of those ``outside``.

    An operator's output is in the memory of an input that no later one reads.
    """
    made = {
        tensor: Buffer((tensor,), first, last) for tensor, (first, last) in enumerate(living) if tensor not in outside
    }
    for step, reading in enumerate(readings):
        output = reading.output
        free = [tensor for tensor in reading.in_place if tensor in made and living[tensor][1] == step]
        if not free or output not in made:
            continue
        over = max(free, key=lambda tensor: living[tensor][0])  # the younger one, which no other step may enlarge
        before = made[over]
        merged = Buffer((*before.tensors, output), before.first, living[output][1])
        made.update(dict.fromkeys(merged.tensors, merged))
    return list(dict.fromkeys(made.values()))


def buffer_size(buffer: Buffer, sizes: Sequence[Side]) -> Side:
    """The bytes of a buffer whose tensors have ``sizes``."""
    return largest([sizes[tensor] for tensor in buffer.tensors])


def arena_moments(
    part: Operators,
    sizes: Sequence[Side],
    widths: Sequence[Side],
    *,
    in_place: bool,
    vectors: bool,
    outside: Sequence[int] = (),
) -> list[Side]:
    """Bytes of the arena that live while each operator of ``part`` runs, its scratch memory included.

    ``sizes`` and ``widths`` are those of its tensors. Tensors in ``outside`` have buffers of their own.
    """
    steps = part_readings(part) if in_place else ()
    shared = buffers(lifetimes(part), steps, outside=outside)
    rounded = [round_up(size, ALIGNMENT) for size in sizes]
    live = moments(
        [(buffer.first, buffer.last) for buffer in shared], [buffer_size(buffer, rounded) for buffer in shared]
    )
    live += [0] * (len(part) - len(live))
    scratch = [
        ring_bytes(operator.kernel, operator.stride, width, vectors=vectors)
        if in_place and by_channel(operator)
        else operator_scratch(operator, part.read_channels(operator), vectors=vectors)
        for operator, width in zip(part, widths[1:], strict=True)
    ]
    return [tensors + round_up(size, ALIGNMENT) for tensors, size in zip(live, scratch, strict=True)]
