"""Building networks whose weights are assigned afterwards."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode


class WithoutInit(TorchFunctionMode):
    """Skips random initialisation, which on the meta device does nothing and takes most of a build's time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else None
        return func(*args, **(kwargs or {}))
