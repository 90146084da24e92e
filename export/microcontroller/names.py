"""The names in the C that is written: a prefix of the model's own, so that several models link into one firmware.

bakenn writes ``bknn_model_...`` and so do our templates (``cortex_m/``); ``Names`` turns both into the model's own.
CMSIS-NN, which all models share, gets names that no other copy of it has, and weak ones: however many folders a program
is made of, one copy stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# What any file of a model may ask: whether CMSIS-NN is used, and how C11 and C++ write an alignment.
PROCESSOR = """#if !defined(OFA_CMSIS_NN) /* on every Cortex-M; with -DOFA_CMSIS_NN=0 portable C, there too */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#define OFA_CMSIS_NN 1
#else
#define OFA_CMSIS_NN 0
#endif
#endif
"""
_ALIGNED = """#if !defined(OFA_ALIGNED)
#if defined(__cplusplus)
#define OFA_ALIGNED(bytes) alignas(bytes)
#else
#define OFA_ALIGNED(bytes) _Alignas(bytes)
#endif
#endif
"""
_SHARED = """/* Written by once-for-all. CMSIS-NN under names that no other copy in a program has. */
#ifndef {guard}
#define {guard}
#include <stdint.h>
{processor}
#if !defined(__ARM_ARCH_PROFILE) || __ARM_ARCH_PROFILE != 'M'
#define __GNUC_PYTHON__ /* CMSIS-NN's name for "plain C, no Cortex-M" */
#ifndef __RESTRICT
#define __RESTRICT __restrict
#endif
#endif
#if defined(__GNUC__) && !defined(BAKENN_CMSIS_NN_BUILTIN_MEMORY)
#define BAKENN_CMSIS_NN_BUILTIN_MEMORY
#endif
{names}
/* Of the copies of a function in the folders of several models, the linker keeps one. */
#if defined(__GNUC__) && defined(__ELF__)
#define OFA_PRAGMA(words) _Pragma(#words)
#define OFA_WEAK(name) OFA_PRAGMA(weak name)
#else
#define OFA_WEAK(name)
#endif
#endif
"""
_NOTE = "/* Changed by once-for-all: the names, each function weak, and compiled only where CMSIS-NN is used. */\n"
_CMSIS_FUNCTION = re.compile(r"^[a-z]\w* +\*?(arm_\w+)\(", re.MULTILINE)
_RESERVED = ("bknn",)  # bakenn's own macros, the same in every model, begin with it


class Names(NamedTuple):
    """``prefix`` of functions, data and files; in capitals, of macros."""

    prefix: str

    def apply(self, text: str, *, kernels: str = "") -> str:
        """A source of bakenn's or a template with this model's names; ``kernels`` is the variant whose it includes."""
        text = text.replace("bknn_model_kernels.h", f"{self.prefix}_{kernels}_kernels.h")
        text = text.replace("bknn_model.h", f"{self.prefix}_infer.h")
        return text.replace("bknn_model_", f"{self.prefix}_").replace("BKNN_MODEL_", f"{self.prefix.upper()}_")


def names_of(model: str) -> Names:
    """The names of a model called ``model``, whatever characters that has: ``96-px`` is ``model_96_px``."""
    word = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")
    clean = word[:1].isalpha() and word not in _RESERVED
    return Names(word if clean else f"model_{word}".rstrip("_"))


def distinct(model: str, models: Sequence[str]) -> str:
    """The prefix for ``model`` where ``models``, of which it is one, shall link into one firmware: of two models whose
    names make the same identifier (``a-b`` and ``a_b``) the later one gets a number."""
    same = [other for other in models if names_of(other) == names_of(model)]
    number = same.index(model) + 1 if model in same else 1
    prefix = names_of(model).prefix
    while number > 1 and names_of(f"{prefix}_v{number}") in map(names_of, models):
        number += len(models)
    return prefix if number == 1 else f"{prefix}_v{number}"


def for_both_languages(header: str) -> str:
    """A header of bakenn's whose declarations mean the same in C and in C++."""
    *_, last = re.finditer(r"^#include .*\n", header, re.MULTILINE)
    start, end = last.end(), header.rindex("#endif")
    body = header[start:end].strip("\n")
    opened, closed = '#ifdef __cplusplus\nextern "C" {\n#endif\n', "#ifdef __cplusplus\n}\n#endif\n"
    return f"{header[:start]}\n{_ALIGNED}\n{opened}\n{body}\n\n{closed}\n{header[end:]}"


def with_facts(header: str) -> str:
    """The public header with what the other files, and the program that uses the model, may ask."""
    head, include, rest = header.partition("#include <stdint.h>\n")
    return f"{head}{include}\n{PROCESSOR}{_ALIGNED}{rest}"


def only_if(condition: str, source: str) -> str:
    """A source that is empty for a processor that has other ones: all sources of a folder can be compiled at once."""
    return f'#include "bknn_model.h"\n#if {condition}\n{source.rstrip()}\n#endif\n'


def cmsis_names(sources: Iterable[str], *, version: str) -> str:
    """``names.h``, which every source of CMSIS-NN includes first, for all functions that the sources define."""
    tag = f"ofa_cmsis_nn_{re.sub(r'[^0-9]+', '_', version)}"
    functions = sorted({name for source in sources for name in _CMSIS_FUNCTION.findall(source)})
    return _SHARED.format(
        guard=f"{tag}_names_h".upper(),
        processor=PROCESSOR,
        names="\n".join(f"#define {name} {tag}_{name.removeprefix('arm_')}" for name in functions),
    )


def cmsis_source(source: str) -> str:
    """A source of CMSIS-NN under the names of ``names.h``, and empty where it is not used.

    Its functions are weak here alone: where they are called, that would forbid calls in place of a return.
    """
    functions = sorted(set(_CMSIS_FUNCTION.findall(source)))
    weak = "".join(f"OFA_WEAK({name})\n" for name in functions)
    return f'{_NOTE}#include "names.h"\n#if OFA_CMSIS_NN\n{weak}{source.rstrip()}\n#endif\n'
