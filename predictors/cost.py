"""Costs as tables: what each part of a subnet costs, summed over the parts that run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ofa.supernet.families import mobilenetv3_counts
from ofa.supernet.files import read_json, write_json
from ofa.supernet.space import SearchSpace, Slot

_COUNTS: dict[str, ModuleType] = {"mobilenetv3": mobilenetv3_counts}


@dataclass(frozen=True, eq=False)
class CostTable:
    """``intercept + slope * (fixed + sum over active blocks)``.

    Attributes:
        name, unit: e.g. ``"latency"`` in ``"ms"``.
        fixed: cost of stem and head at each resolution ``(resolutions,)``.
        blocks: ``(resolutions, slots, kernel options, expand options)``; NaN where a stage has fewer options.
        info: what the numbers hold for, and how well they were found to predict (JSON values).
    """

    space: SearchSpace
    name: str
    unit: str
    fixed: np.ndarray
    blocks: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Cost of each subnet of ``codes`` ``(n, genes)``: float64 ``(n,)``, in ``unit``."""
        resolutions = codes[:, 0].astype(np.intp)
        kernels, expands = codes[:, self.space.kernel_genes], codes[:, self.space.expand_genes]
        active = self.space.active(codes)
        total = self.fixed[resolutions].astype(np.float64)
        for slot in range(len(self.space.slots)):
            total += np.where(active[:, slot], self.blocks[resolutions, slot, kernels[:, slot], expands[:, slot]], 0.0)
        return self.intercept + self.slope * total

    @classmethod
    def macs(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Multiply-accumulates of convolutions and linear layers, for one image."""
        counts = _COUNTS[space.family]
        return _counted(space, "macs", counts.block_macs, counts.fixed_macs, num_classes=num_classes, in_chans=in_chans)

    @classmethod
    def params(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Trainable parameters."""
        counts = _COUNTS[space.family]
        return _counted(
            space, "params", counts.block_params, counts.fixed_params, num_classes=num_classes, in_chans=in_chans
        )

    @classmethod
    def latency(cls, space: SearchSpace, **options: Any) -> CostTable:
        """Milliseconds for one image, measured on this machine: see ``ofa.predictors.latency.measure``."""
        from ofa.predictors.latency import measure

        return measure(space, **options)

    def save(self, path: Path) -> None:
        """As JSON, atomically."""
        values = {name: getattr(self, name) for name in ("name", "unit", "slope", "intercept", "info")}
        blocks = np.where(np.isnan(self.blocks), None, self.blocks).tolist()
        write_json(path, {**values, "space": self.space.to_dict(), "fixed": self.fixed.tolist(), "blocks": blocks})

    @classmethod
    def load(cls, path: Path) -> CostTable:
        """Predicts exactly what the saved table did. Raises ``ValueError`` naming the file when it is damaged."""
        values = read_json(path)
        try:
            space = SearchSpace.from_dict(values.pop("space"))
            arrays = {name: np.array(values.pop(name), np.float64) for name in ("fixed", "blocks")}
            table = cls(space=space, **arrays, **values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: it is no cost table ({error})") from error
        if table.blocks.shape != table_shape(space) or table.fixed.shape != table.blocks.shape[:1]:
            raise ValueError(f"{path} is damaged: its table has not the shape of its space")
        return table


def table_shape(space: SearchSpace) -> tuple[int, int, int, int]:
    """Shape of ``CostTable.blocks``."""
    kernels = max(len(stage.kernels) for stage in space.stages)
    expands = max(len(stage.expands) for stage in space.stages)
    return len(space.resolutions), len(space.slots), kernels, expands


def fill_blocks(space: SearchSpace, cost: Callable[[Slot, int, float, int], float]) -> np.ndarray:
    """``CostTable.blocks`` from ``cost(slot, kernel, expand, size of the map it reads)``."""
    blocks = np.full(table_shape(space), np.nan)
    for row, resolution in enumerate(space.resolutions):
        sizes = space.sizes(resolution)
        for number, slot in enumerate(space.slots):
            stage = space.stages[slot.stage]
            for (k, kernel), (e, expand) in product(enumerate(stage.kernels), enumerate(stage.expands)):
                blocks[row, number, k, e] = cost(slot, kernel, expand, sizes[number])
    return blocks


def _counted(
    space: SearchSpace, name: str, block: Callable[..., int], fixed: Callable[..., int], **head: int
) -> CostTable:
    blocks = fill_blocks(space, lambda slot, k, e, size: block(space, slot, kernel=k, expand=e, size=size))
    fixed_costs = np.array([fixed(space, resolution, **head) for resolution in space.resolutions], np.float64)
    return CostTable(space, name, "", fixed_costs, blocks)
