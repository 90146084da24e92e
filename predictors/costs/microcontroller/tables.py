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
from ofa.predictors.costs import memory
from ofa.predictors.costs.counts import macs_table
from ofa.predictors.costs.microcontroller import instructions, program
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality
from ofa.predictors.sampling import fit_and_test
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
) -> dict[str, Table]:
    """The cost tables of a microcontroller's runtime, each with its error on unseen subnets in ``info["quality"]``.

    ``fit_subnets`` programs are counted operator by operator, where instructions are; four of them place the tables of
    RAM and flash.

    Where a Cortex-M's compiler or emulator is not installed, RAM and flash alone, unchecked: their quality is None.

    Raises ``ValueError`` naming what the space has that the runtime cannot run (the presets ``mcu`` have nothing).
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    found = _predicted(runtime, space, head, fit_subnets=fit_subnets, seed=seed)
    # RAM and flash have no noise: a few whole programs place them, others tell how well.
    rng = np.random.default_rng([seed, 3])
    fit, test = fit_and_test(
        space, macs_table(space, **head), fit=min(_FIT_WHOLE, fit_subnets), test=test_subnets, rng=rng
    )
    if not measurable(runtime):
        fit, test = fit[:0], test[:0]
    codes = np.concatenate([fit, test])
    progress = tqdm([space.decode(code) for code in codes], desc=f"measure on {runtime.NAME}", disable=None)
    measured = [costs(runtime, space, [subnet], **head)[0] for subnet in progress]
    done = {}
    for name, (table, fitted) in found.items():
        values = np.array([each[name] for each in measured])
        table = fitted(table, fit, values[: len(fit)])
        quality = cost_quality(table.predict(test), values[len(fit) :], fit_subnets=len(fit))
        done[name] = replace(
            table,
            name=name,
            info={
                **table.info,
                **runtime.environment(threads=1),
                "date": datetime.date.today().isoformat(),
                "bits": 8,
                "quality": quality,
            },
        )
    return done


def estimates(runtime: ModuleType, space: SearchSpace, *, num_classes: int, in_chans: int) -> dict[str, Table]:
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


Fit = Callable[[Table, np.ndarray, np.ndarray], Table]


def _predicted(
    runtime: ModuleType, space: SearchSpace, head: dict[str, int], *, fit_subnets: int, seed: int
) -> dict[str, tuple[Table, Fit]]:
    """By cost the table, and what measured programs (codes, values) make of it."""
    cpu, counted = runtime.NAME, {}
    if cpu != "tflm" and measurable(runtime):
        options = {"fit_subnets": fit_subnets, "test_subnets": 0, "seed": seed}
        counted["instructions"] = (instructions.measure(space, **head, cpu=cpu, **options), _as_it_is)
    return counted | _memory(runtime, space, head)


def _memory(runtime: ModuleType, space: SearchSpace, head: dict[str, int]) -> dict[str, tuple[Table, Fit]]:
    if runtime.NAME == "tflm":
        arena = memory.peak_memory(space, **head, bits=8, planner="tflm")
        return {"sram": (arena, _shifted), "flash": (memory.flash(space, **head, bits=8), _scaled)}
    return {
        "sram": (program.ram(space, **head, cpu=runtime.NAME), _shifted),
        "flash": (program.flash(space, **head, cpu=runtime.NAME), _moved),
    }


def _as_it_is(table: Table, _codes: np.ndarray, _values: np.ndarray) -> Table:
    return table


def _shifted(table: Table, codes: np.ndarray, values: np.ndarray) -> Table:
    """With what the program has beside it: too little would be found out late, so it is the largest seen."""
    return replace(table, intercept=table.intercept + max(0.0, _excess(table, codes, values)))


def _moved(table: Table, codes: np.ndarray, values: np.ndarray) -> Table:
    """With the code that this compiler makes: as ``_shifted``, but down, too."""
    return replace(table, intercept=table.intercept + _excess(table, codes, values))


def _excess(table: Table, codes: np.ndarray, values: np.ndarray) -> float:
    """The most that a program takes above the table; 0 without programs."""
    return float((values - table.predict(codes)).max()) if len(codes) else 0.0


def _scaled(table: Table, codes: np.ndarray, values: np.ndarray) -> Table:
    """Weights bring scales and the file's own structure with them."""
    sums = table.predict(codes)
    if len(sums) < 2 or np.ptp(sums) == 0:
        return _shifted(table, codes, values)
    slope, intercept = np.polyfit(sums, values, 1)
    return replace(table, slope=float(slope), intercept=float(intercept), floor=float(values.min()) / 2)
