"""Instructions of a space's programs, counted under QEMU and fitted: ``measure``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from ofa.export.microcontroller.memory import DEFAULT, Memory
from ofa.predictors.costs.counts import macs_table
from ofa.predictors.costs.microcontroller import patched_table
from ofa.predictors.costs.microcontroller.instructions import fit, int8_program, operator_from_profile, table
from ofa.predictors.costs.microcontroller.loops import OperatorShape, macs_or_values
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import cost_quality
from ofa.predictors.sampling import fit_and_test
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.space import SearchSpace

_CANDIDATES = 200  # subnets that are looked at for operators that those of the fit lack
_PATCHED = 4  # programs with patches that are counted beside those of the fit


def measure(
    space: SearchSpace,
    *,
    num_classes: int,
    in_chans: int = 3,
    cpu: str = "cortex_m4",
    memory: Memory = DEFAULT,
    fit_subnets: int = 10,
    test_subnets: int = 6,
    seed: int = 0,
    progress: bool = True,
) -> Table:
    """Instructions for one image on ``cpu`` (``cortex_m4`` or ``cortex_m55``), from int8 programs run under QEMU.

    Every operator of ``fit_subnets`` whole subnets is counted. ``info["quality"]`` has the error on
    ``test_subnets`` others: ``mape``, ``largest`` relative error and ``kendall_tau``.

    Raises ``ValueError`` when a compiler or QEMU is missing, and naming the layer for whose operator there
    is no C (in the space ``mcu`` there is C for all).
    """
    from ofa.export.runtimes import cortex_m

    environment = cortex_m.environment(threads=1, cpu=cpu)
    head = {"num_classes": num_classes, "in_chans": in_chans}
    rng = np.random.default_rng([seed, 2])
    macs = macs_table(space, **head)
    fitted_codes, test = with_ends(space, *fit_and_test(space, macs, fit=fit_subnets, test=test_subnets, rng=rng))
    chooser = patched_table.ram(space, **head, cpu=cpu, memory=memory)
    patched = _with_patches(space, chooser, macs, rng)
    fitted_codes = with_every_kind(space, np.concatenate([fitted_codes, patched]), rng=rng, **head)
    codes = np.concatenate([fitted_codes, test])

    # Operators of the first subnets are counted one by one, the others as a whole.
    counted: list[tuple[OperatorShape, int]] = []
    totals = []
    for index, code in enumerate(tqdm(codes, desc=f"count on {cpu}", disable=None if progress else True)):
        subnet = space.decode(code)
        how = {"in_place": memory.in_place, "patches": patched_table.patches_of(chooser, subnet)}
        session = cortex_m.load(int8_program(space, subnet, **head), cpu=cpu, **how)
        if index < len(fitted_codes):
            profile = cortex_m.operators(session)
            counted += [(operator_from_profile(operator), operator.instructions) for operator in profile]
        else:
            totals.append(cortex_m.figures(session).instructions)

    # The error is that of whole networks, as a search uses the table.
    model = fit(counted)
    rule = patched_table.Rule("instructions", cpu, **head, memory=memory, weights=patched_table.as_weights(model))
    fitted = patched_table.with_patches(table(space, model, **head, in_place=memory.in_place), rule)
    predicted, measured = fitted.predict(test), np.array(totals, float)
    info = {
        "made_with": environment["version"],
        "cpu": cpu,
        "operators": _per_value(counted),
        "quality": {
            **cost_quality(predicted, measured, fit_subnets=len(fitted_codes)),
            "largest": float((np.abs(predicted - measured) / measured).max()) if totals else None,
        },
    }
    return replace(fitted, info=info)


def with_ends(space: SearchSpace, fitted: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest subnet are moved from the test to the fit: loops of a few iterations, and of many.

    A model of operators that were all larger may be wrong by several times.
    """
    codes = np.concatenate([fitted, test])
    ends = np.stack([space.encode(space.smallest), space.encode(space.largest)])
    is_end = (codes[:, None] == ends).all(axis=2).any(axis=1)
    codes = codes[np.argsort(~is_end, kind="stable")]
    return codes[: len(fitted)], codes[len(fitted) :]


def _with_patches(space: SearchSpace, chooser: Table, macs: Table, rng: np.random.Generator) -> np.ndarray:
    """A few subnets whose programs have patches, from small to large: their operators are on windows of some pixels.

    Few subnets of a space may have any, but those are what a search for little memory returns.
    """
    candidates = space.sample(_CANDIDATES, rng)
    candidates = candidates[np.argsort(macs.predict(candidates), kind="stable")]
    found = [code for code in candidates if patched_table.patches_of(chooser, space.decode(code))]
    places = np.unique(np.linspace(0, len(found) - 1, min(_PATCHED, len(found))).round().astype(int))
    return np.array([found[place] for place in places], candidates.dtype).reshape(-1, space.num_genes)


def with_every_kind(
    space: SearchSpace, codes: np.ndarray, *, num_classes: int, in_chans: int, rng: np.random.Generator
) -> np.ndarray:
    """``codes``, and after them subnets with the kinds of operators and sizes of kernels that those lack.

    Only what was counted can be predicted, and a few subnets may miss a kernel that only one layer has.
    """

    def kinds(code: np.ndarray) -> set[tuple[str, int]]:
        parts = parts_of_subnet(space, space.decode(code), num_classes=num_classes, in_chans=in_chans)
        return {(operator.kind, operator.kernel) for part, _ in parts for operator in part}

    candidates = space.sample(_CANDIDATES, rng)
    of_candidates = [kinds(code) for code in candidates]
    missing = set().union(*of_candidates) - set().union(*map(kinds, codes))
    while missing:
        best = max(range(len(candidates)), key=lambda number: len(of_candidates[number] & missing))
        codes = np.concatenate([codes, candidates[best : best + 1]])
        missing -= of_candidates[best]
    return codes


def _per_value(counted: Sequence[tuple[OperatorShape, int]]) -> dict[str, float]:
    """Instructions per multiply-accumulate, or per input value of operators without any, by kind and kernel."""
    sums: dict[str, list[float]] = {}
    for operator, count in counted:
        kind, kernel = operator.kind, operator.kernel
        total = sums.setdefault(f"{kind} {kernel}x{kernel}" if kernel else kind, [0.0, 0.0])
        total[0] += count
        total[1] += macs_or_values(operator)
    return {name: round(count / size, 3) for name, (count, size) in sums.items()}
