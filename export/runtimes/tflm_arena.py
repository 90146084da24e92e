"""A process of its own that finds the smallest arena in which TensorFlow Lite Micro allocates a model.

``python -m ofa.export.runtimes.tflm_arena ENOUGH`` reads the model from stdin and prints the bytes. In some arenas that
are too small the interpreter crashes where it should fail, so each size is tried in a fork.
"""

from __future__ import annotations

import os
import sys


def smallest(model: bytes, enough: int) -> int:
    """By bisection, from an arena that is ``enough``."""
    too_small = 0
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if _allocates(model, middle):
            enough = middle
        else:
            too_small = middle
    return enough


def _allocates(model: bytes, arena: int) -> bool:
    child = os.fork()
    if child == 0:
        try:
            runtime.Interpreter.from_bytes(model, arena_size=arena)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    from tflite_micro.python.tflite_micro import runtime

    print(smallest(sys.stdin.buffer.read(), int(sys.argv[1])))
