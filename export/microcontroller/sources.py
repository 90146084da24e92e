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

from ofa.export.microcontroller.calls import read_calls
from ofa.export.microcontroller.layout import by_channel, lay_out, scratch_size
from ofa.export.microcontroller.model_body import Executed, body
from ofa.export.microcontroller.names import (
    Names,
    cmsis_names,
    cmsis_source,
    for_both_languages,
    only_if,
    with_macros,
)
from ofa.export.microcontroller.own_kernels import TEMPLATES
from ofa.export.microcontroller.patched_source import patched_of
from ofa.export.microcontroller.patches import Patches

VARIANTS = ("portable", "cortex-m4", "cortex-m55")
_LONG_AGO = 1_000_000_000
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
        steps: names of the operators in the order in which they run.
        executed: what its kernels run, in order; reshapes are none.
        arena, live: bytes of the arena, and the least that it could have.
        weights: bytes of all constants.
    """

    steps: list[str]
    executed: list[Executed]
    arena: int
    live: int
    weights: int


class _Generated(NamedTuple):
    """The texts of one variant: ``source`` runs the model; pairs are a header and a source.

    ``called`` are the names of its kernels.
    """

    variant: Variant
    source: str
    header: str
    kernels: tuple[str, str]
    weights: tuple[str, str]
    called: set[str]


def write(
    graph: Any,
    folder: Path,
    scratch: Path,
    names: Names,
    variants: Sequence[str] = VARIANTS,
    *,
    in_place: bool = True,
    patches: Patches | None = None,
) -> dict[str, Variant]:
    """Writes ``folder/src``, all that a firmware needs, and ``profile_calls.h``; ``scratch`` is for bakenn's files.

    The preprocessor chooses the variant of a program, so all sources of the folder may be compiled at once.
    """
    outputs = {name: _generate(graph, scratch / name, name, in_place=in_place, patches=patches) for name in variants}
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
        for kernel, template in TEMPLATES.items():
            if kernel in generated.called:
                calls.add(kernel)
                for suffix in "ch":
                    text = names.apply(read_template(f"{template}.{suffix}"), kernels="cmsis_nn")
                    texts[f"{template.replace('model', prefix, 1)}.{suffix}"] = text

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


def _generate(graph: Any, folder: Path, name: str, *, in_place: bool, patches: Patches | None) -> _Generated:
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

    # The scratch memory of the steps, and where everything lies.
    patched = None if patches is None else patched_of(plan, patches)
    kernels, memory = select_backend_plan(plan, options).selections, {"in_place": in_place, "patched": patched}
    scratch_sizes = {
        number: scratch_size(plan, step, kernel, vectors=name == "cortex-m55", **memory)
        for number, (step, kernel) in enumerate(zip(plan.steps, kernels, strict=True))
        if kernel.scratch_size or (in_place and by_channel(plan, step))
    }
    layout = lay_out(plan, scratch_sizes, **memory)

    files = generate_portable_c(plan, folder, model_name="model", options=options)
    header = files.header.read_text()
    kernel_texts = [path.read_text() for path in (files.kernels_header, files.kernels_source)]
    if len(_ARENA_SIZE.findall(header)) != 1:
        raise RuntimeError(_OTHER_FORM)
    weight_texts = (files.weights_header.read_text(), files.weights_source.read_text())

    source = read_calls(files.model_source.read_text(), kernel_texts[0])
    made = body(plan, source, layout, scratch_sizes, **memory, cmsis_nn=name != "portable")

    # CMSIS-NN is in a folder of its own.
    if name != "portable":
        kernel_texts = [_CMSIS_HEADER.sub(_CMSIS_HEADERS, kernel_texts[0]), _DESIGNATED.sub("", kernel_texts[1])]

    weights = sum(constant.nbytes for constant in plan.constants.values())
    variant = Variant([step.name for step in plan.steps], made.executed, layout.arena, layout.live, weights)
    return _Generated(variant, made.text, header, tuple(kernel_texts), weight_texts, made.called)


def _profile_calls(calls: Sequence[str]) -> str:
    """A header in which each call of an operator also calls ``profile_mark``, without a second copy of the model."""
    lines = ['#include "profile.h"', '#include "src/bknn_model.h"', "#if OFA_CMSIS_NN"]
    lines += [_INCLUDE.format(names="bknn_model_cmsis_nn_kernels.h")]
    lines += ["#else", _INCLUDE.format(names="bknn_model_portable_kernels.h"), "#endif"]
    lines += [_INCLUDE.format(names=f"bknn_{template}.h") for kernel, template in TEMPLATES.items() if kernel in calls]
    lines += [f"#define {name}(...) ({name}(__VA_ARGS__), profile_mark())" for name in calls]
    return "\n".join(lines) + "\n"
