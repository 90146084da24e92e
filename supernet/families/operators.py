"""The lists of operators that a space's family supplies, found by the family's name and without torch."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from ofa.supernet.operators import Operators
from ofa.supernet.space import SearchSpace, Slot


class FamilyOperators(Protocol):
    """What a family says of its parts."""

    def stem(self, space: SearchSpace, *, in_chans: int) -> Operators: ...

    def block(self, space: SearchSpace, slot: Slot, *, kernel: int, expand: float) -> Operators: ...

    def head(self, space: SearchSpace, *, num_classes: int) -> Operators: ...


def operators_of_family(space: SearchSpace) -> FamilyOperators:
    """The stem, block and head of the family of ``space``."""
    return cast(FamilyOperators, import_module(f"ofa.supernet.families.{space.family}_operators"))
