"""Checks of a search's arguments: costs, limits, networks to include and to avoid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ofa.errors import UserError
from ofa.strategies.limits import Cost, named, quantity
from ofa.supernet.genome import DTYPE, Genome


def check_costs(space: Genome, limits: Mapping[Cost, float], objectives: Sequence[Cost]) -> None:
    """Raises ``UserError`` for limits that are no limit, two costs of one name, and a table of another space."""
    for cost, limit in limits.items():
        if not limit > 0:
            raise UserError(f"limit {cost.name} is {limit}; it must be a number above 0")
        if sum(other.name == cost.name for other in limits) > 1:
            raise UserError(f"limit {cost.name} is given twice; give each cost one limit")
    for cost in objectives:
        if any(other is not cost and other.name == cost.name for other in (*limits, *objectives)):
            raise UserError(f"two different costs are called {cost.name}; give limits and objectives the same one")
    for cost in (*limits, *objectives):
        other = getattr(cost, "space", space)
        if other is not space and other.to_dict() != space.to_dict():
            raise UserError(f"cost {cost.name} is of another search space; make or measure it for this one")


def codes_of(space: Genome, name: str, subnets: Sequence[Any]) -> np.ndarray:
    """Codes ``(n, genes)`` of the subnets; ``UserError`` names the one that is not of this space."""
    codes = np.empty((len(subnets), space.num_genes), DTYPE)
    for row, subnet in enumerate(subnets):
        try:
            codes[row] = space.encode(subnet)
        except (ValueError, AttributeError, TypeError) as error:
            raise UserError(f"search: {name}[{row}] is no network of this space: {error}") from error
    return codes


def check_include(
    space: Genome, limits: Mapping[Cost, float], include: np.ndarray, avoid: np.ndarray, subnets: Sequence[Any]
) -> None:
    """Raises ``UserError`` when a network to include breaks a limit or is also one to avoid."""
    for row, code in enumerate(include):
        both = np.flatnonzero((avoid == code).all(axis=1))
        if both.size:
            raise UserError(
                f"search: include[{row}] is the same network as avoid[{both[0]}] ({named(subnets[row])}); "
                f"take it out of one of them"
            )
        for cost, limit in limits.items():
            value = float(cost.predict(code[None])[0])
            if not value <= limit:
                raise UserError(
                    f"search: include[{row}] needs {quantity(cost, value)}, and the limit is {quantity(cost, limit)} "
                    f"({named(subnets[row])}); leave it out or raise the limit"
                )
