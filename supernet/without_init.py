"""Building networks whose weights are assigned afterwards."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

_FILLING = ("normal_", "uniform_", "fill_", "zero_")  # by which modules initialise themselves


class WithoutInit(TorchFunctionMode):
    """Skips random initialisation, which on the meta device does nothing and takes most of a build's time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else None
        if getattr(func, "__name__", "") in _FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
