"""A timm model that computes what its int8 TFLite file computes, and trains (quantization-aware training).

Jacob et al., https://arxiv.org/abs/1712.05877. It runs the operators of the float32 file that is quantised,
with batch norms folded, so its roundings are the file's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ofa.export.graph import layer_constants
from ofa.export.graph.folding import LayerConstants
from ofa.export.quantization.fake.operators import ELEMENTWISE, FIXED_RANGE, KEEP_RANGE, OPERATORS, Operands
from ofa.export.quantization.fake.rounding import (
    Range,
    activation,
    fixed_range,
    make_ranges,
    rounded_once,
    rounded_twice,
)
from ofa.export.quantization.float_operators import float_operators
from ofa.export.quantization.tflite import quantized_model
from ofa.export.tflite.flatbuffer import schema, text, unpack
from ofa.export.tflite.xnnpack import WIDE_PARTS

_CODES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_RATE = 10.0  # ranges learn so many times as fast as weights, with an optimizer such as Adam
_HARD_SIGMOID_OFFSET = 3.0  # which the exporter adds to the bias of a convolution in front of one


@dataclass
class _Step:
    """One operator of the file. ``layer`` is how its weights follow from the model's parameters; None: they do not."""

    kind: str
    inputs: list[int]
    output: int
    shape: tuple[int, ...]
    options: Any
    layer: LayerConstants | None = None


class FakeQuantized(nn.Module):
    """``forward(images)`` gives the logits of the model's int8 file for normalised images.

    Attributes:
        model: the plain model, whose parameters it trains. Statistics of its batch norms stay.
        low, high: of the activations' ranges, trained too: ten times these are the logarithms of factors on the
            bounds that they had at first.
    """

    def __init__(
        self, model: nn.Module, content: bytes, bounds: Mapping[str, tuple[float, float]], *, reference: bool
    ) -> None:
        """``content`` is the float32 file that the exporter quantises; ``bounds`` are of its activations, by tensor.

        With ``reference``, numbers are rounded as TensorFlow Lite Micro and LiteRT's reference kernels do it,
        without as XNNPACK does.

        Raises ``NotImplementedError`` naming an operator, or a layer, that has no fake quantization.
        """
        super().__init__()
        self.model = model
        self._rescale = rounded_twice if reference else rounded_once
        float32 = unpack(content)
        graph = float32.subgraphs[0]
        if float_operators(float32):
            raise NotImplementedError("no fake quantization is known for a norm over channels")
        self._names = [text(tensor.name) for tensor in graph.tensors]
        self._ends = int(graph.inputs[0]), int(graph.outputs[0])
        stored = {index: _values(float32, tensor) for index, tensor in enumerate(graph.tensors)}
        layers = layer_constants(model)
        self._steps = [self._step(float32, operator, stored, layers) for operator in graph.operators]
        # The tensor whose range counts for a tensor; each of those has a row of the bounds.
        self._owners = {self._ends[0]: self._ends[0]}
        self._fixed: dict[int, Range] = {}
        for step in self._steps:
            keeps = step.kind in KEEP_RANGE
            self._owners[step.output] = self._owners[step.inputs[0]] if keeps else step.output
            if step.kind in FIXED_RANGE:
                self._fixed[step.output] = fixed_range(*FIXED_RANGE[step.kind])
        self._keep_constants(stored, unpack(quantized_model(content, float32, bounds)))
        trained = [index for index in dict.fromkeys(self._owners.values()) if index not in self._fixed]
        self._rows = {index: row for row, index in enumerate(trained)}
        initial = torch.tensor([bounds[self._names[index]] for index in trained], dtype=torch.float32)
        self.register_buffer("initial_bounds", initial)
        self.low = nn.Parameter(torch.zeros(len(trained)))
        self.high = nn.Parameter(torch.zeros(len(trained)))

    def forward(self, images: Tensor) -> Tensor:
        ranges = make_ranges(*self._bounds())
        start, end = self._ends
        values = {start: activation(images.float(), ranges[self._rows[start]])}
        for step in self._steps:
            weight, bias = step.layer() if step.layer else (None, None)
            operands = Operands(
                [values[index] if index in values else self._constant(index) for index in step.inputs],
                [self._range(index, ranges) for index in step.inputs],
                weight,
                bias,
                self._range(step.output, ranges),
                step.shape,
                step.options,
                self._rescale,
            )
            values[step.output] = OPERATORS[step.kind](operands)
        return values[end]

    @torch.no_grad()
    def bounds(self) -> dict[str, tuple[float, float]]:
        """The activations' ranges as they are now, by tensor, for ``quantize_tflite``."""
        low, high = (bound.tolist() for bound in self._bounds())
        trained = {index: (low[row], high[row]) for index, row in self._rows.items()}
        return {self._names[i]: trained[owner] for i, owner in self._owners.items() if owner in trained}

    def _bounds(self) -> tuple[Tensor, Tensor]:
        # The input's range is that of the images.
        learns = torch.ones_like(self.low)
        learns[self._rows[self._ends[0]]] = 0
        low, high = self.initial_bounds.unbind(1)
        return low * torch.exp(_RATE * learns * self.low), high * torch.exp(_RATE * learns * self.high)

    def _range(self, index: int, ranges: list[Range]) -> Range | None:
        owner = self._owners.get(index, index)
        return ranges[self._rows[owner]] if owner in self._rows else self._fixed.get(owner)

    def _constant(self, index: int) -> Tensor:
        return getattr(self, f"constant{index}")

    def _keep_constants(self, stored: Mapping[int, np.ndarray | None], int8: Any) -> None:
        """Keeps what operators read beside computed tensors and weights, as the int8 file has it."""
        by_name = {text(tensor.name): tensor for tensor in int8.subgraphs[0].tensors}
        for step in self._steps:
            for index in step.inputs:
                if stored[index] is None:
                    continue
                tensor = by_name[self._names[index]]
                values = _values(int8, tensor).astype(np.float32)
                if step.kind in ELEMENTWISE:
                    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
                    values = _channels_first((values - np.float32(zero_point)) * np.float32(scale))
                    self._fixed[index] = fixed_range(float(scale), int(zero_point))
                self.register_buffer(f"constant{index}", torch.from_numpy(values))

    def _step(
        self,
        model: Any,
        operator: Any,
        stored: Mapping[int, np.ndarray | None],
        layers: Mapping[str, LayerConstants],
    ) -> _Step:
        kind = _CODES[model.operatorCodes[operator.opcodeIndex].builtinCode]
        inputs, (output,) = [int(index) for index in operator.inputs], map(int, operator.outputs)
        name = self._names[output]
        if kind not in OPERATORS:
            raise NotImplementedError(f"{name}: no fake quantization is known for {kind}")
        shape = tuple(int(size) for size in model.subgraphs[0].tensors[output].shape)
        step = _Step(kind, inputs, output, shape, operator.builtinOptions)
        if kind in _WITH_WEIGHTS:
            label = self._names[inputs[1]].removesuffix("/weight")
            step.layer = _layer(label, kind, *(stored[index] for index in inputs[1:3]), layers)
            step.inputs = inputs[:1]
        elif kind == "RESHAPE":
            step.inputs = inputs[:1]
        return step


def _layer(
    label: str, kind: str, weight: np.ndarray, bias: np.ndarray, layers: Mapping[str, LayerConstants]
) -> LayerConstants:
    """How the weights of an operator follow from the model's parameters, such that they are the file's bit for bit.

    A filter that is no layer's parameter, such as a blur, is a constant.
    """
    axes = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}[kind]
    stored = torch.from_numpy(weight.transpose(axes).copy()), torch.from_numpy(bias.copy())
    path, _, part = label.rpartition(".")
    if part in WIDE_PARTS and path in layers:
        candidates = [partial(_wide_part, layers[path], part)]
    elif label in layers:
        candidates = [partial(_plain, layers[label], len(axes), add) for add in (0.0, _HARD_SIGMOID_OFFSET)]
    else:
        return partial(_fixed, *stored)
    for candidate in candidates:
        with torch.no_grad():
            found = candidate()
        if all(torch.equal(mine.cpu(), other) for mine, other in zip(found, stored, strict=True)):
            return candidate
    raise NotImplementedError(f"{label}: no fake quantization is known for the form that its weights have in the file")


def _plain(layer: LayerConstants, rank: int, offset: float) -> tuple[Tensor, Tensor]:
    weight, bias = layer()
    bias = torch.zeros(len(weight), device=weight.device) if bias is None else bias
    return weight.reshape(*weight.shape, *[1] * (rank - weight.ndim)), bias + offset if offset else bias


def _wide_part(layer: LayerConstants, part: str) -> tuple[Tensor, Tensor]:
    (weight, bias), ((rows, columns), _) = layer(), WIDE_PARTS[part]
    zeros = torch.zeros(len(weight), device=weight.device)
    return weight[:, :, rows, columns], zeros if bias is None or part != "inner" else bias


def _fixed(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return weight, bias


def _values(model: Any, tensor: Any) -> np.ndarray | None:
    """What a tensor holds; None when it is computed."""
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    kinds = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT8: "i1", schema.TensorType.INT32: "<i4"}
    return np.frombuffer(np.asarray(data, np.uint8).tobytes(), kinds[tensor.type]).reshape(tensor.shape)


def _channels_first(values: np.ndarray) -> np.ndarray:
    """A constant that is added to or multiplied with maps whose channels are last."""
    if values.size == 1:
        return values.reshape(())
    return np.moveaxis(values.reshape((1,) * (3 - values.ndim) + values.shape), -1, -3)
