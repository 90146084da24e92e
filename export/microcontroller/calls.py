"""The calls of kernels in the C that bakenn writes, read so that other arguments can be given to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_CALL = re.compile(r"^    (?P<kernel>bknn_model_\w+)\((?P<arguments>[^;]*)\);\n", re.MULTILINE)
_DECLARED = re.compile(r"^void (?P<kernel>bknn_model_\w+)\((?P<parameters>[^;]*)\);", re.MULTILINE)
_LARGEST_LINE = 112


class Call(NamedTuple):
    """A call of ``kernel``, whose arguments are expressions of C by the names of the kernel's parameters."""

    kernel: str
    arguments: dict[str, str]

    def text(self, indent: int = 4) -> str:
        """The statement, with a line for as many arguments as fit in one."""
        lines, margin = [f"{' ' * indent}{self.kernel}("], " " * (indent + 4)
        for number, argument in enumerate(self.arguments.values(), 1):
            end = ");" if number == len(self.arguments) else ","
            piece = f"{argument}{end}"
            if len(lines) > 1 and len(lines[-1]) + len(piece) < _LARGEST_LINE:
                lines[-1] += f" {piece}"
            else:
                lines.append(margin + piece)
        return "\n".join(lines) + "\n"


class Source(NamedTuple):
    """The C of a model: what is before the first call, the calls, and what is behind the last one."""

    begin: str
    calls: list[Call]
    end: str

    def text(self) -> str:
        return self.begin + "\n".join(call.text() for call in self.calls) + self.end


def read_calls(source: str, header: str) -> Source:
    """The calls in the body of bakenn's model, whose kernels ``header`` declares.

    Raises ``RuntimeError`` when one cannot be read.
    """
    parameters = {
        match["kernel"]: [_name(text) for text in _split(match["parameters"])] for match in _DECLARED.finditer(header)
    }
    matches, calls = list(_CALL.finditer(source)), []
    for match in matches:
        names, values = parameters.get(match["kernel"], []), list(_split(match["arguments"]))
        if len(names) != len(values):
            raise RuntimeError(f"the call of {match['kernel']} that bakenn wrote has {len(values)} arguments")
        calls.append(Call(match["kernel"], dict(zip(names, values, strict=True))))
    if not matches:
        raise RuntimeError("bakenn wrote a model without calls of kernels")
    return Source(source[: matches[0].start()], calls, source[matches[-1].end() :])


def _split(text: str) -> Iterator[str]:
    """The expressions between the commas that are in no brackets."""
    depth, begin = 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield text[begin:position].strip()
            begin = position + 1
    yield text[begin:].strip()


def _name(parameter: str) -> str:
    """The name in a parameter's declaration, which is its last word."""
    return re.findall(r"\w+", parameter)[-1]
