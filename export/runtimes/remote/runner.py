"""Times TFLite models on the device that it was sent to; needs Python 3.9, numpy and LiteRT there, and nothing of ofa.

``python3 runner.py JOB.json`` prints lines ``ofa {JSON}``: first ``environment``, then each round as it ends, or
an ``error`` in words. What a round does is what ``timing.interleaved`` does.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "ofa "
Call = Callable[[], Any]


def main(job_path: str | Path) -> int:
    """Does the job; returns the exit status."""
    job_path = Path(job_path)
    job = json.loads(job_path.read_text(encoding="utf-8"))
    try:
        interpreter, version = _litert()
    except ModuleNotFoundError as error:
        return _failed({"missing": str(error.name)})
    except ImportError as error:
        return _failed({"error": f"LiteRT cannot be imported there: {_one_line(error)}"})
    # The device's processor, or on boards their name, and what it calls itself.
    machine = {"cpu": _cpu(), "host": platform.node(), "system": platform.platform()}
    _say({"environment": {**machine, "runtime": "litert", "version": version, "threads": job["threads"]}})
    models = []
    for model in job["models"]:
        try:
            models.append(_prepared(interpreter, job_path.with_name(model["file"]), model["shape"], job["threads"]))
        except (RuntimeError, ValueError) as error:
            return _failed({"error": f"LiteRT {version} there cannot load a model: {_one_line(error)}"})
    if not models:
        return 0
    calls = [models[index] for index, _ in job["calls"]]
    counts = repeats(calls, [cold for _, cold in job["calls"]], job["seconds"], job["fewest"], job["most"])
    for number, order in job["rounds"]:
        times, pace = one_round(calls, counts, order, job["reference"], job["every"])
        _say({"round": number, "ns": times, "pace": pace})
    return 0


def repeats(calls: list[Call], cold: list[bool], seconds: float, fewest: int, most: int) -> list[int]:
    """How often each call runs in a round: 0 for a cold one, which runs once after others."""
    counts = []
    for index, call in enumerate(calls):
        call()
        if cold[index]:
            counts.append(0)
            continue
        once = min(_timed(call) for _ in range(3))
        counts.append(int(min(max(seconds * 1e9 / max(once, 1), min(fewest, most)), most)))
    return counts


def one_round(
    calls: list[Call], counts: list[int], order: list[int], reference: int | None, every: int
) -> tuple[list[int], float | None]:
    """Nanoseconds of each call, and the median of the reference call's between them (``None`` without one)."""
    times, references = [0] * len(calls), []
    for place, index in enumerate(order):
        times[index] = _timed(calls[index]) if counts[index] == 0 else _warm(calls[index], counts[index])
        if reference is not None and place % every == 0:
            references.append(_warm(calls[reference], 1))
    return times, statistics.median(references) if references else None


def _warm(call: Call, count: int) -> int:
    call()  # the caches held another model
    return min(_timed(call) for _ in range(count))


def _timed(call: Call) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start


def _litert() -> tuple[Any, str]:
    from importlib.metadata import version

    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ModuleNotFoundError:
            raise error from None
        return Interpreter, "tflite-runtime " + version("tflite-runtime")
    return Interpreter, version("ai-edge-litert")


def _prepared(interpreter: Any, path: Path, shape: list[int], threads: int) -> Call:
    """A call that runs the model once on fixed data already in place; ``shape`` is (channels, height, width), or
    of a sequence (positions, channels)."""
    import numpy as np

    # From bytes: a path that the runtime maps into memory would be paged in while it is timed.
    session = interpreter(model_content=path.read_bytes(), num_threads=threads)
    session.allocate_tensors()
    port = session.get_input_details()[0]
    data = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    data = data.transpose(0, 2, 3, 1) if data.ndim == 4 else data
    if np.dtype(port["dtype"]).kind != "f":
        limits = np.iinfo(port["dtype"])
        scale, zero_point = port["quantization"]
        data = np.clip(np.rint(data / np.float32(scale)) + zero_point, limits.min, limits.max)
    session.set_tensor(port["index"], np.ascontiguousarray(data, port["dtype"]))
    return session.invoke


def _cpu() -> str:
    info, board = Path("/proc/cpuinfo"), Path("/proc/device-tree/model")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if board.exists():
        return board.read_text(errors="replace").strip("\0 \n")
    return platform.processor() or platform.machine()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _failed(values: dict[str, str]) -> int:
    _say(values)
    return 1


def _say(values: dict[str, Any]) -> None:
    print(MARK + json.dumps(values), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
