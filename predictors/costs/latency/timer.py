"""What times models: a runtime in this process, or anything with the same call on another machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import nn
from tqdm import tqdm

from ofa.export.runtimes.timing import interleaved

Shape = tuple[int, ...]  # channels, height and width of a map; positions and channels of a sequence
TimedModel = tuple[Any, Shape]  # what a runtime's ``convert`` made, and the shape of what it reads


class Runtime(Protocol):
    """What a module of ``ofa.export.runtimes`` has that can be timed on this machine."""

    def load(self, model: Any, *, threads: int = 1) -> Any: ...

    def bind(self, session: Any, shape: tuple[int, ...]) -> Callable[[], object]: ...

    def convert(self, module: nn.Module, shape: Shape) -> Any: ...

    def environment(self, *, threads: int) -> dict[str, Any]: ...


class ModelTimer(Protocol):
    """Times models: milliseconds ``(rounds, len(models))``, as ``timing.interleaved`` measures them.

    A model may stand in ``models`` twice, once ``cold``; ``cold`` and ``reference`` number ``models``. ``on_pace`` is
    given the reference's time in each round, in any unit.
    """

    def __call__(
        self,
        models: Sequence[TimedModel],
        *,
        rounds: int,
        cold: Collection[int] = (),
        reference: int | None = None,
        seed: int = 0,
        progress: bool = True,
        on_pace: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray: ...


def in_this_process(runtime: Runtime, *, threads: int) -> ModelTimer:
    """The timer of ``runtime`` on this machine."""
    return partial(_time, runtime, threads)


def _time(
    runtime: Runtime, threads: int, models: Sequence[TimedModel], *, progress: bool = True, **options: Any
) -> np.ndarray:
    calls: dict[tuple[int, Shape], Callable[[], object]] = {}  # a torch module may be there in several shapes
    for model, shape in tqdm(models, desc="load", disable=None if progress else True):
        if (id(model), shape) not in calls:
            calls[id(model), shape] = runtime.bind(runtime.load(model, threads=threads), (1, *shape))
    each = [calls[id(model), shape] for model, shape in models]
    return 1e3 * interleaved(each, description="time blocks", progress=progress, **options)
