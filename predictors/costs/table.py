"""Costs as tables: what each part of a subnet costs, summed (or maximised) over the parts that run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ofa.predictors.bounds import above_zero
from ofa.supernet.files import read_json, write_json
from ofa.supernet.space import SearchSpace, Slot

_COMBINE: dict[str, tuple[np.ufunc, float]] = {"sum": (np.add, 0.0), "max": (np.maximum, -np.inf)}
_CHUNK = 8192  # whose indices fit the processor's caches
_ENVIRONMENT = ("runtime", "version", "threads", "cpu", "device", "gpu", "compiled")
_SAVED = ("name", "unit", "slope", "intercept", "info", "combine", "floor")
_NAMES = ("onnxruntime", "torch", "litert", "tflm", "cortex_m4", "cortex_m55")
_RUNTIMES = {name: f"ofa.export.runtimes.{name}" for name in _NAMES}


@dataclass(frozen=True, eq=False)
class CostTable:
    """``intercept + slope * (fixed + sum over active blocks)``, or the largest of these instead of their sum.

    Attributes:
        name, unit: e.g. ``"latency"`` in ``"ms"``.
        fixed: cost of stem and head at each resolution ``(resolutions,)``.
        blocks: ``(resolutions, slots, kernel options, expand options)``; NaN where a stage has fewer options.
        info: what the numbers hold for, and how well they were found to predict (JSON values). Measured costs have the
            runtime's ``environment`` in it.
        floor: lower predictions approach zero and stay above it (``bounds.above_zero``); 0 where sums are exact.
        combine: ``"max"`` for costs that only one part at a time has, such as peak memory.
    """

    space: SearchSpace
    name: str
    unit: str
    fixed: np.ndarray
    blocks: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    combine: Literal["sum", "max"] = "sum"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.combine not in _COMBINE:
            raise ValueError(f"combine is {self.combine!r}; it must be one of {', '.join(_COMBINE)}")

    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Cost of each subnet of ``codes`` ``(n, genes)``: float64 ``(n,)``, in ``unit``."""
        total = np.empty(len(codes))
        for start in range(0, len(codes), _CHUNK):
            part = slice(start, start + _CHUNK)
            total[part] = self._combined(codes[part])
        return above_zero(self.intercept + self.slope * total, self.floor)

    def _combined(self, codes: np.ndarray) -> np.ndarray:
        _, slots, kernels, expands = self.blocks.shape
        merge, nothing = _COMBINE[self.combine]
        wide = codes.astype(np.intp)
        places = (wide[:, :1] * slots + np.arange(slots)) * kernels + wide[:, self.space.kernel_genes]
        costs = self.blocks.ravel()[places * expands + wide[:, self.space.expand_genes]]
        return merge(self.fixed[wide[:, 0]], merge.reduce(np.where(self.space.active(codes), costs, nothing), axis=1))

    @classmethod
    def macs(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Multiply-accumulates of convolutions and linear layers, for one image."""
        from ofa.predictors.costs.counts import macs_table

        return macs_table(space, num_classes=num_classes, in_chans=in_chans)

    @classmethod
    def params(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3) -> CostTable:
        """Trainable parameters."""
        from ofa.predictors.costs.counts import params_table

        return params_table(space, num_classes=num_classes, in_chans=in_chans)

    @classmethod
    def flash(cls, space: SearchSpace, *, num_classes: int, in_chans: int = 3, bits: Literal[32, 8] = 32) -> CostTable:
        """Bytes of weights in the deployed network: see ``ofa.predictors.costs.memory.flash``."""
        from ofa.predictors.costs.memory import flash

        return flash(space, num_classes=num_classes, in_chans=in_chans, bits=bits)

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

        return peak_memory(space, num_classes=num_classes, in_chans=in_chans, bits=bits, planner=planner)

    @classmethod
    def latency(cls, space: SearchSpace, **options: Any) -> CostTable:
        """Milliseconds for one image, measured on this machine: see ``ofa.predictors.costs.latency.table.measure``."""
        from ofa.predictors.costs.latency.table import measure

        return measure(space, **options)

    def save(self, path: Path) -> None:
        """As JSON, atomically."""
        values = {name: getattr(self, name) for name in _SAVED}
        blocks = np.where(np.isnan(self.blocks), None, self.blocks).tolist()
        write_json(path, {**values, "space": self.space.to_dict(), "fixed": self.fixed.tolist(), "blocks": blocks})

    @classmethod
    def load(cls, path: Path, *, foreign: bool = False, environment: Mapping[str, Any] | None = None) -> CostTable:
        """Predicts exactly what the saved table did.

        A table of times holds for where it was measured: in another environment it is loaded only with
        ``foreign=True``, with a ``UserWarning``. ``environment`` is what the costs will be compared with (a runtime's
        ``environment(...)``); without it, the table's own runtime and settings on this machine.

        Raises ``ValueError`` naming the file when it is damaged, or the runtime, version, threads or processor that
        differ.
        """
        values = read_json(path)
        try:
            space = SearchSpace.from_dict(values.pop("space"))
            arrays = {name: np.array(values.pop(name), np.float64) for name in ("fixed", "blocks")}
            table = cls(space=space, **arrays, **values)
            differences = _differences(table.info, environment)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: it is no cost table ({error})") from error
        if table.blocks.shape != table_shape(space) or table.fixed.shape != table.blocks.shape[:1]:
            raise ValueError(f"{path} is damaged: its table has not the shape of its space")
        if differences:
            message = f"{path} was measured elsewhere: {'; '.join(differences)}"
            if not foreign:
                raise ValueError(f"{message}. Measure again here, or load it with foreign=True")
            warnings.warn(f"{message}. Its costs may not hold here", UserWarning, stacklevel=2)
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


def along_area(space: SearchSpace, measured: Sequence[int], values: np.ndarray) -> np.ndarray:
    """``values`` ``(measured, ...)`` at every resolution of the space: linear in the image's area, also beyond."""
    if len(measured) == 1:
        return np.repeat(values, len(space.resolutions), axis=0)
    given, wanted = np.square(measured), np.square(space.resolutions)
    above = np.clip(np.searchsorted(given, wanted), 1, len(given) - 1)
    share = (wanted - given[above - 1]) / (given[above] - given[above - 1])
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (1 - share) * values[above - 1] + share * values[above]  # exact where it was measured


def _differences(info: Mapping[str, Any], environment: Mapping[str, Any] | None) -> list[str]:
    """What of the environment in ``info`` is not so here; tables of counts have none, and nothing that differs."""
    runtime = info.get("runtime")
    if runtime is None:
        return []
    if environment is None:
        if runtime not in _RUNTIMES:
            return [f"with the runtime {runtime}, which this version of ofa does not have"]
        settings = {name: info[name] for name in ("threads", "device", "compiled") if name in info}
        try:
            environment = import_module(_RUNTIMES[runtime]).environment(**settings)
        except ImportError:
            return [f"with {runtime}, which is not installed here"]
        except (TypeError, ValueError) as error:
            return [f"with {runtime}: {error}"]
    return [
        f"{name} {info[name]}, here {environment.get(name)}"
        for name in _ENVIRONMENT
        if name in info and info[name] != environment.get(name)
    ]
