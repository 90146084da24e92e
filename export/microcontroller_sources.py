"""The C of one model in its variants, written by bakenn; the layout of its arena is ours (``microcontroller_memory``).

Variants share the weights. ``portable`` is plain C11 for any processor; ``cortex-m4`` and ``cortex-m55`` call CMSIS-NN
with the scratch memory that its kernels need on that processor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ofa.export.microcontroller_memory import Buffer, live_bytes, place, scratch_bytes

VARIANTS = ("portable", "cortex-m4", "cortex-m55")
_LONG_AGO = 1_000_000_000
_SCRATCH = re.compile(r"^( +)\(void \*\)\(arena \+ \d+u\), (\d+),$", re.MULTILINE)
_INCLUDE = '#include "model_add.h"\n'
_ARENA_SIZE = re.compile(r"^(#define BKNN_MODEL_ARENA_SIZE )\d+u$", re.MULTILINE)


class Variant(NamedTuple):
    """``steps`` names what runs, in order; ``arena`` and ``live`` (the least that is possible) are bytes."""

    plan: Any
    steps: list[str]
    arena: int
    live: int
    weights: int


def write(graph: Any, folder: Path, scratch: Path, names: Sequence[str] = VARIANTS) -> dict[str, Variant]:
    """Writes the sources of variants under ``folder``; ``scratch`` is a folder for what bakenn writes first."""
    variants = {}
    for name in names:
        made, kernels = scratch / name, folder / ("portable" if name == "portable" else "cmsis_nn")
        variants[name] = _generate(graph, made, name)
        (folder / name).mkdir(exist_ok=True)
        kernels.mkdir(exist_ok=True)
        for suffix in "ch":
            (made / f"bknn_model.{suffix}").replace(folder / name / f"bknn_model.{suffix}")
            (made / f"bknn_model_kernels.{suffix}").replace(kernels / f"bknn_model_kernels.{suffix}")
            (made / f"bknn_model_weights.{suffix}").replace(folder / f"bknn_model_weights.{suffix}")
        _write_profile(kernels)
        if (made / "third_party").exists() and not (folder / "third_party").exists():
            (made / "third_party").replace(folder / "third_party")
    for source in (folder / "third_party").rglob("*.[ch]"):
        os.utime(source, (_LONG_AGO, _LONG_AGO))  # so that make sees that objects made for another model are up to date
    return variants


def _generate(graph: Any, folder: Path, name: str) -> Variant:
    from bakenn import CORTEX_M4, CBackendOptions, KernelPolicy
    from bakenn.backend.portable_c import generate_portable_c
    from bakenn.backend.portable_c.selection import select_backend_plan
    from bakenn.passes import deduplicate_constants, fuse_clamps, legalize_graph
    from bakenn.plan import lower_to_plan

    options = CBackendOptions(enable_weight_packing=False)  # so that all variants have the same weights
    if name != "portable":
        options = replace(options, kernel_policy=KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=CORTEX_M4)
    plan = lower_to_plan(deduplicate_constants(fuse_clamps(legalize_graph(graph))))
    chosen = select_backend_plan(plan, options).selections
    asked = [number for number, kernel in enumerate(chosen) if kernel.scratch_size]
    needs = {number: _scratch(plan, plan.steps[number], chosen[number], name) for number in asked}
    plan, places, live = _lay_out(plan, needs)
    made = generate_portable_c(plan, folder, model_name="model", options=options)

    numbers = iter(asked)
    text = made.model_source.read_text()
    text, count = _SCRATCH.subn(lambda found: _pointer(found[1], places, needs, next(numbers)), text)
    header, sizes = _ARENA_SIZE.subn(rf"\g<1>{plan.arena_size}u", made.header.read_text())
    if count != len(asked) or sizes != 1:
        raise RuntimeError("bakenn writes C in another form than version 1.0 did: install bakenn 1.0")
    if name != "portable":
        text = _INCLUDE + text.replace("    bknn_model_add_s8(", "    model_add_s8(")
    made.model_source.write_text(text)
    made.header.write_text(header)
    weights = sum(value.nbytes for value in plan.constants.values())
    return Variant(plan, [step.name for step in plan.steps], plan.arena_size, live, weights)


def _scratch(plan: Any, step: Any, kernel: Any, variant: str) -> int:
    """Bytes that a step really works in, of those that bakenn reserves for its kernel (or more, on a Cortex-M55)."""
    vectors = variant == "cortex-m55"
    if not kernel.kernel_id.startswith("cmsis_nn"):
        return kernel.scratch_size
    if step.kernel_kind == "average_pool2d_s8":
        return 0 if vectors else kernel.scratch_size  # with vector instructions it sums in registers
    weight = getattr(step, "weight", None)
    known = None if weight is None else scratch_bytes(step, plan.constants[weight].shape, vectors=vectors)
    if known is None and vectors:
        raise ValueError(f"{step.name}: how much scratch memory a Cortex-M55 needs for it is not known")
    return kernel.scratch_size if known is None else known


def _lay_out(plan: Any, needs: Mapping[int, int]) -> tuple[Any, dict[int, int], int]:
    """The plan with the arena laid out anew; where each step's scratch memory lies; bytes of the largest moment."""
    roots = list(plan.lifetimes)
    buffers = [
        Buffer(
            max(plan.tensors[member].tensor_type.nbytes for member in plan.alias_groups[root]),
            plan.lifetimes[root].birth,
            plan.lifetimes[root].death - 1,
        )
        for root in roots
    ]
    users = [number for number, size in needs.items() if size]
    buffers += [Buffer(needs[number], number, number) for number in users]
    offsets, arena = place(buffers)
    moved = {member: offset for root, offset in zip(roots, offsets, strict=False) for member in plan.alias_groups[root]}
    tensors = {
        name: replace(tensor, offset=moved[name]) if name in moved else tensor for name, tensor in plan.tensors.items()
    }
    size = -(-max(arena, 1) // plan.arena_alignment) * plan.arena_alignment
    plan = replace(plan, tensors=tensors, activation_arena_size=size, arena_size=size)
    return plan, dict(zip(users, offsets[len(roots) :], strict=True)), live_bytes(buffers)


def _pointer(indent: str, places: Mapping[int, int], needs: Mapping[int, int], number: int) -> str:
    if number not in places:
        return f"{indent}NULL, 0,"
    return f"{indent}(void *)(arena + {places[number]}u), {needs[number]},"


def _write_profile(kernels: Path) -> None:
    """A header that makes each call of an operator leave a mark, without a second copy of the model."""
    declared = (kernels / "bknn_model_kernels.h").read_text()
    names = re.findall(r"^void (bknn_model_\w+)\(", declared, re.MULTILINE)
    names.append("model_add_s8")
    lines = ['#include "bknn_model_kernels.h"', '#include "model_add.h"', '#include "profile.h"']
    lines += [f"#define {name}(...) ({name}(__VA_ARGS__), profile_mark())" for name in names]
    (kernels / "profile_calls.h").write_text("\n".join(lines) + "\n")
