"""The lists of operators that a space's family supplies, found by the family's name and without torch."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from ofa.supernet.operators import Operators
from ofa.supernet.space import SearchSpace, Slot, Subnet


class FamilyOperators(Protocol):
    """What a family says of its parts."""

    def stem(self, space: SearchSpace, *, in_chans: int) -> Operators: ...

    def block(self, space: SearchSpace, slot: Slot, *, kernel: int, expand: float) -> Operators: ...

    def head(self, space: SearchSpace, *, num_classes: int) -> Operators: ...


def operators_of_family(space: SearchSpace) -> FamilyOperators:
    """The stem, block and head of the family of ``space``."""
    return cast(FamilyOperators, import_module(f"ofa.supernet.families.{space.family}_operators"))


def parts_of_subnet(
    space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int
) -> list[tuple[Operators, int]]:
    """Stem, running blocks and head of ``subnet``, each with the side of the map that it reads."""
    family, sides = operators_of_family(space), space.sizes(subnet.resolution)
    blocks = [
        (family.block(space, slot, kernel=kernel, expand=expand), side)
        for slot, kernel, expand, side in zip(space.slots, subnet.kernels, subnet.expands, sides[:-1], strict=True)
        if slot.index < subnet.depths[slot.stage]
    ]
    stem, head = family.stem(space, in_chans=in_chans), family.head(space, num_classes=num_classes)
    return [(stem, subnet.resolution), *blocks, (head, sides[-1])]
