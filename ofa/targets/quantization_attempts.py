"""A target's int8 file: quantised in several ways until one keeps the accuracy, on every processor that may run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.machine import has_vnni
from ofa.targets.deployment import Deployment

if TYPE_CHECKING:
    from ofa.config.export import OnnxConfig

Run = Callable[[np.ndarray], np.ndarray]

# Ways to quantise, tried in this order until one keeps the accuracy.
_CLIPPED = {"percentile": 99.99}
_ONNX: dict[str, dict[str, Any]] = {
    "min/max calibration": {},
    "percentile 99.99": _CLIPPED,
    "weights of seven bits": {"weights": "reduced"},
    "weights of seven bits, percentile 99.99": {"weights": "reduced", **_CLIPPED},
    "unsigned weights": {"weights": "unsigned"},
}
_TFLITE: dict[str, dict[str, Any]] = {
    "min/max calibration": {},
    "even channels": {"equalize": True},
    "even channels, percentile 99.99": {"equalize": True, **_CLIPPED},
    "even channels, percentile 99.99, bias correction": {"equalize": True, **_CLIPPED, "correct_bias": True},
}


def remedies(device: Deployment, onnx: OnnxConfig) -> dict[str, dict[str, Any]]:
    """The ways to try for a device, with the arguments of ``quantize_onnx`` or ``quantize_tflite``."""
    if device.runtime != "onnxruntime":
        return _TFLITE
    kept = {name: way for name, way in _ONNX.items() if onnx.weights is None or "weights" not in way}
    if onnx.symmetric:
        kept = {name: way for name, way in kept.items() if way.get("weights") != "unsigned"}
    fixed: dict[str, Any] = {"weights": onnx.weights} if onnx.weights else {}
    fixed |= {"symmetric": True} if onnx.symmetric else {}
    return {name: {**way, **fixed} for name, way in kept.items()}


def quantised(
    device: Deployment,
    ways: dict[str, dict[str, Any]],
    *,
    write: Callable[[dict[str, Any]], bytes],
    score: Callable[[Run], float],
    before: float,
    allowed_drop: float,
    threads: int,
) -> tuple[bytes, dict[str, Any]]:
    """The int8 file that keeps the accuracy ``before``, or the best, and what ``verify.json`` says of it.

    ONNX files are also scored with ONNX Runtime's optimisations off, when they compute in float32 between quantize and
    dequantize nodes, as some other runtimes do; a file must keep the accuracy there too.

    Args:
        write: makes the file of a way and returns its bytes.
        score: the accuracy of a runtime on validation images.
    """
    tried: dict[str, float] = {}
    plain: dict[str, float] = {}
    contents: dict[str, bytes] = {}
    for name, way in ways.items():
        contents[name] = write(way)
        tried[name] = score(_run(device.scorer, contents[name], threads=threads if device.has_latency else 1))
        if device.runtime == "onnxruntime":
            plain[name] = score(_run(onnxruntime, contents[name], threads=threads, optimise=False))
        if before - min(tried[name], plain.get(name, 1.0)) <= allowed_drop:
            used = name
            break
    else:
        used = max(tried, key=lambda name: (min(tried[name], plain.get(name, 1.0)), tried[name]))
    facts = {"tried": tried, "used": used, "allowed_drop": allowed_drop, "within": before - tried[used] <= allowed_drop}
    if plain:
        depends = ways[used].get("weights", "signed") == "signed" and not ways[used].get("symmetric", False)
        facts |= {"unoptimised": plain, "depends_on_cpu": depends, "cpu_has_vnni": has_vnni()}
    return contents[used], {"validation_accuracy": tried[used], "int8": facts}


def _run(runtime: Any, content: bytes, **options: Any) -> Run:
    session = runtime.load(content, **options)
    return lambda images: runtime.run(session, images)
