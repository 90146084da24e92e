"""The names in the C that is written: each model has its own prefix, so that several models link into one firmware.

bakenn and our templates (``c/``) write ``bknn_model_...``, which ``Names`` replaces by the model's own
prefix. The functions of CMSIS-NN get names that no other copy of it has, and are weak: of the copies in
several models' folders one stays in the program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Macros for all files of a model: whether CMSIS-NN is used, and how C11 and C++ write an alignment.
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
_RESERVED = ("bknn",)  # prefix of bakenn's own macros, which are the same in every model


class Names(NamedTuple):
    """``prefix`` is that of functions, data and files, and in capitals that of macros."""

    prefix: str

    def apply(self, text: str, *, kernels: str = "") -> str:
        """A source of bakenn's, or a template, with this model's names.

        ``kernels`` names the kernels (``portable`` or ``cmsis_nn``) whose header it includes.
        """
        text = text.replace("bknn_model_kernels.h", f"{self.prefix}_{kernels}_kernels.h")
        text = text.replace("bknn_model.h", f"{self.prefix}_infer.h")
        return text.replace("bknn_model_", f"{self.prefix}_").replace("BKNN_MODEL_", f"{self.prefix.upper()}_")


def names_of(model: str) -> Names:
    """The names of a model called ``model``, made an identifier: ``96-px`` becomes ``model_96_px``."""
    word = re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_")
    clean = word[:1].isalpha() and word not in _RESERVED
    return Names(word if clean else f"model_{word}".rstrip("_"))


def distinct(model: str, models: Sequence[str]) -> str:
    """The prefix for ``model`` in a firmware with all of ``models``, of which it is one.

    Of two models whose names make the same identifier (``a-b`` and ``a_b``) the later one gets a number.
    """
    same = [name for name in models if names_of(name) == names_of(model)]
    version = same.index(model) + 1 if model in same else 1
    prefix = names_of(model).prefix
    while version > 1 and names_of(f"{prefix}_v{version}") in map(names_of, models):
        version += len(models)
    return prefix if version == 1 else f"{prefix}_v{version}"


def for_both_languages(header: str) -> str:
    """A header of bakenn's whose declarations mean the same in C and in C++."""
    *_, last = re.finditer(r"^#include .*\n", header, re.MULTILINE)
    start, end = last.end(), header.rindex("#endif")
    declarations = header[start:end].strip("\n")
    extern_c, close = '#ifdef __cplusplus\nextern "C" {\n#endif\n', "#ifdef __cplusplus\n}\n#endif\n"
    return f"{header[:start]}\n{_ALIGNED}\n{extern_c}\n{declarations}\n\n{close}\n{header[end:]}"


def with_macros(header: str) -> str:
    """The public header with the macros for the other files and for the program that uses the model."""
    head, include, rest = header.partition("#include <stdint.h>\n")
    return f"{head}{include}\n{PROCESSOR}{_ALIGNED}{rest}"


def only_if(condition: str, source: str) -> str:
    """A source that is empty where ``condition`` is false, so that all sources of a folder can be compiled at once."""
    return f'#include "bknn_model.h"\n#if {condition}\n{source.rstrip()}\n#endif\n'


def cmsis_names(sources: Iterable[str], *, version: str) -> str:
    """``names.h``, which every source of CMSIS-NN includes first: it renames all functions of ``sources``."""
    tag = f"ofa_cmsis_nn_{re.sub(r'[^0-9]+', '_', version)}"
    functions = sorted({name for source in sources for name in _CMSIS_FUNCTION.findall(source)})
    return _SHARED.format(
        guard=f"{tag}_names_h".upper(),
        processor=PROCESSOR,
        names="\n".join(f"#define {name} {tag}_{name.removeprefix('arm_')}" for name in functions),
    )


def cmsis_source(source: str) -> str:
    """A source of CMSIS-NN with the names of ``names.h``, empty where CMSIS-NN is not used.

    Its functions are declared weak only here. Declared weak where they are called, they could not be tail
    calls.
    """
    functions = sorted(set(_CMSIS_FUNCTION.findall(source)))
    weak = "".join(f"OFA_WEAK({name})\n" for name in functions)
    return f'{_NOTE}#include "names.h"\n#if OFA_CMSIS_NN\n{weak}{source.rstrip()}\n#endif\n'
