"""The C that runs the first operators of a model patch by patch: a loop over patches around the same kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ofa.export.microcontroller.calls import Call
from ofa.export.microcontroller.own_kernels import COPY
from ofa.export.microcontroller.patches import (
    Patches,
    Windows,
    can_be_patched,
    padding_before,
    padding_of_windows,
    tiles,
    windows_of,
)
from ofa.supernet.operators import Operator, Operators

_KINDS = {"conv2d_s8": "conv", "depthwise_conv2d_s8": "depthwise", "add_s8": "add"}
_INDENT = 12  # of a statement in the loop over patches


class Patched(NamedTuple):
    """The operators that run in patches, and how.

    Attributes:
        part: as a list of operators; the first reads the image.
        grid: patches along an axis.
        tensors: names of the image and of the operators' outputs.
        sides: of their maps.
        windows: of each of them, those of every patch along one axis.
    """

    part: Operators
    grid: int
    tensors: list[str]
    sides: list[int]
    windows: list[Windows]

    @property
    def cut(self) -> str:
        """The tensor that the patches are put together to."""
        return self.tensors[-1]


class Copies(NamedTuple):
    """Offsets in the arena of the rows of the image that are read at once, and of the map at the cut."""

    rows: int
    map: int


def patched_of(plan: Any, patches: Patches) -> Patched:
    """The first operators of bakenn's plan as ``patches`` has them.

    Raises ``ValueError`` when they cannot be computed in patches.
    """
    steps = plan.steps[: patches.operators]
    tensors = [plan.inputs[0], *(step.outputs[0] for step in steps)]
    if not steps or any(step.kernel_kind not in _KINDS for step in steps):
        raise ValueError(f"the first {patches.operators} operators are not all convolutions and additions")
    shapes = [tuple(plan.tensors[name].tensor_type.shape[1:]) for name in tensors]
    part = Operators(shapes[0][2], tuple(_operator(plan, step, tensors) for step in steps))
    after = {name for step in plan.steps[patches.operators :] for name in step.inputs}
    if after & set(tensors[:-1]):
        raise ValueError(f"after the first {patches.operators} operators more than their last output is read")
    square = all(height == width for height, width, _ in shapes)
    sides = [shape[0] for shape in shapes]
    windows = windows_of(part, sides, tiles(sides[-1], patches.grid)) if square else None
    if windows is None or sides[-1] < patches.grid or not can_be_patched(part, first=True):
        raise ValueError(
            f"the first {patches.operators} operators cannot be computed in {patches.grid}x{patches.grid} patches"
        )
    return Patched(part, patches.grid, tensors, sides, windows)


def _operator(plan: Any, step: Any, tensors: Sequence[str]) -> Operator:
    inputs, channels = tuple(map(tensors.index, step.inputs)), plan.tensors[step.outputs[0]].tensor_type.shape[-1]
    if step.kernel_kind == "add_s8":
        return Operator("add", inputs, channels)
    shape, depthwise = plan.constants[step.weight].shape, step.kernel_kind == "depthwise_conv2d_s8"
    height, width = shape[:2] if depthwise else shape[1:3]
    top, _, left, _ = step.padding
    if height != width or top != left or step.stride[0] != step.stride[1] or tuple(step.dilation) != (1, 1):
        raise ValueError(f"{step.name} cannot be computed in patches: its kernel, stride or padding is not square")
    groups = channels if depthwise else step.groups
    return Operator("depthwise" if depthwise else "conv", inputs, channels, height, step.stride[0], groups, top)


def loop_text(patched: Patched, calls: Sequence[Call], copies: Copies) -> str:
    """The loop in C; ``calls`` are those of the operators on whole maps, with their places in the arena."""
    columns = _Columns(patched)
    body = [_statements(patched, number, call, columns, copies) for number, call in enumerate(calls, 1)]
    last = len(calls)
    channels, side = patched.part.operators[-1].channels, patched.sides[-1]
    width, row, column = columns.size(last, "x"), columns.start(last, "y"), columns.start(last, "x")
    paste = Call(
        COPY,
        {
            "from": f"(const int8_t *){_bare(calls[-1].arguments['output'])}",
            "from_step": f"{width} * {channels}",
            "to": f"(int8_t *)(void *)(arena + {copies.map}u) + ({row} * {side} + {column}) * {channels}",
            "to_step": f"{side * channels}",
            "rows": columns.size(last, "y"),
            "bytes": f"{width} * {channels}",
        },
    )
    body.append(paste.text(_INDENT))
    values = columns.values()
    table = ", ".join("{" + ", ".join(map(str, numbers)) + "}" for numbers in values)
    return (
        "    /* Along each axis, of every patch: sizes and beginnings of windows, and what is padded before them. */\n"
        f"    static const uint16_t windows[{patched.grid}][{len(values[0])}] = {{{table}}};\n"
        f"    for (int32_t patch = 0; patch < {patched.grid**2}; ++patch) {{\n"
        f"        const uint16_t *y = windows[patch / {patched.grid}], *x = windows[patch % {patched.grid}];\n"
        "        {\n" + "\n".join(body) + "        }\n    }\n"
    )


class _Columns:
    """The columns of the table of windows: each is what one number of a call is in every patch."""

    def __init__(self, patched: Patched) -> None:
        self._patched = patched
        self._columns: dict[str, np.ndarray] = {}

    def size(self, tensor: int, axis: str) -> str:
        return self._index(f"size {tensor}", self._patched.windows[tensor].size, axis)

    def start(self, tensor: int, axis: str) -> str:
        return self._index(f"start {tensor}", self._patched.windows[tensor].start, axis)

    def inside(self, tensor: int, written: int, axis: str) -> str:
        """Where the window of ``written`` begins in that of ``tensor``."""
        windows = self._patched.windows
        return self._index(f"in {tensor} {written}", windows[written].start - windows[tensor].start, axis)

    def padding(self, number: int, axis: str) -> str:
        """Of operator ``number``, counted from 1."""
        patched, operator = self._patched, self._patched.part.operators[number - 1]
        before = padding_before(operator, patched.sides[operator.inputs[0]], patched.sides[number])
        return self._index(f"pad {number}", padding_of_windows(operator, patched.windows[number], before), axis)

    def values(self) -> list[list[int]]:
        return np.stack(list(self._columns.values()), 1).tolist()

    def _index(self, name: str, column: np.ndarray, axis: str) -> str:
        self._columns.setdefault(name, column)
        return f"{axis}[{list(self._columns).index(name)}]"


def _statements(patched: Patched, number: int, call: Call, columns: _Columns, copies: Copies) -> str:
    """The call of operator ``number`` (from 1) on windows; the first one row by row, from copied rows of the image."""
    operator = patched.part.operators[number - 1]
    if operator.kind == "add":
        return call._replace(arguments=call.arguments | _add(patched, number, call, columns)).text(_INDENT)
    read = operator.inputs[0]
    sizes = {
        "input_height": columns.size(read, "y"),
        "input_width": columns.size(read, "x"),
        "output_height": columns.size(number, "y"),
        "output_width": columns.size(number, "x"),
        "pad_top": columns.padding(number, "y"),
        "pad_left": columns.padding(number, "x"),
    }
    if read:
        return call._replace(arguments=call.arguments | sizes).text(_INDENT)

    # The image has a buffer of its own, from which the rows of one row of outputs are copied.
    channels, side, kernel = patched.part.in_channels, patched.sides[0], operator.kernel
    rows = f"(arena + {copies.rows}u)"
    width, before = columns.size(0, "x"), padding_before(operator, side, patched.sides[1])
    copy = Call(
        COPY,
        {
            "from": f"input + (first * {side} + {columns.start(0, 'x')}) * {channels}",
            "from_step": f"{side * channels}",
            "to": f"(int8_t *)(void *){rows}",
            "to_step": f"{width} * {channels}",
            "rows": "last - first",
            "bytes": f"{width} * {channels}",
        },
    )
    output = f"{call.arguments['output']} + line * {columns.size(1, 'x')} * {operator.channels}"
    sizes |= {"input_height": "last - first", "output_height": "1", "pad_top": "first - top"}
    pointers = {"input": f"(const int8_t *)(void *){rows}", "output": output}
    margin, deeper = " " * _INDENT, " " * (_INDENT + 4)
    line = call._replace(arguments=call.arguments | pointers | sizes)
    return (
        f"{margin}for (int32_t line = 0; line < {columns.size(1, 'y')}; ++line) {{\n"
        f"{deeper}int32_t top = ({columns.start(1, 'y')} + line) * {operator.stride} - {before};\n"
        f"{deeper}int32_t first = top > 0 ? top : 0, last = top + {kernel} < {side} ? top + {kernel} : {side};\n"
        f"{copy.text(_INDENT + 4)}{line.text(_INDENT + 4)}{margin}}}\n"
    )


def _add(patched: Patched, number: int, call: Call, columns: _Columns) -> dict[str, str]:
    """The arguments of an addition of parts of windows: a window may be larger, as others read it, too."""
    operator = patched.part.operators[number - 1]
    channels = operator.channels
    found = {"dim1": columns.size(number, "y"), "dim2": columns.size(number, "x")}
    for name, tensor in zip("ab", operator.inputs, strict=True):
        width = columns.size(tensor, "x")
        if not all(map(np.array_equal, patched.windows[tensor], patched.windows[number])):
            row, column = (columns.inside(tensor, number, axis) for axis in "yx")
            pointer = call.arguments[f"input_{name}"]
            found[f"input_{name}"] = f"{pointer} + ({row} * {width} + {column}) * {channels}"
        found |= {f"{name}_stride0": "0u", f"{name}_stride1": f"(size_t){width} * {channels}u"}
        found |= {f"{name}_stride2": f"{channels}u", f"{name}_stride3": "1u"}
    return found


def _bare(pointer: str) -> str:
    return pointer.removeprefix("(int8_t *)")


def executed_windows(patched: Patched) -> Iterator[tuple[int, tuple[int, int], tuple[int, int], tuple[int, int]]]:
    """What runs, in order: number of the operator from 1, or 0 for a copy; (height, width) read and written; padding.

    A copy writes rows and bytes of a row.
    """
    part, windows = patched.part, patched.windows
    first, last = part.operators[0], len(part)
    before = padding_before(first, patched.sides[0], patched.sides[1])
    pads = [
        padding_of_windows(
            operator,
            windows[number],
            padding_before(operator, patched.sides[operator.inputs[0]], patched.sides[number]),
        )
        for number, operator in enumerate(part, 1)
    ]
    for patch in np.ndindex(patched.grid, patched.grid):
        size = [tuple(int(window.size[place]) for place in patch) for window in windows]
        for line in range(size[1][0]):
            top = (int(windows[1].start[patch[0]]) + line) * first.stride - before
            rows = min(top + first.kernel, patched.sides[0]) - max(top, 0)
            yield 0, (rows, size[0][1]), (rows, size[0][1] * part.in_channels), (0, 0)
            yield 1, (rows, size[0][1]), (1, size[1][1]), (max(-top, 0), int(pads[0][patch[1]]))
        for number, operator in enumerate(part.operators[1:], 2):
            padding = tuple(int(pads[number - 1][place]) for place in patch)
            yield number, size[operator.inputs[0]], size[number], padding
        yield 0, size[last], (size[last][0], size[last][1] * part.operators[-1].channels), (0, 0)
