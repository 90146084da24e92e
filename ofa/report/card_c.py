"""The lines of C that classify an image with ``models/TARGET/c``, for its card: C11 and C++17 at once."""

from __future__ import annotations

from typing import Any

_C = """/* Compile this file, every .c file in c/src and every one in c/src/cmsis_nn, as C11 or C++17, with -I c/src;
   link with -lm. On a Cortex-M that is CMSIS-NN, elsewhere portable C. c/Makefile builds a program that checks it. */
#include <math.h>
#include "{prefix}_infer.h"

OFA_ALIGNED({macro}_ARENA_ALIGNMENT) static uint8_t arena[{macro}_ARENA_SIZE];
static int8_t input[{macro}_INPUT_SIZE], output[{macro}_OUTPUT_SIZE];
static const float mean[] = {{{mean}}}, deviation[] = {{{std}}};

/* pixels: {resolution} rows of {resolution}, {channels} byte(s) each, 0 to 255.
   Returns the number of a line of labels.txt, from 0. */
int {prefix}_classify(const uint8_t *pixels) {{
    int best = 0;
    for (uint32_t index = 0; index < {macro}_INPUT_SIZE; ++index) {{
        float value = ((float)pixels[index] / 255.0f - mean[index % {channels}u]) / deviation[index % {channels}u];
        float code = rintf(value / {macro}_INPUT_SCALE) + {macro}_INPUT_ZERO_POINT;
        input[index] = (int8_t)(code < -128.0f ? -128.0f : code > 127.0f ? 127.0f : code);
    }}
    {prefix}_infer(arena, input, output);
    for (int label = 1; label < (int){macro}_OUTPUT_SIZE; ++label) {{
        best = output[label] > output[best] ? label : best;
    }}
    return best;
}}
"""


def c_code(prefix: str, preprocessing: dict[str, Any]) -> str:
    """``preprocessing``: ``resolution``, ``channels``, ``mean``, ``std``; ``prefix`` is that of ``export_c``."""
    numbers = {key: ", ".join(f"{float(value)!r}f" for value in preprocessing[key]) for key in ("mean", "std")}
    return _C.format(prefix=prefix, macro=prefix.upper(), **{**preprocessing, **numbers})
