"""What the function that runs a model calls, in which order, and what it is to compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ofa.export.microcontroller.calls import Source
from ofa.export.microcontroller.layout import Layout, by_channel
from ofa.export.microcontroller.own_kernels import ADD, COPY, depthwise, includes, placed, with_scratch
from ofa.export.microcontroller.patched_source import Patched, executed_windows, loop_text


class Executed(NamedTuple):
    """A kernel that runs.

    Attributes:
        kind: bakenn's name of the operator (``"conv2d_s8"``), or ``"by_channel"``.
        input, output, kernel: shapes of what it reads and writes, and of its weights.
        padding: above and left of what it reads.
    """

    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    padding: tuple[int, ...]


class Body(NamedTuple):
    """The C of a model, what its kernels run, and the names of all kernels that it calls."""

    text: str
    executed: list[Executed]
    called: set[str]


def body(
    plan: Any,
    source: Source,
    layout: Layout,
    scratch_sizes: Mapping[int, int],
    *,
    in_place: bool,
    patched: Patched | None,
    cmsis_nn: bool,
) -> Body:
    """bakenn's ``source`` with our layout, and our own kernels where they need less memory or fewer instructions."""
    steps = [number for number, step in enumerate(plan.steps) if not step.kernel_kind.endswith("_view")]
    calls, executed = [], []
    for number, call in zip(steps, source.calls, strict=True):
        step, offset, size = plan.steps[number], layout.scratch.get(number), scratch_sizes.get(number, 0)
        offsets = layout.tensors
        if patched is not None and number >= len(patched.part):
            offsets = offsets | {patched.cut: layout.patches.map}
        call = placed(call, step.inputs, step.outputs[0], offsets)
        if in_place and by_channel(plan, step):
            call = depthwise(call, offset, size)
        elif number in scratch_sizes:
            call = with_scratch(call, offset, size)
        elif cmsis_nn and call.kernel == "bknn_model_add_s8":
            call = call._replace(kernel=ADD)
        calls.append(call)
        executed.append(_executed(plan, step, in_place=in_place))

    # The first calls become a loop over patches.
    called = {call.kernel for call in calls}
    if patched is not None:
        count = len(patched.part)
        executed = [*_executed_patches(patched, executed[:count]), *executed[count:]]
        loop = loop_text(patched, calls[:count], layout.patches)
        source, calls = source._replace(begin=f"{source.begin}{loop}\n"), calls[count:]
        called.add(COPY)
    return Body(includes(called) + source._replace(calls=calls).text(), executed, called)


def _executed(plan: Any, step: Any, *, in_place: bool) -> Executed:
    shapes = [tuple(plan.tensors[name].tensor_type.shape[1:]) for name in (step.inputs[0], step.outputs[0])]
    weight = getattr(step, "weight", None)
    kernel = tuple(plan.constants[weight].shape) if weight else tuple(getattr(step, "kernel", ()))
    top, _, left, _ = getattr(step, "padding", (0, 0, 0, 0))
    kind = "by_channel" if in_place and by_channel(plan, step) else step.kernel_kind
    return Executed(kind, *shapes, kernel, getattr(step, "stride", (1, 1))[0], (top, left))


def _executed_patches(patched: Patched, operators: Sequence[Executed]) -> Iterator[Executed]:
    """What runs in patches, where ``operators`` would run on whole maps."""
    for number, read, written, padding in executed_windows(patched):
        if number == 0:
            yield Executed("copy", read, written, (), 1, (0, 0))
        else:
            known = operators[number - 1]
            shapes = {"input": (*read, known.input[2]), "output": (*written, known.output[2])}
            yield known._replace(**shapes, padding=padding)
