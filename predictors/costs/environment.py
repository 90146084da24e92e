"""Where costs were measured, and whether that is here: times hold for one runtime on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ofa.export.runtimes import RUNTIMES

_COMPARED = ("runtime", "version", "threads", "cpu", "device", "gpu", "compiled")
_SETTINGS = ("threads", "device", "compiled")


def differences(info: Mapping[str, Any], environment: Mapping[str, Any] | None) -> list[str]:
    """What of the environment in a table's ``info`` is not so in ``environment``, in words.

    Without ``environment``: of the table's own runtime and settings on this machine. Tables of counts have none, and
    nothing that differs.
    """
    runtime = info.get("runtime")
    if runtime is None:
        return []
    if environment is None:
        if runtime not in RUNTIMES:
            return [f"with the runtime {runtime}, which this version of ofa does not have"]
        settings = {name: info[name] for name in _SETTINGS if name in info}
        try:
            environment = RUNTIMES[runtime].load_module().environment(**settings)
        except ImportError:
            return [f"with {runtime}, which is not installed here"]
        except (TypeError, ValueError) as error:
            return [f"with {runtime}: {error}"]
    return [
        f"{name} {info[name]}, here {environment.get(name)}"
        for name in _COMPARED
        if name in info and info[name] != environment.get(name)
    ]
