"""The lists of operators that a space's family supplies, found by the family's name and without torch."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ofa.supernet.families.protocol import FamilyOperators
from ofa.supernet.operators import Operators
from ofa.supernet.space import SearchSpace, Subnet


def operators_of_family(space: SearchSpace) -> FamilyOperators:
    """The stem, block and head of the family of ``space``."""
    return cast(FamilyOperators, import_module(f"ofa.supernet.families.{space.family}.operators"))


def parts_of_subnet(
    space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int
) -> list[tuple[Operators, int]]:
    """Stem, running blocks and head of ``subnet``, each with the side of the map that it reads."""
    family, sides = operators_of_family(space), space.sizes_of(subnet)
    choices = space.choices(subnet)
    blocks = [
        (family.block(space, position, **choices.blocks[position.stage, position.index]), side)
        for position, side in zip(space.blocks, sides[:-1], strict=True)
        if position.index < subnet.depths[position.stage]
    ]
    stem = family.stem(space, in_chans=in_chans, **choices.stem)
    head = family.head(space, num_classes=num_classes, **choices.head)
    return [(stem, subnet.resolution), *blocks, (head, sides[-1])]
