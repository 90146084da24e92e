"""Where the tensors and the scratch memory of bakenn's plan lie in the arena."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ofa.export.lifetimes import Lifetime, peak, place
from ofa.export.microcontroller.memory import KERNELS, Reading, buffer_size, buffers, overwrites, ring_bytes
from ofa.export.microcontroller.patched_source import Copies, Patched
from ofa.export.microcontroller.patches import row_bytes
from ofa.export.microcontroller.scratch import ALIGNMENT, scratch_bytes
from ofa.supernet.integers import round_up

_LARGEST_SUM = 1 << 30  # of products and bias, so that rounding cannot overflow


class Layout(NamedTuple):
    """Offsets in the arena.

    Attributes:
        tensors: of each tensor in it, by name.
        scratch: of the scratch memory of each step that has some.
        arena, live: bytes of the arena, and the least that it could have.
        patches: where the patches' own buffers are, if there are patches.
    """

    tensors: dict[str, int]
    scratch: dict[int, int]
    arena: int
    live: int
    patches: Copies | None = None


def by_channel(plan: Any, step: Any) -> bool:
    """Whether a step is a depthwise convolution that ``c/model_depthwise.c`` can compute."""
    if step.kernel_kind != "depthwise_conv2d_s8":
        return False
    height, width, _ = plan.constants[step.weight].shape
    return (
        height == width
        and height in KERNELS
        and max(step.padding) <= height // 2
        and step.stride[0] == step.stride[1]
        and step.depth_multiplier == 1
        and tuple(step.dilation) == (1, 1)
        and max(step.accumulator_bounds) < _LARGEST_SUM
        and min(step.shifts) > -31
    )


def scratch_size(
    plan: Any, step: Any, kernel: Any, *, in_place: bool, vectors: bool, patched: Patched | None = None
) -> int:
    """Bytes of scratch memory that a step needs: less than bakenn reserves for its ``kernel``, or more with vectors."""
    if in_place and by_channel(plan, step):
        width = plan.tensors[step.output].tensor_type.shape[2]
        if patched is not None and step.output in patched.tensors:
            width = int(patched.windows[patched.tensors.index(step.output)].size.max())
        return ring_bytes(plan.constants[step.weight].shape[0], step.stride[0], width, vectors=vectors)
    if not kernel.kernel_id.startswith("cmsis_nn"):
        return kernel.scratch_size
    if step.kernel_kind == "average_pool2d_s8":
        return 0 if vectors else kernel.scratch_size  # with vector instructions it sums in registers
    weight = getattr(step, "weight", None)
    known = None if weight is None else scratch_bytes(step, plan.constants[weight].shape, vectors=vectors)
    if known is None and vectors:
        raise ValueError(f"{step.name}: how much scratch memory a Cortex-M55 needs for it is not known")
    return kernel.scratch_size if known is None else known


def lay_out(plan: Any, scratch_sizes: Mapping[int, int], *, in_place: bool, patched: Patched | None = None) -> Layout:
    """The layout of the arena; tensors of one alias group share their memory, which is named by the group's root.

    Of a tensor that exists for a patch alone, the largest window is there.
    """
    roots = list(plan.lifetimes)
    sizes = [
        round_up(max(plan.tensors[member].tensor_type.nbytes for member in plan.alias_groups[root]), ALIGNMENT)
        for root in roots
    ]
    living = [(plan.lifetimes[root].birth, plan.lifetimes[root].death - 1) for root in roots]
    readings = _readings(plan, roots)
    extra = []
    if patched is not None:
        extra = _shrink(patched, roots, sizes, living, readings)
    shared = buffers(living, readings if in_place else ())
    lifetimes = [Lifetime(int(buffer_size(buffer, sizes)), buffer.first, buffer.last) for buffer in shared]
    steps = [step for step, size in scratch_sizes.items() if size]
    lifetimes += [Lifetime(round_up(scratch_sizes[step], ALIGNMENT), step, step) for step in steps]
    offsets, arena = place([*lifetimes, *extra])

    # Offsets of the tensors first, then those of the scratch memory, and of the rows of the image.
    tensor_offsets = {
        tensor: offset for buffer, offset in zip(shared, offsets, strict=False) for tensor in buffer.tensors
    }
    tensors = {name: tensor_offsets[tensor] for tensor, root in enumerate(roots) for name in plan.alias_groups[root]}
    scratch = dict(zip(steps, offsets[len(shared) :], strict=False))
    copies = Copies(offsets[-1], tensor_offsets[len(roots)]) if patched is not None else None
    arena = round_up(max(arena, 1), plan.arena_alignment)
    return Layout(tensors, scratch, arena, peak([*lifetimes, *extra]), copies)


def _shrink(
    patched: Patched, roots: list[str], sizes: list[int], living: list[tuple[int, int]], readings: list[Reading]
) -> list[Lifetime]:
    """Changes sizes, lifetimes and readings to those of windows; returns the lifetime of the rows of the image.

    The map at the cut becomes one tensor more, which lives from the first patch on and is read by all later steps.
    """
    channels = [operator.channels for operator in patched.part]
    numbers = [roots.index(name) for name in patched.tensors[1:]]
    cut, last, whole = numbers[-1], len(channels) - 1, len(roots)
    sizes.append(sizes[cut])
    living.append((0, living[cut][1]))
    living[cut] = (last, last)
    for number, of_tensor, window in zip(numbers, channels, patched.windows[1:], strict=True):
        sizes[number] = round_up(of_tensor * int(window.size.max()) ** 2, ALIGNMENT)
    for step in range(last + 1, len(readings)):
        inputs, output, over = readings[step]
        inputs, over = (tuple(whole if tensor == cut else tensor for tensor in of) for of in (inputs, over))
        readings[step] = Reading(inputs, output, over)
    return [Lifetime(round_up(int(row_bytes(patched.part, patched.windows[0])), ALIGNMENT), 0, 0)]


def _readings(plan: Any, roots: list[str]) -> list[Reading]:
    """What each step reads and writes, as numbers of ``roots``; -1 for the network's input, output and constants."""
    number_of = {name: number for number, root in enumerate(roots) for name in plan.alias_groups[root]}

    def channels(name: str) -> int:
        return plan.tensors[name].tensor_type.shape[-1]

    def numbers(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(number_of.get(name, -1) for name in names)

    found = []
    for step in plan.steps:
        over: tuple[str, ...] = ()
        if by_channel(plan, step):
            readers = [channels(other.outputs[0]) for other in plan.steps if step.output in other.inputs]
            over = step.inputs if overwrites(channels(step.output), step.stride[0], readers) else ()
        elif step.kernel_kind == "add_s8":
            shapes = {tuple(plan.tensors[name].tensor_type.shape) for name in step.inputs}
            over = step.inputs if len(shapes) == 1 else ()
        found.append(Reading(numbers(step.inputs), numbers(step.outputs)[0], numbers(over)))
    return found
