"""Mixed precision, and torch.compile where it pays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

import torch
from torch import nn

from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings

MAX_COMPILED_SHAPES = 256  # of one function, before torch runs it uncompiled

Autocast = Callable[[], AbstractContextManager]


def make_precision(settings: Settings, device: torch.device) -> tuple[Autocast, torch.amp.GradScaler]:
    """Autocast, and the scaler that float16 needs (which does nothing otherwise)."""
    if not settings.amp or device.type != "cuda":
        return nullcontext, torch.amp.GradScaler(device.type, enabled=False)
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    return partial(torch.autocast, "cuda", dtype=dtype), scaler


def compile_blocks(net: Supernet) -> None:
    """Has torch.compile work on each block, in place, where ``compiling`` says so."""
    stem, stages, head = net.family.parts(net.model)
    fixed = [module for part in (stem, head) for module in part.children() if isinstance(module, nn.Sequential)]
    for blocks in (*stages, *fixed):
        for block in blocks:
            block.compile()


def compiling(settings: Settings, phase: Phase) -> AbstractContextManager:
    """Runs blocks compiled in phases that train one network, and as they are in the others.

    An elastic phase has thousands of shapes; each would be compiled anew, for seconds, until torch gives up.
    """
    if not settings.compile:
        return nullcontext()
    one_network = phase.trains_one_network
    stack = ExitStack()
    stack.enter_context(torch.compiler.set_stance("default" if one_network else "force_eager"))
    if one_network:  # all blocks share one forward function, and count together
        stack.enter_context(torch._dynamo.config.patch(recompile_limit=MAX_COMPILED_SHAPES))
    return stack
