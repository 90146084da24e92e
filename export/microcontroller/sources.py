"""The C of one model in its variants, written by bakenn; the layout of its arena is ours (``lifetimes``).

``portable`` is plain C11 for any processor. ``cortex-m4`` (any Cortex-M) and ``cortex-m55`` (those with
vector instructions) call CMSIS-NN with the scratch memory that its kernels need there. All variants share
one file of weights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ofa.export.lifetimes import Lifetime, peak, place
from ofa.export.microcontroller.names import (
    Names,
    cmsis_names,
    cmsis_source,
    for_both_languages,
    only_if,
    with_macros,
)
from ofa.export.microcontroller.scratch import ALIGNMENT, scratch_bytes
from ofa.supernet.integers import round_up

VARIANTS = ("portable", "cortex-m4", "cortex-m55")
_LONG_AGO = 1_000_000_000
_SCRATCH = re.compile(r"^( +)\(void \*\)\(arena \+ \d+u\), (\d+),$", re.MULTILINE)
_ARENA_SIZE = re.compile(r"^#define BKNN_MODEL_ARENA_SIZE \d+u$", re.MULTILINE)
# bakenn writes designated initialisers, which C++ before C++20 does not have. All fields are there, in order.
_DESIGNATED = re.compile(r"(?<=[ {])\.\w+ = ")
_DECLARED = re.compile(r"^extern const \w+ (?P<name>\w+)\[\d+\];$", re.MULTILINE)
_DEFINED = re.compile(r"^(?:_Alignas\(\d+\) )?const \w+ (?P<name>\w+)\[\d+\] = \{[^}]*\};$", re.MULTILINE)
_ALIGNAS = re.compile(r"(?:_Alignas\((\d+)\) )?")
_OTHER_FORM = "bakenn writes C in another form than version 1.0 did: install bakenn 1.0"
_CMSIS_HEADER = re.compile(r'^#include "arm_nnfunctions.h"$', re.MULTILINE)
_CMSIS_HEADERS = '#include "cmsis_nn/names.h"\n#include "cmsis_nn/arm_nnfunctions.h"'
_INCLUDE = '#include "src/{names}"'
FAST_ADD = "bknn_model_fast_add_s8"
_VECTORS = "defined(__ARM_FEATURE_MVE)"


class _Kind(NamedTuple):
    """The ``file`` of a variant, the ``kernels`` it calls, and the preprocessor's condition for it."""

    file: str
    kernels: str
    condition: str


_KINDS = {
    "portable": _Kind("portable", "portable", "!OFA_CMSIS_NN"),
    "cortex-m4": _Kind("cmsis_nn", "cmsis_nn", f"OFA_CMSIS_NN && !{_VECTORS}"),
    "cortex-m55": _Kind("cmsis_nn_vectors", "cmsis_nn", f"OFA_CMSIS_NN && {_VECTORS}"),
}


class Variant(NamedTuple):
    """The C of a model for one kind of processor.

    Attributes:
        plan: bakenn's, with our layout of the arena.
        steps: names of the operators in the order in which they run.
        arena, live: bytes of the arena, and the least that it could have.
        weights: bytes of all constants.
    """

    plan: Any
    steps: list[str]
    arena: int
    live: int
    weights: int


class _Generated(NamedTuple):
    """The texts that bakenn wrote for one variant: ``source`` runs the model; pairs are a header and a source."""

    variant: Variant
    source: str
    header: str
    kernels: tuple[str, str]
    weights: tuple[str, str]


def write(
    graph: Any, folder: Path, scratch: Path, names: Names, variants: Sequence[str] = VARIANTS
) -> dict[str, Variant]:
    """Writes ``folder/src``, all that a firmware needs, and ``profile_calls.h``; ``scratch`` is for bakenn's files.

    The preprocessor chooses the variant of a program, so all sources of the folder may be compiled at once.
    """
    outputs = {name: _generate(graph, scratch / name, name) for name in variants}
    source_folder, prefix = folder / "src", names.prefix
    (source_folder / "cmsis_nn").mkdir(parents=True)
    texts: dict[str, str] = {}
    calls: set[str] = set()

    # A source for each variant, and the kernels that it calls.
    for name, generated in outputs.items():
        kind = _KINDS[name]
        apply = partial(names.apply, kernels=kind.kernels)
        texts[f"{prefix}_infer_{kind.file}.c"] = apply(only_if(kind.condition, generated.source))
        header, source = generated.kernels
        calls.update(re.findall(r"^void (bknn_model_\w+)\(", header, re.MULTILINE))
        condition = "OFA_CMSIS_NN" if kind.kernels == "cmsis_nn" else "!OFA_CMSIS_NN"
        texts[f"{prefix}_{kind.kernels}_kernels.h"] = apply(for_both_languages(header))
        texts[f"{prefix}_{kind.kernels}_kernels.c"] = apply(only_if(condition, source))
        if FAST_ADD in generated.source:
            calls.add(FAST_ADD)
            for suffix in "ch":
                texts[f"{prefix}_add.{suffix}"] = apply(read_template(f"model_add.{suffix}"))

    # Weights and the public header are the same for all variants.
    header, source = _all_weights([generated.weights for generated in outputs.values()])
    texts[f"{prefix}_weights.h"] = names.apply(for_both_languages(header))
    texts[f"{prefix}_weights.c"] = names.apply(source.replace("_Alignas(", "OFA_ALIGNED("))
    header = next(iter(outputs.values())).header
    sizes = {name: generated.variant.arena for name, generated in outputs.items()}
    texts[f"{prefix}_infer.h"] = names.apply(_ARENA_SIZE.sub(_arena_sizes(sizes), with_macros(header)))

    for name, text in texts.items():
        (source_folder / name).write_text(text)
    _write_cmsis_nn(source_folder / "cmsis_nn", [scratch / name / "third_party" for name in variants])
    (folder / "profile_calls.h").write_text(names.apply(_profile_calls(sorted(calls))))
    return {name: generated.variant for name, generated in outputs.items()}


def read_template(name: str) -> str:
    """A file of ``c/``."""
    return (files("ofa.export.microcontroller") / "c" / name).read_text()


def _arena_sizes(sizes: Mapping[str, int]) -> str:
    """The definition of the arena's size, a branch of the preprocessor for each variant."""
    lines = []
    for name, size in sizes.items():
        lines += [f"#{'elif' if lines else 'if'} {_KINDS[name].condition}", f"#define BKNN_MODEL_ARENA_SIZE {size}u"]
    return "\n".join([*lines, "#else", '#error "this model was not written for this processor"', "#endif"])


def _all_weights(pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """One header and one source with every constant of the variants' ``(header, source)``.

    A variant has only the constants that its own kernels read: CMSIS-NN's fully connected layer takes its
    multiplier as an argument, the portable one reads it from a table. The linker of a firmware drops those
    that it does not need.

    Raises ``RuntimeError`` when a name has two values, or a constant is in only one of the two files.
    """
    declared: dict[str, str] = {}
    defined: dict[str, str] = {}
    for texts in pairs:
        for constants, pattern, text in zip((declared, defined), (_DECLARED, _DEFINED), texts, strict=True):
            for match in pattern.finditer(text):
                # Where variants differ only in a constant's alignment, the strictest one serves all.
                looser, stricter = sorted((match[0], constants.get(match["name"], match[0])), key=_alignment)
                constants[match["name"]] = stricter
                if _ALIGNAS.sub("", looser, count=1) != _ALIGNAS.sub("", stricter, count=1):
                    raise RuntimeError(f"bakenn gave {match['name']} two values in the C of one model")

    # Each array of the first variant must have been recognised, in both files.
    header, source = pairs[0]
    complete = (len(_DECLARED.findall(header)), len(_DEFINED.findall(source))) == (header.count("["), source.count("["))
    if set(declared) != set(defined) or not complete:
        raise RuntimeError(_OTHER_FORM)

    top, include, _ = header.partition("#include <stdint.h>\n")
    lines = [top + include, *declared.values(), "", header[header.rindex("#endif") :]]
    return "\n".join(lines), "\n\n".join([source.partition("\n")[0], *defined.values()]) + "\n"


def _alignment(definition: str) -> int:
    return int(_ALIGNAS.match(definition)[1] or 1)


def _write_cmsis_nn(folder: Path, bundles: Sequence[Path]) -> None:
    """Writes the sources and headers of CMSIS-NN into one folder, so that none needs an include path."""
    from bakenn.backend.cmsis_nn.bundle import CMSIS_NN_VERSION

    paths = {path.name: path for bundle in bundles for path in sorted(bundle.rglob("*.[ch]"))}
    sources = {name: path.read_text() for name, path in paths.items() if path.suffix == ".c"}
    texts = {name: cmsis_source(source) for name, source in sources.items()}
    texts |= {name: path.read_text() for name, path in paths.items() if path.suffix == ".h"}
    texts["names.h"] = cmsis_names(sources.values(), version=CMSIS_NN_VERSION)
    licences = (path for bundle in bundles for path in bundle.rglob("LICENSE.txt"))
    texts |= {f"LICENSE_{path.parent.name}.txt": path.read_text() for path in licences}
    for name, text in texts.items():
        (folder / name).write_text(text)
        # Old, so that make does not compile again the objects that another model's folder made.
        os.utime(folder / name, (_LONG_AGO, _LONG_AGO))


def _generate(graph: Any, folder: Path, name: str) -> _Generated:
    """The C of variant ``name``, with our layout of its arena."""
    from bakenn import CORTEX_M4, CBackendOptions, KernelPolicy
    from bakenn.backend.portable_c import generate_portable_c
    from bakenn.backend.portable_c.selection import select_backend_plan
    from bakenn.passes import deduplicate_constants, fuse_clamps, legalize_graph
    from bakenn.plan import lower_to_plan

    options = CBackendOptions(enable_weight_packing=False)  # so that all variants have the same weights
    if name != "portable":
        options = replace(options, kernel_policy=KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=CORTEX_M4)
    plan = lower_to_plan(deduplicate_constants(fuse_clamps(legalize_graph(graph))))

    # The steps whose kernels need scratch memory, and how much it is.
    kernels = select_backend_plan(plan, options).selections
    steps = [step for step, kernel in enumerate(kernels) if kernel.scratch_size]
    scratch_sizes = {step: _scratch_size(plan, plan.steps[step], kernels[step], name) for step in steps}
    plan, scratch_offsets, live = _lay_out(plan, scratch_sizes)

    files = generate_portable_c(plan, folder, model_name="model", options=options)
    source = _with_scratch(files.model_source.read_text(), steps, scratch_offsets, scratch_sizes)
    header = files.header.read_text()
    if len(_ARENA_SIZE.findall(header)) != 1:
        raise RuntimeError(_OTHER_FORM)
    kernel_texts = (files.kernels_header.read_text(), files.kernels_source.read_text())
    weight_texts = (files.weights_header.read_text(), files.weights_source.read_text())

    # CMSIS-NN is in a folder of its own, and its addition is replaced by a faster one.
    if name != "portable":
        if "    bknn_model_add_s8(" in source:
            source = '#include "bknn_model_add.h"\n' + source.replace("    bknn_model_add_s8(", f"    {FAST_ADD}(")
        kernel_texts = (_CMSIS_HEADER.sub(_CMSIS_HEADERS, kernel_texts[0]), _DESIGNATED.sub("", kernel_texts[1]))

    weights = sum(constant.nbytes for constant in plan.constants.values())
    variant = Variant(plan, [step.name for step in plan.steps], plan.arena_size, live, weights)
    return _Generated(variant, source, header, kernel_texts, weight_texts)


def _with_scratch(source: str, steps: Sequence[int], offsets: Mapping[int, int], sizes: Mapping[int, int]) -> str:
    """bakenn's source with our scratch memory as the arguments of the kernels of ``steps``."""
    remaining = iter(steps)

    def arguments(match: re.Match[str]) -> str:
        step = next(remaining)
        pointer = f"(void *)(arena + {offsets[step]}u), {sizes[step]}" if step in offsets else "NULL, 0"
        return f"{match[1]}{pointer},"

    source, count = _SCRATCH.subn(arguments, source)
    if count != len(steps):
        raise RuntimeError(_OTHER_FORM)
    return source


def _scratch_size(plan: Any, step: Any, kernel: Any, variant: str) -> int:
    """Bytes of scratch memory that a step needs: less than bakenn reserves for its kernel, or more on a Cortex-M55."""
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


def _lay_out(plan: Any, scratch_sizes: Mapping[int, int]) -> tuple[Any, dict[int, int], int]:
    """The plan with our layout of the arena, the offset of each step's scratch memory, and the bytes that live at once.

    Tensors of one alias group share their memory, which is named by the group's root.
    """
    roots = list(plan.lifetimes)
    sizes = [max(plan.tensors[member].tensor_type.nbytes for member in plan.alias_groups[root]) for root in roots]
    lifetimes = [
        Lifetime(round_up(size, ALIGNMENT), plan.lifetimes[root].birth, plan.lifetimes[root].death - 1)
        for root, size in zip(roots, sizes, strict=True)
    ]
    steps = [step for step, size in scratch_sizes.items() if size]
    lifetimes += [Lifetime(round_up(scratch_sizes[step], ALIGNMENT), step, step) for step in steps]
    offsets, arena = place(lifetimes)

    # Offsets of the tensors first, then those of the scratch memory.
    offset_of = {name: offset for root, offset in zip(roots, offsets, strict=False) for name in plan.alias_groups[root]}
    tensors = {
        name: replace(tensor, offset=offset_of[name]) if name in offset_of else tensor
        for name, tensor in plan.tensors.items()
    }
    size = round_up(max(arena, 1), plan.arena_alignment)
    plan = replace(plan, tensors=tensors, activation_arena_size=size, arena_size=size)
    return plan, dict(zip(steps, offsets[len(roots) :], strict=True)), peak(lifetimes)


def _profile_calls(calls: Sequence[str]) -> str:
    """A header in which each call of an operator also calls ``profile_mark``, without a second copy of the model."""
    lines = ['#include "profile.h"', '#include "src/bknn_model.h"', "#if OFA_CMSIS_NN"]
    lines += [_INCLUDE.format(names="bknn_model_cmsis_nn_kernels.h")]
    lines += [_INCLUDE.format(names="bknn_model_add.h")] if FAST_ADD in calls else []
    lines += ["#else", _INCLUDE.format(names="bknn_model_portable_kernels.h"), "#endif"]
    lines += [f"#define {name}(...) ({name}(__VA_ARGS__), profile_mark())" for name in calls]
    return "\n".join(lines) + "\n"
