"""One network of a cell space: what each node of its cells reads, and through which operations."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, TypeAlias

NONE = "none"  # the operation that is no connection

Connection: TypeAlias = tuple[str, int]  # an operation, and the state that it reads
Cell: TypeAlias = tuple[tuple[Connection, ...], ...]  # the connections of each node, which adds them up

_ARCH_NODE = re.compile(r"\|(?:[a-z0-9_]+~\d+\|)+")


@dataclass(frozen=True)
class CellSubnet:
    """One network.

    The *states* of a cell are its inputs and then its nodes, counted from 0. ``cells`` has the cell of each kind: of
    every node a tuple of ``(operation, state)``. Connections that are ``none`` are left out.
    """

    cells: tuple[tuple[str, Cell], ...]

    def cell(self, kind: str) -> Cell:
        """The cell of one kind, such as ``"normal"``."""
        return dict(self.cells)[kind]

    def to_dict(self) -> dict[str, Any]:
        return {kind: [[list(connection) for connection in node] for node in cell] for kind, cell in self.cells}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CellSubnet:
        """Raises ``ValueError`` for what is no cell."""
        try:
            cells = tuple(
                (str(kind), tuple(tuple(_connection(*pair) for pair in node) for node in cell))
                for kind, cell in values.items()
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f'a cell is a list of nodes, each a list of [operation, state] such as ["skip_connect", 0] ({error})'
            ) from None
        return cls(cells)

    @classmethod
    def from_json(cls, text: str) -> CellSubnet:
        return cls.from_dict(json.loads(text))

    @property
    def id(self) -> str:
        """Ten hexadecimal digits that name this network; equal for equal canonical networks on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    @property
    def arch(self) -> str:
        """NAS-Bench-201's string, such as ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``.

        Raises ``ValueError`` for a network with more than one kind of cell, or two connections to one state.
        """
        if len(self.cells) != 1:
            raise ValueError("only a network with one kind of cell has such a string; use to_json()")
        nodes = []
        for number, node in enumerate(self.cells[0][1], start=1):
            operations = {state: operation for operation, state in node}
            if len(operations) != len(node):
                raise ValueError(f"node {number} reads a state twice, which such a string cannot say; use to_json()")
            nodes.append("".join(f"|{operations.get(state, NONE)}~{state}" for state in range(number)) + "|")
        return "+".join(nodes)

    @classmethod
    def from_arch(cls, text: str) -> CellSubnet:
        """The network of NAS-Bench-201's string. Raises ``ValueError`` for another text."""
        parts = text.split("+")
        if not all(_ARCH_NODE.fullmatch(part) for part in parts):
            raise ValueError(
                f"{text!r} is no architecture: give one such as '|nor_conv_3x3~0|+|none~0|skip_connect~1|'"
            )
        cell = []
        for number, part in enumerate(parts, start=1):
            pairs = [connection.split("~") for connection in part.strip("|").split("|")]
            if [int(state) for _, state in pairs] != list(range(number)):
                raise ValueError(f"node {number} of {text!r} must read the states 0 to {number - 1}, in this order")
            cell.append(tuple((operation, int(state)) for operation, state in pairs if operation != NONE))
        return cls((("cell", tuple(cell)),))


def _connection(operation: str, state: int) -> Connection:
    if not isinstance(operation, str) or isinstance(state, bool) or not isinstance(state, int):
        raise ValueError(f"[{operation!r}, {state!r}] is no connection")
    return operation, state
