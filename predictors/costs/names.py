"""The costs that a target can have: the one table of their names, units, recipe keys and makers.

``COSTS`` is what recipes, ``ofa check``, the search and reports know of a cost. It imports no maker until a table is
asked for. ``docs/extending.md`` says what a new one needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ofa.export.runtimes import RUNTIMES, runtimes_with

if TYPE_CHECKING:
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.supernet.space import SearchSpace

KIB = 1024.0


@dataclass(frozen=True)
class LimitKey:
    """A key of a target's ``limits``.

    Attributes:
        name: e.g. ``latency_ms``.
        unit: how much of the table's unit one of the key's is.
        accepts: an ``amount`` (``0.8``), a ``fraction`` of the largest subnet's (``0.5x``), or ``both``.
        highest: the highest amount.
    """

    name: str
    unit: float = 1.0
    accepts: Literal["amount", "fraction", "both"] = "both"
    highest: float = 1e18


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How tables and charts write a cost: ``unit``, how much of the table's unit it is, and its ``decimals``.

    ``named``: whether the cost's name stands behind an amount; a unit such as ms says enough.
    """

    unit: str
    size: float = 1.0
    decimals: int = 1
    named: bool = True


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The facts of a cost.

    Attributes:
        about: one sentence.
        unit: of its ``CostTable``; empty for a count.
        limits: keys of a target's ``limits`` that limit it; empty for one that no target can limit.
        count: makes the table from the space alone, ``count(space, num_classes=, in_chans=, bits=)``. Without it, the
            cost is known on the runtimes that measure it (``runtimes.RUNTIMES``) and nowhere else.
        exact: whether what is counted is exactly what a device has, so that nothing is left to measure.
        shown: its unit in tables; ``None``: a count with a prefix, such as ``5.3 M``.
        plural: its name on a chart's axis, when that is another one.
        program_figure: its key in a C program's ``figures.json``, when that is another one than its name.
    """

    about: str
    unit: str = ""
    limits: tuple[LimitKey, ...] = ()
    count: Callable[..., CostTable] | None = None
    exact: bool = False
    shown: Shown | None = None
    plural: str = ""
    program_figure: str = ""


def _macs(space: SearchSpace, *, num_classes: int, in_chans: int, bits: Literal[32, 8]) -> CostTable:
    from ofa.predictors.costs.cost_table import CostTable

    return CostTable.macs(space, num_classes=num_classes, in_chans=in_chans)


def _params(space: SearchSpace, *, num_classes: int, in_chans: int, bits: Literal[32, 8]) -> CostTable:
    from ofa.predictors.costs.cost_table import CostTable

    return CostTable.params(space, num_classes=num_classes, in_chans=in_chans)


def _flash(space: SearchSpace, *, num_classes: int, in_chans: int, bits: Literal[32, 8]) -> CostTable:
    from ofa.predictors.costs.cost_table import CostTable

    return CostTable.flash(space, num_classes=num_classes, in_chans=in_chans, bits=bits)


def _peak_memory(space: SearchSpace, *, num_classes: int, in_chans: int, bits: Literal[32, 8]) -> CostTable:
    from ofa.predictors.costs.cost_table import CostTable

    return CostTable.peak_memory(space, num_classes=num_classes, in_chans=in_chans, bits=bits)


# In the order in which a recipe's limits are kept: the first one limited is what the front trades for accuracy.
COSTS: dict[str, Cost] = {
    "latency": Cost(
        about="Time of one image.",
        unit="ms",
        limits=(LimitKey("latency_ms", accepts="amount", highest=1e9), LimitKey("latency", accepts="fraction")),
        shown=Shown(unit="ms", decimals=3, named=False),
    ),
    "macs": Cost(
        about="Multiply-accumulates of convolutions, linear layers and attention, for one image.",
        limits=(LimitKey("macs"),),
        count=_macs,
        exact=True,
        plural="MACs",
    ),
    "params": Cost(
        about="Trainable parameters.", limits=(LimitKey("params"),), count=_params, exact=True, plural="parameters"
    ),
    "sram": Cost(
        about="RAM of one inference on a microcontroller.",
        unit="bytes",
        limits=(LimitKey("sram_kb", unit=KIB),),
        shown=Shown(unit="KB", size=KIB),
        program_figure="ram_bytes",
    ),
    "flash": Cost(
        about="Memory of the weights, on a Cortex-M of the whole program.",
        unit="bytes",
        limits=(LimitKey("flash_kb", unit=KIB),),
        count=_flash,
        shown=Shown(unit="KB", size=KIB),
        program_figure="flash_bytes",
    ),
    "instructions": Cost(
        about="Instructions (not cycles) of one inference on a Cortex-M.",
        unit="instructions",
        limits=(LimitKey("instructions"),),
    ),
    "peak_memory": Cost(
        about="Activations that live at once.",
        unit="bytes",
        count=_peak_memory,
        shown=Shown(unit="KB", size=KIB),
    ),
}


def limitable_on(cost: str) -> tuple[str, ...]:
    """The names of the runtimes on which a target can limit a cost: all, when it is counted."""
    return tuple(RUNTIMES) if COSTS[cost].count else runtimes_with(cost)


def counted_costs(space: SearchSpace, *, num_classes: int, in_chans: int, bits: Literal[32, 8]) -> dict[str, CostTable]:
    """The tables of the costs that a target can limit and that need no measurement, by name.

    ``bits`` of a weight or activation on the device.
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return {name: cost.count(space, **head, bits=bits) for name, cost in COSTS.items() if cost.count and cost.limits}
