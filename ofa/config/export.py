"""The keys ``onnx:`` and ``tflite:`` of a target: what its model files look like, beside what the device needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ofa.config.errors import Problem
from ofa.config.types import Section, real
from ofa.export.formats import INT8_OPSET, MAX_OPSET, MIN_OPSET
from ofa.export.runtimes import RUNTIMES


class OnnxConfig(Section):
    """Of ``model.onnx`` and ``model.int8.onnx``."""

    opset: Annotated[int, Field(ge=MIN_OPSET, le=MAX_OPSET)] | None = Field(
        None, description="Operator set of the files; null: the lowest that the network needs."
    )
    batch: Literal[1] | None = Field(
        None, description="1: a fixed batch, as NNAPI and CoreML need it; null: any batch."
    )
    symmetric: bool = Field(
        False, description="Whether int8 activations are symmetric around 0, as TensorRT needs them."
    )
    weights: Literal["signed", "reduced", "unsigned"] | None = Field(
        None,
        description="Form of int8 weights: reduced (to 7 bits) and unsigned suit x86 processors without VNNI; null: "
        "what keeps the accuracy.",
    )


class TfliteConfig(Section):
    """Of a phone's TFLite file."""

    input: Literal["float32", "int8", "uint8"] | None = Field(
        None,
        description="Type of the input: uint8 takes pixels and normalises them itself; null: normalised values in the "
        "network's own type.",
    )


class MemoryConfig(Section):
    """What the C program of a Cortex-M does to need less RAM; its outputs stay the same bytes."""

    in_place: bool = Field(True, description="Whether depthwise convolutions and additions overwrite their inputs.")
    patches: bool = Field(
        True, description="Whether the first blocks are computed patch by patch where that needs less RAM."
    )
    overhead: real(0, 10) = Field(
        0.25, description="Multiply-accumulates that patches may add, as a share of the network's."
    )


def export_problems(
    where: str, onnx: OnnxConfig, tflite: TfliteConfig, *, runtime: str, bits: Literal[32, 8]
) -> list[Problem]:
    """What of a target's file formats contradicts its runtime and the bits of its numbers; ``where`` is its key."""
    problems = []
    file_format = RUNTIMES[runtime].format
    int8_onnx = file_format == "onnx" and bits == 8
    for key in ("symmetric", "weights"):
        if getattr(onnx, key) and not int8_onnx:
            text = "is of int8 files that ONNX Runtime runs (runtime: onnxruntime, precision: int8); leave it out"
            problems.append((f"{where}.onnx.{key}", text))
    if onnx.symmetric and onnx.weights == "unsigned":
        problems.append((f"{where}.onnx.weights", "unsigned weights are not symmetric; use signed or reduced"))
    if int8_onnx and onnx.opset and onnx.opset < INT8_OPSET:
        problems.append((f"{where}.onnx.opset", f"int8 files need opset {INT8_OPSET} or later"))
    if tflite.input and file_format != "tflite":
        problems.append((f"{where}.tflite.input", "is of files that LiteRT runs (runtime: litert); leave it out"))
    elif tflite.input == "int8" and bits == 32:
        problems.append((f"{where}.tflite.input", "a float32 network takes float32 or uint8"))
    return problems
