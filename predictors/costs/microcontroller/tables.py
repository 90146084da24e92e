"""Costs on microcontrollers: predicted by tables, and measured of whole int8 programs.

``sram``: of ``tflm`` the activations in its arena (what its interpreter keeps beside them, with 64-bit pointers here,
says nothing about a device); of ``cortex_m*`` all RAM of the program, stack included. ``flash``: of ``tflm`` the
model's file, of ``cortex_m*`` code and constants. ``instructions``: of one inference, ``cortex_m*`` alone.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
from tqdm import tqdm

from ofa.export.microcontroller.build import missing_tools
from ofa.predictors.costs.latency.correction import errors
from ofa.predictors.costs.microcontroller import instructions, program
from ofa.predictors.costs.table import CostTable
from ofa.predictors.sampling import stratified_sample
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace, Subnet

_FIT_WHOLE = 4


def tables(
    runtime: ModuleType,
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int,
    fit_subnets: int = 10,
    test_subnets: int = 6,
    seed: int,
) -> dict[str, CostTable]:
    """The cost tables of a microcontroller's runtime, each with its error on unseen subnets in ``info["quality"]``.

    ``fit_subnets`` programs are counted operator by operator, where instructions are; four of them place the tables of
    RAM and flash.

    Where a Cortex-M's compiler or emulator is not installed, RAM and flash alone, unchecked: their quality is None.

    Raises ``ValueError`` naming what the space has that the runtime cannot run (the presets ``mcu`` have nothing).
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    found = _predicted(runtime, space, head, fit_subnets=fit_subnets, seed=seed)
    fit_subnets = min(_FIT_WHOLE, fit_subnets)
    rng = np.random.default_rng([seed, 3])
    wanted = fit_subnets + test_subnets
    codes = rng.permutation(stratified_sample(space, wanted, CostTable.macs(space, **head), rng))
    if not measurable(runtime):
        codes = codes[:0]
    fit = ceil_div(len(codes) * fit_subnets, wanted)
    progress = tqdm([space.decode(code) for code in codes], desc=f"measure on {runtime.NAME}", disable=None)
    measured = [costs(runtime, space, [subnet], **head)[0] for subnet in progress]
    done = {}
    for name, (table, fitted) in found.items():
        values = np.array([each[name] for each in measured])
        table = fitted(table, codes[:fit], values[:fit])
        predicted = table.predict(codes[fit:])
        done[name] = replace(
            table,
            name=name,
            info={
                **table.info,
                **runtime.environment(threads=1),
                "date": datetime.date.today().isoformat(),
                "bits": 8,
                "quality": {
                    "fit_subnets": fit,
                    "test_subnets": len(codes) - fit,
                    **errors(predicted, values[fit:]),
                    "pairs": np.column_stack([predicted, values[fit:]]).tolist(),
                },
            },
        )
    return done


def estimates(runtime: ModuleType, space: SearchSpace, *, num_classes: int, in_chans: int) -> dict[str, CostTable]:
    """RAM and flash before any program is made; what compiler and runtime add is not in them.

    Raises ``ValueError`` as ``tables``.
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return {name: replace(table, name=name) for name, (table, _) in _memory(runtime, space, head).items()}


def costs(
    runtime: ModuleType, space: SearchSpace, subnets: list[Subnet], *, num_classes: int, in_chans: int
) -> list[dict[str, float]]:
    """What whole int8 programs of the subnets take; weights do not matter. Empty where that cannot be measured."""
    if not measurable(runtime):
        return [{} for _ in subnets]
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return [costs_of_model(runtime, instructions.int8_program(space, subnet, **head)) for subnet in subnets]


def measurable(runtime: ModuleType) -> bool:
    """Whether the runtime's programs can be made and run here."""
    return runtime.NAME == "tflm" or missing_tools() is None


def costs_of_model(runtime: ModuleType, model: bytes) -> dict[str, float]:
    """The same of an int8 TFLite model."""
    if runtime.NAME == "tflm":
        return {"sram": float(runtime.allocations(model)[0]), "flash": float(len(model))}
    figures = runtime.figures(runtime.load(model))
    return {
        "instructions": float(figures.instructions),
        "sram": float(figures.ram),
        "flash": float(figures.flash),
    }


Fit = Callable[[CostTable, np.ndarray, np.ndarray], CostTable]


def _predicted(
    runtime: ModuleType, space: SearchSpace, head: dict[str, int], *, fit_subnets: int, seed: int
) -> dict[str, tuple[CostTable, Fit]]:
    """By cost the table, and what measured programs (codes, values) make of it."""
    cpu, counted = runtime.NAME, {}
    if cpu != "tflm" and measurable(runtime):
        options = {"fit_subnets": fit_subnets, "test_subnets": 0, "seed": seed}
        counted["instructions"] = (instructions.measure(space, **head, cpu=cpu, **options), _as_it_is)
    return counted | _memory(runtime, space, head)


def _memory(runtime: ModuleType, space: SearchSpace, head: dict[str, int]) -> dict[str, tuple[CostTable, Fit]]:
    if runtime.NAME == "tflm":
        arena = CostTable.peak_memory(space, **head, bits=8, planner="tflm")
        return {"sram": (arena, _shifted), "flash": (CostTable.flash(space, **head, bits=8), _scaled)}
    return {
        "sram": (program.ram(space, **head, cpu=runtime.NAME), _shifted),
        "flash": (program.flash(space, **head, cpu=runtime.NAME), _moved),
    }


def _as_it_is(table: CostTable, _codes: np.ndarray, _values: np.ndarray) -> CostTable:
    return table


def _shifted(table: CostTable, codes: np.ndarray, values: np.ndarray) -> CostTable:
    """With what the program has beside it: too little would be found out late, so it is the largest seen."""
    return replace(table, intercept=table.intercept + max(0.0, _excess(table, codes, values)))


def _moved(table: CostTable, codes: np.ndarray, values: np.ndarray) -> CostTable:
    """With the code that this compiler makes: as ``_shifted``, but down, too."""
    return replace(table, intercept=table.intercept + _excess(table, codes, values))


def _excess(table: CostTable, codes: np.ndarray, values: np.ndarray) -> float:
    """The most that a program takes above the table; 0 without programs."""
    return float((values - table.predict(codes)).max()) if len(codes) else 0.0


def _scaled(table: CostTable, codes: np.ndarray, values: np.ndarray) -> CostTable:
    """Weights bring scales and the file's own structure with them."""
    sums = table.predict(codes)
    if len(sums) < 2 or np.ptp(sums) == 0:
        return _shifted(table, codes, values)
    slope, intercept = np.polyfit(sums, values, 1)
    return replace(table, slope=float(slope), intercept=float(intercept), floor=float(values.min()) / 2)
