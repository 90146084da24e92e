"""``ofa.CostTable``: a cost table, and the calls that make one of a space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, Literal

from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.genome import Genome
from ofa.supernet.space import SearchSpace


@dataclass(frozen=True, eq=False)
class CostTable(Table):
    """A ``Table`` with constructors. Each imports what it needs when it is called: only measuring loads torch.

    It is a class of its own because those modules make tables: they import ``Table``, and this module imports them.
    """

    @classmethod
    def of(cls, table: Table) -> CostTable:
        """The same table; the arrays are shared."""
        return cls(**{field.name: getattr(table, field.name) for field in fields(table)})

    @classmethod
    def macs(cls, space: SearchSpace | CellSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Multiply-accumulates of convolutions, linear layers and attention, for one image."""
        return cls.of(_counts(space).macs_table(space, num_classes=num_classes, in_chans=in_chans))

    @classmethod
    def params(cls, space: SearchSpace | CellSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Trainable parameters."""
        return cls.of(_counts(space).params_table(space, num_classes=num_classes, in_chans=in_chans))

    @classmethod
    def flash(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3, bits: Literal[32, 8] = 32) -> CostTable:
        """Bytes of weights in the deployed network: see ``ofa.predictors.costs.memory.flash``."""
        from ofa.predictors.costs.memory import flash

        _check_counted(space, "flash")
        return cls.of(flash(space, num_classes=num_classes, in_chans=in_chans, bits=bits))

    @classmethod
    def peak_memory(
        cls,
        space: SearchSpace,
        *,
        num_classes: int,
        in_chans: int = 3,
        bits: Literal[32, 8] = 32,
        planner: Literal["", "tflm"] = "",
    ) -> CostTable:
        """Bytes of activations that live at once: see ``ofa.predictors.costs.memory.peak_memory``."""
        from ofa.predictors.costs.memory import peak_memory

        _check_counted(space, "peak memory")
        return cls.of(peak_memory(space, num_classes=num_classes, in_chans=in_chans, bits=bits, planner=planner))

    @classmethod
    def latency(cls, space: SearchSpace, **options: Any) -> CostTable:
        """Milliseconds for one image, measured on this machine: see ``ofa.predictors.costs.latency.table.measure``."""
        from ofa.predictors.costs.latency.table import measure

        _check_counted(space, "latency")
        return cls.of(measure(space, **options))

    @classmethod
    def _of_file(cls, space: Genome, parts: tuple[Part, ...], values: Mapping[str, Any]) -> Table:
        """Of a microcontroller's programs with patches, a table that is counted again from its rule."""
        if "rule" not in values:
            return super()._of_file(space, parts, values)
        from ofa.predictors.costs.microcontroller.patched_table import PatchedTable

        return PatchedTable._of_file(space, parts, values)


def _counts(space: Genome) -> ModuleType:
    """The module that counts what networks of ``space`` cost."""
    if isinstance(space, CellSpace):
        from ofa.predictors.costs import cells

        return cells
    from ofa.predictors.costs import counts

    return counts


def _check_counted(space: Genome, cost: str) -> None:
    """Raises ``ValueError`` for a cost that is not known of cell spaces."""
    if isinstance(space, CellSpace):
        raise ValueError(f"there is no table of the {cost} of cell spaces; use CostTable.macs or CostTable.params")
