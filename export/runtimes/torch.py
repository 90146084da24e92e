"""PyTorch itself, on the CPU or a CUDA device, eager or compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ofa.export.runtimes.machine import cpu_name
from ofa.export.runtimes.process_memory import resident
from ofa.supernet.saving import load_subnet

NAME = "torch"


@dataclass(frozen=True, eq=False)
class Session:
    """A model made ready by ``load``."""

    module: Callable[[Tensor], Tensor]
    device: torch.device
    threads: int
    compiled: bool


def load(model: nn.Module | Path, *, threads: int = 1, device: str = "cpu", compiled: bool = False) -> Session:
    """A session over a copy of a module in eval mode, or over the subnet in a folder that ``save_subnet`` wrote.

    The module runs as it is: batch norms stay apart unless ``compiled`` or the caller folds them. ``compiled`` uses
    ``torch.compile``, which works at the first call (seconds to minutes) and again for each new input shape.

    Raises ``ValueError`` when the device is not there, the folder is damaged or the module cannot be compiled.
    """
    place = _device(device)
    module = load_subnet(model) if isinstance(model, str | Path) else copy.deepcopy(model)
    module = module.to(place).eval()
    if not compiled:
        return Session(module, place, threads, compiled)
    try:
        # Torch counts compilations by source code and gives up at eight: each traced module has code of its own.
        module = fx.symbolic_trace(module)
    except Exception as error:  # tracing runs the module's own code, which may raise anything
        raise ValueError(f"torch cannot compile {type(model).__name__}: {error}; use compiled=False") from error
    return Session(torch.compile(module, fullgraph=True, dynamic=False), place, threads, compiled)


def run(session: Session, images: np.ndarray) -> np.ndarray:
    """Logits ``(batch, classes)`` of normalised float32 images ``(batch, channels, height, width)``."""
    data = torch.from_numpy(np.array(images, np.float32, order="C")).to(session.device)
    return _first(lambda: _run(session, data), session).cpu().numpy()


def bind(session: Session, shape: tuple[int, ...]) -> Callable[[], object]:
    """A call that runs the session once on fixed data already in place: what ``timing.interleaved`` times.

    It waits for a CUDA device to finish. A compiled session is compiled here, for this shape.
    """
    data = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32)).to(session.device)

    def call() -> Tensor:
        return _run(session, data)

    if session.compiled:
        _first(call, session)
    return call


def convert(module: nn.Module, _shape: tuple[int, int, int]) -> nn.Module:
    """What ``load`` takes, of an eval-mode module: itself."""
    return module


def memory(model: Path, shape: tuple[int, ...], *, threads: int = 1) -> int:
    """Bytes that a process grows by to load and run the folder that ``save_subnet`` wrote: see ``resident``."""
    return resident(NAME, model, shape, threads=threads)


def environment(*, threads: int, device: str = "cpu", compiled: bool = False) -> dict[str, Any]:
    """What a measured time holds for: runtime, version, threads, processors, and how the model ran.

    Raises ``ValueError`` when the device is not there.
    """
    place = _device(device)
    gpu = {"gpu": torch.cuda.get_device_name(place)} if place.type == "cuda" else {}
    values = {"runtime": NAME, "version": torch.__version__, "threads": threads, "cpu": cpu_name()}
    return {**values, "device": device, "compiled": compiled, **gpu}


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"torch knows no device {name!r}; use cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"the device {name} is neither cpu nor cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"the device {name} is not there: torch sees {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    return device


@torch.inference_mode()
def _run(session: Session, data: Tensor) -> Tensor:
    with _threads(session.threads):
        output = session.module(data)
        if session.device.type == "cuda":
            torch.cuda.synchronize(session.device)
    return output


def _first(call: Callable[[], Tensor], session: Session) -> Tensor:
    """``call()``, which may compile; torch's compilers raise what they like."""
    if not session.compiled:
        return call()
    try:
        return call()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ValueError(
            f"torch could not compile or run the model: {reason}; on a CPU it needs a C++ compiler "
            "(apt-get install g++), or use compiled=False"
        ) from error


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch's thread count is global: set for as long as it takes."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
