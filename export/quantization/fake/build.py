"""Fake-quantized networks from a model and calibration images, as the exporter would quantise it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ofa.export.graph import onnx_graph
from ofa.export.quantization.activations import Activations
from ofa.export.quantization.fake.network import FakeQuantized
from ofa.export.quantization.ranges import calibration_images, ranges
from ofa.export.quantization.sums import with_near_ranges
from ofa.export.tflite.export import tflite_bytes
from ofa.export.tflite.xnnpack import for_xnnpack


def fake_quantized(
    model: nn.Module,
    batches: Any,
    *,
    resolution: int,
    xnnpack: bool = True,
    reference: bool = False,
    percentile: float = 100.0,
) -> FakeQuantized:
    """A network of ``model``'s own parameters that computes what its int8 file does, for images of ``resolution``.

    ``export_tflite(model, ..., int8_options={"bounds": network.bounds()})`` writes that file: right away as
    calibration makes it, and after training as it was trained.

    Args:
        batches: normalised images to calibrate with (see ``quantize_tflite``).
        xnnpack: as ``export_tflite`` has it.
        reference: rounds as TensorFlow Lite Micro and LiteRT's reference kernels do, else as XNNPACK does.
        percentile: of the activations that the ranges cover at first.

    Raises ``NotImplementedError`` naming an operator or a layer that has no fake quantization, and ``ValueError``
    as ``quantize_tflite`` does.
    """
    shape = (model.in_chans, resolution, resolution)
    graph = onnx_graph(model, shape)
    content = tflite_bytes(for_xnnpack(graph, int8=True) if xnnpack else graph, resizable=xnnpack)
    run = Activations(content)
    images = calibration_images(batches, shape=shape)
    bounds = ranges(images, lambda image: run(image).items(), percentile=percentile, whole=run.ends)
    return FakeQuantized(model, content, with_near_ranges(run.model, bounds), reference=reference)
