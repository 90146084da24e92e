"""Every activation that a TFLite file computes for an image, for calibration."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ofa.export.extras import missing
from ofa.export.quantization import affine
from ofa.export.tflite.flatbuffer import text, unpack

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError as error:
    raise missing("ai-edge-litert", "tflite") from error


class Activations:
    """Runs a float32 or int8 file with all tensors kept, on one thread and without delegates, so that results repeat.

    Attributes:
        model: the file as ``ModelT``.
        shape: of an image, ``(channels, height, width)``; of tokens, ``(tokens, channels)``.
        quantized: whether the input is int8.
    """

    def __init__(self, content: bytes) -> None:
        """Raises ``ValueError`` when ``content`` is no TFLite file."""
        try:
            self.model: Any = unpack(content)
        except Exception as error:  # on damaged bytes the parser raises anything
            raise ValueError(f"the TFLite model is damaged or none: {error}") from error
        graph = self.model.subgraphs[0]
        computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
        self._names = {int(index): text(graph.tensors[index].name) for index in sorted(computed)}

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that all tensors are kept
            self._interpreter = Interpreter(
                model_content=content,
                num_threads=1,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()

        self._input = self._interpreter.get_input_details()[0]
        self._scales = {entry["index"]: entry["quantization"] for entry in self._interpreter.get_tensor_details()}
        _, *sides, channels = (int(size) for size in self._input["shape"])
        self.shape = (channels, *sides) if len(sides) == 2 else (*sides, channels)
        self.quantized = self._input["dtype"] == np.int8

    @property
    def ends(self) -> tuple[str, str]:
        """The names of the network's input and output."""
        graph = self.model.subgraphs[0]
        return self._names[int(graph.inputs[0])], self._names[int(graph.outputs[0])]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Float32 arrays by tensor name for ``image`` ``(1, *shape)``; feature maps are NHWC, as in the file."""
        data = image.transpose(0, 2, 3, 1) if image.ndim == 4 else image
        if self.quantized:
            data = affine.quantize(data, *self._input["quantization"])
        self._interpreter.set_tensor(self._input["index"], data)
        self._interpreter.invoke()
        return {name: self._real(index) for index, name in self._names.items()}

    def _real(self, index: int) -> np.ndarray:
        array = self._interpreter.get_tensor(index)
        return array if array.dtype == np.float32 else affine.dequantize(array, *self._scales[index])


def logits(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images ``(n, channels, height, width)`` to the file's outputs ``(n, ...)``."""
    run = Activations(content)
    name = run.ends[1]

    def call(images: np.ndarray) -> np.ndarray:
        return np.concatenate([run(images[index : index + 1])[name] for index in range(len(images))])

    return call
