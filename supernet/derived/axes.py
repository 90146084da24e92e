"""Groups of channels that must keep one width: whoever cuts one of them cuts all."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass
class Axis:
    """Channels of one tensor, or of several that are added or multiplied.

    Attributes:
        size: channels in the largest network.
        fixed: why they cannot be cut, with the name of the module; empty where they can.
        made_of: the axis whose width it follows, such as the one that squeezed channels are computed from.
        step: how many channels are kept or left out together; 0 where any number may be.
        kind: ``"heads"`` for those of attention.
        ordered: whether their order matters, as it does to a convolution along them.
    """

    size: int
    fixed: str = ""
    made_of: int | None = None
    step: int = 0
    kind: str = ""
    ordered: bool = False


class Axes:
    """Axes by number, joined as a network is walked (union-find)."""

    def __init__(self) -> None:
        self._axes: list[Axis] = []
        self._parents: list[int] = []

    def __getitem__(self, axis: int) -> Axis:
        return self._axes[self.root(axis)]

    def __len__(self) -> int:
        return len(self._axes)

    def copy(self) -> Axes:
        """The axes as they are now."""
        copied = Axes()
        copied._axes, copied._parents = [replace(axis) for axis in self._axes], list(self._parents)
        return copied

    def new(self, size: int, *, fixed: str = "", made_of: int | None = None, step: int = 0, kind: str = "") -> int:
        self._axes.append(Axis(size, fixed, made_of, step, kind))
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def root(self, axis: int) -> int:
        """The number that stands for all axes joined with this one."""
        while self._parents[axis] != axis:
            axis = self._parents[axis]
        return axis

    def join(self, one: int, other: int, *, where: str) -> int:
        """Makes two axes one; fixes both where their sizes differ, as in a broadcast."""
        first, second = sorted((self.root(one), self.root(other)))
        if first == second:
            return first
        if self._axes[first].size != self._axes[second].size:
            self.fix(first, where)
            self.fix(second, where)
            return first
        self._parents[second] = first
        kept, lost = self._axes[first], self._axes[second]
        kept.fixed = kept.fixed or lost.fixed
        kept.ordered = kept.ordered or lost.ordered
        kept.made_of = None
        return first

    def fix(self, axis: int, reason: str) -> None:
        """The axis keeps its size; the first reason stays."""
        found = self[axis]
        found.fixed = found.fixed or reason
