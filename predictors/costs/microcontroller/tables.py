"""Costs on microcontrollers: predicted by tables, and measured with whole int8 programs.

- ``sram``: for ``tflm`` the activations in its arena, without the data of its interpreter, which has 64-bit
  pointers here; for ``cortex_m*`` all RAM of the program, stack included.
- ``flash``: for ``tflm`` the model's file, for ``cortex_m*`` code and constants.
- ``instructions``: of one inference, for ``cortex_m*`` only.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np
from tqdm import tqdm

from ofa.export.microcontroller.build import missing_tools
from ofa.export.microcontroller.memory import DEFAULT, Memory
from ofa.export.microcontroller.patches import Patches
from ofa.predictors.costs import memory
from ofa.predictors.costs.counts import macs_table
from ofa.predictors.costs.microcontroller import counting, patched_table, program
from ofa.predictors.costs.microcontroller.instructions import int8_program
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
    memory: Memory = DEFAULT,
    seed: int,
) -> dict[str, Table]:
    """The cost tables of a microcontroller's runtime, each with its error on unseen subnets in ``info["quality"]``.

    ``memory`` is what programs for a Cortex-M do to need less. Where instructions are counted,
    ``fit_subnets`` programs are counted operator by operator. The tables of RAM and flash are fitted to four
    whole programs.

    Where a Cortex-M's compiler or emulator is not installed, there are only RAM and flash, unchecked: their
    quality is None.

    Raises ``ValueError`` naming the operator of the space that the runtime cannot run (the presets ``mcu``
    have none).
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    predicted = _predicted_tables(runtime, space, head, memory=memory, fit_subnets=fit_subnets, seed=seed)

    # RAM and flash have no noise, so a few whole programs suffice to fit them. Others measure the error.
    rng = np.random.default_rng([seed, 3])
    fit, test = fit_and_test(
        space, macs_table(space, **head), fit=min(_FIT_WHOLE, fit_subnets), test=test_subnets, rng=rng
    )
    if not measurable(runtime):
        fit, test = fit[:0], test[:0]
    codes = np.concatenate([fit, test])
    progress = tqdm([space.decode(code) for code in codes], desc=f"measure on {runtime.NAME}", disable=None)
    measured = [costs(runtime, space, [subnet], **head, memory=memory)[0] for subnet in progress]

    # Each table is fitted to the first programs, and its error measured on the others.
    fitted_tables = {}
    for name, (table, fitted) in predicted.items():
        program_costs = np.array([measurement[name] for measurement in measured])
        table = fitted(table, fit, program_costs[: len(fit)])
        quality = cost_quality(table.predict(test), program_costs[len(fit) :], fit_subnets=len(fit))
        fitted_tables[name] = replace(
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
    return fitted_tables


def estimates(
    runtime: ModuleType, space: SearchSpace, *, num_classes: int, in_chans: int, memory: Memory = DEFAULT
) -> dict[str, Table]:
    """RAM and flash before any program is built, without what compiler and runtime add.

    Raises ``ValueError`` as ``tables`` does.
    """
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return {name: replace(table, name=name) for name, (table, _) in _memory(runtime, space, head, memory).items()}


def costs(
    runtime: ModuleType,
    space: SearchSpace,
    subnets: list[Subnet],
    *,
    num_classes: int,
    in_chans: int,
    memory: Memory = DEFAULT,
) -> list[dict[str, float]]:
    """The measured costs of whole int8 programs of the subnets, whose weights do not matter.

    Empty where they cannot be measured.
    """
    if not measurable(runtime):
        return [{} for _ in subnets]
    head = {"num_classes": num_classes, "in_chans": in_chans}
    chosen = [patches(runtime, space, subnet, **head, memory=memory) for subnet in subnets]
    return [
        costs_of_model(runtime, int8_program(space, subnet, **head), in_place=memory.in_place, patches=of_subnet)
        for subnet, of_subnet in zip(subnets, chosen, strict=True)
    ]


def patches(
    runtime: ModuleType, space: SearchSpace, subnet: Subnet, *, num_classes: int, in_chans: int, memory: Memory
) -> Patches | None:
    """The patches that the program of ``subnet`` has: those of the table of RAM."""
    if runtime.NAME == "tflm":
        return None
    head = {"num_classes": num_classes, "in_chans": in_chans}
    return patched_table.patches_of(patched_table.ram(space, **head, cpu=runtime.NAME, memory=memory), subnet)


def measurable(runtime: ModuleType) -> bool:
    """Whether the runtime's programs can be built and run on this machine."""
    return runtime.NAME == "tflm" or missing_tools() is None


def costs_of_model(
    runtime: ModuleType, model: bytes, *, in_place: bool = True, patches: Patches | None = None
) -> dict[str, float]:
    """The measured costs of an int8 TFLite model, on a Cortex-M of its program."""
    if runtime.NAME == "tflm":
        return {"sram": float(runtime.allocations(model)[0]), "flash": float(len(model))}
    figures = runtime.figures(runtime.load(model, in_place=in_place, patches=patches))
    return {
        "instructions": float(figures.instructions),
        "sram": float(figures.ram),
        "flash": float(figures.flash),
    }


# From a table, and the codes and costs of measured programs, to the table fitted to them.
Fit = Callable[[Table, np.ndarray, np.ndarray], Table]


def _predicted_tables(
    runtime: ModuleType, space: SearchSpace, head: dict[str, int], *, memory: Memory, fit_subnets: int, seed: int
) -> dict[str, tuple[Table, Fit]]:
    """For each cost its table, and the function that fits it to measured programs."""
    cpu, counted = runtime.NAME, {}
    if cpu != "tflm" and measurable(runtime):
        options = {"fit_subnets": fit_subnets, "test_subnets": 0, "seed": seed, "memory": memory}
        counted["instructions"] = (counting.measure(space, **head, cpu=cpu, **options), _unchanged)
    return counted | _memory(runtime, space, head, memory)


def _memory(runtime: ModuleType, space: SearchSpace, head: dict[str, int], how: Memory) -> dict[str, tuple[Table, Fit]]:
    if runtime.NAME == "tflm":
        arena = memory.peak_memory(space, **head, bits=8, planner="tflm")
        return {"sram": (arena, _raised), "flash": (memory.flash(space, **head, bits=8), _scaled)}
    return {
        "sram": (patched_table.ram(space, **head, cpu=runtime.NAME, memory=how), _raised),
        "flash": (program.flash(space, **head, cpu=runtime.NAME, patches=how.patches), _shifted),
    }


def _unchanged(table: Table, _codes: np.ndarray, _costs: np.ndarray) -> Table:
    return table


def _raised(table: Table, codes: np.ndarray, costs: np.ndarray) -> Table:
    """Raised by the largest excess of a program, so that no program needs more than predicted."""
    return replace(table, intercept=table.intercept + max(0.0, _excess(table, codes, costs)))


def _shifted(table: Table, codes: np.ndarray, costs: np.ndarray) -> Table:
    """Raised or lowered by the largest excess of a program: this compiler may write less code than the table says."""
    return replace(table, intercept=table.intercept + _excess(table, codes, costs))


def _excess(table: Table, codes: np.ndarray, costs: np.ndarray) -> float:
    """The largest difference between a program's cost and the table; 0 without programs."""
    return float((costs - table.predict(codes)).max()) if len(codes) else 0.0


def _scaled(table: Table, codes: np.ndarray, costs: np.ndarray) -> Table:
    """A line through the programs' costs: the file has scales for its weights, and a structure of its own."""
    sums = table.predict(codes)
    if len(sums) < 2 or np.ptp(sums) == 0:
        return _raised(table, codes, costs)
    slope, intercept = np.polyfit(sums, costs, 1)
    return replace(table, slope=float(slope), intercept=float(intercept), floor=float(costs.min()) / 2)
