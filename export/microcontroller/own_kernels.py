"""Kernels of our own, in ``c/``, that take the place of bakenn's or CMSIS-NN's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ofa.export.microcontroller.calls import Call

ADD = "bknn_model_fast_add_s8"
DEPTHWISE = "bknn_model_depthwise_in_place_s8"
COPY = "bknn_model_copy_s8"
# The template in ``c/`` that has each, as a header and a source.
TEMPLATES = {ADD: "model_add", DEPTHWISE: "model_depthwise", COPY: "model_patches"}


def placed(call: Call, inputs: Sequence[str], output: str, offsets: Mapping[str, int]) -> Call:
    """The same call with the ``offsets`` in the arena of the tensors that it reads and writes, by their names."""
    readers = [name for name in ("input", "input_a", "input_b") if name in call.arguments]
    pointers = {
        name: f"(const int8_t *)(void *)(arena + {offsets[tensor]}u)"
        for name, tensor in zip(readers, inputs, strict=True)
        if tensor in offsets
    }
    if output in offsets:
        pointers["output"] = f"(int8_t *)(void *)(arena + {offsets[output]}u)"
    return call._replace(arguments=call.arguments | pointers)


def with_scratch(call: Call, offset: int | None, size: int) -> Call:
    """The same call with ``size`` bytes of the arena as scratch memory, or none; behind the output if it had none."""
    pointer = {"scratch": "NULL" if offset is None else f"(void *)(arena + {offset}u)", "scratch_bytes": f"{size}"}
    names = list(call.arguments)
    behind = names.index("output") + 1
    before = {name: call.arguments[name] for name in names[:behind]}
    return Call(call.kernel, before | pointer | {name: call.arguments[name] for name in names[behind:]} | pointer)


def depthwise(call: Call, offset: int | None, size: int) -> Call:
    """A call of ``c/model_depthwise.c`` in place of one of bakenn's depthwise convolutions."""
    return with_scratch(call, offset, size)._replace(kernel=DEPTHWISE)


def includes(called: Collection[str]) -> str:
    """The lines that include the headers of the kernels that are ``called``."""
    return "".join(f'#include "bknn_{template}.h"\n' for kernel, template in TEMPLATES.items() if kernel in called)
