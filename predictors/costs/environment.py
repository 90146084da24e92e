"""Where costs were measured, and whether that is here: times hold for one runtime on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

_COMPARED = ("runtime", "version", "threads", "cpu", "device", "gpu", "compiled")
_SETTINGS = ("threads", "device", "compiled")
_NAMES = ("onnxruntime", "torch", "litert", "tflm", "cortex_m4", "cortex_m55")
_RUNTIMES = {name: f"ofa.export.runtimes.{name}" for name in _NAMES}


def differences(info: Mapping[str, Any], environment: Mapping[str, Any] | None) -> list[str]:
    """What of the environment in a table's ``info`` is not so in ``environment``, in words.

    Without ``environment``: of the table's own runtime and settings on this machine. Tables of counts have none, and
    nothing that differs.
    """
    runtime = info.get("runtime")
    if runtime is None:
        return []
    if environment is None:
        if runtime not in _RUNTIMES:
            return [f"with the runtime {runtime}, which this version of ofa does not have"]
        settings = {name: info[name] for name in _SETTINGS if name in info}
        try:
            environment = import_module(_RUNTIMES[runtime]).environment(**settings)
        except ImportError:
            return [f"with {runtime}, which is not installed here"]
        except (TypeError, ValueError) as error:
            return [f"with {runtime}: {error}"]
    return [
        f"{name} {info[name]}, here {environment.get(name)}"
        for name in _COMPARED
        if name in info and info[name] != environment.get(name)
    ]
