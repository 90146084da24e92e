"""A target's int8 file: quantised in several ways until one keeps the accuracy, on every processor that may run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ofa.export.runtimes import onnxruntime
from ofa.export.runtimes.machine import has_vnni
from ofa.pipeline.artefacts.verification import TRAINED
from ofa.targets.deployment import Deployment
from ofa.targets.quantization_aware import NotTrained

if TYPE_CHECKING:
    from ofa.config.export import OnnxConfig

Run = Callable[[np.ndarray], np.ndarray]
# Names of ways to quantise and the options of each, in the order in which they are tried.
Attempts = dict[str, dict[str, Any]]

_CLIPPED = {"percentile": 99.99}
_ONNX: Attempts = {
    "min/max calibration": {},
    "percentile 99.99": _CLIPPED,
    "weights of seven bits": {"weights": "reduced"},
    "weights of seven bits, percentile 99.99": {"weights": "reduced", **_CLIPPED},
    "unsigned weights": {"weights": "unsigned"},
}
_TFLITE: Attempts = {
    "min/max calibration": {},
    "even channels": {"equalize": True},
    "even channels, percentile 99.99": {"equalize": True, **_CLIPPED},
    "even channels, percentile 99.99, bias correction": {"equalize": True, **_CLIPPED, "correct_bias": True},
}


def onnx_attempts(onnx: OnnxConfig) -> Attempts:
    """The ways to try with ``quantize_onnx``, inside what the recipe fixes."""
    kept = {name: options for name, options in _ONNX.items() if onnx.weights is None or "weights" not in options}
    if onnx.symmetric:
        kept = {name: options for name, options in kept.items() if options.get("weights") != "unsigned"}
    fixed: dict[str, Any] = {"weights": onnx.weights} if onnx.weights else {}
    fixed |= {"symmetric": True} if onnx.symmetric else {}
    return {name: {**options, **fixed} for name, options in kept.items()}


def tflite_attempts(_onnx: OnnxConfig) -> Attempts:
    """The ways to try with ``quantize_tflite``; a recipe fixes nothing of them."""
    return _TFLITE


def quantize_within(
    deployment: Deployment,
    attempts: Attempts,
    *,
    write: Callable[[dict[str, Any]], bytes],
    score: Callable[[Run], float],
    before: float,
    allowed_drop: float,
    threads: int,
    last: Callable[[dict[str, Any]], bytes] | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """The int8 file that keeps the accuracy ``before``, or the best, and what ``verify.json`` says of it.

    ONNX files are also scored with ONNX Runtime's optimisations off, when they compute in float32 between quantize and
    dequantize nodes, as some other runtimes do; a file must keep the accuracy there too.

    Args:
        write: makes the file of an attempt's options and returns its bytes.
        score: the accuracy of a runtime on validation images.
        last: trains the network and makes its file, where no attempt keeps the accuracy; given the best one's options.
            Raises ``NotTrained`` where it cannot.
    """
    is_onnx = deployment.spec.format == "onnx"
    tried: dict[str, float] = {}
    plain: dict[str, float] = {}
    contents: dict[str, bytes] = {}

    def keeps(name: str, content: bytes) -> bool:
        contents[name] = content
        tried[name] = score(_run(deployment.scorer, content, threads=threads if deployment.has_latency else 1))
        if is_onnx:
            plain[name] = score(_run(onnxruntime, content, threads=threads, optimise=False))
        return before - min(tried[name], plain.get(name, 1.0)) <= allowed_drop

    def best() -> str:
        return max(tried, key=lambda name: (min(tried[name], plain.get(name, 1.0)), tried[name]))

    # One after the other; the network itself is changed last. Of equal ones, the first that was tried is kept.
    kept = any(keeps(name, write(options)) for name, options in attempts.items())
    facts: dict[str, Any] = {}
    options = attempts[list(tried)[-1] if kept else best()]
    if not kept and last is not None:
        try:
            kept = keeps(TRAINED, last(options))
        except NotTrained as error:
            facts["not_trained"] = str(error)
    used = list(tried)[-1] if kept else best()
    within = before - tried[used] <= allowed_drop
    facts |= {"tried": tried, "used": used, "allowed_drop": allowed_drop, "within": within}
    if is_onnx:
        options = attempts.get(used, options)  # a trained network is quantised as the best before it
        depends = options.get("weights", "signed") == "signed" and not options.get("symmetric", False)
        facts |= {"unoptimised": plain, "depends_on_cpu": depends, "cpu_has_vnni": has_vnni()}
    return contents[used], {"validation_accuracy": tried[used], "int8": facts}


def _run(runtime: Any, content: bytes, **options: Any) -> Run:
    session = runtime.load(content, **options)
    return lambda images: runtime.run(session, images)
