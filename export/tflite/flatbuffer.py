"""TFLite flatbuffers: tensors, operators, one signature and named metadata, written with the schema of LiteRT."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ofa.export.extras import missing
from ofa.export.metadata import as_json

try:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema
except ImportError as error:
    raise missing("ai-edge-litert" if "litert" in str(error) else "flatbuffers", "tflite") from error

SIGNATURE = "serving_default"
_PREFIX = "ofa."  # of our metadata's names, so that they differ from those that runtimes look up
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of weights, as the schema requires; kernels read them in place
_TYPES = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}


class Builder:
    """Collects the tensors and operators of one graph. With ``resizable`` a runtime may choose the batch size."""

    def __init__(self, *, resizable: bool = False) -> None:
        self._resizable = resizable
        self.tensors: list[Any] = []
        self._buffers = [schema.BufferT()]  # buffer 0 is the empty one of tensors that are computed
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._names: dict[str, int] = {}

    def tensor(self, name: str, shape: Sequence[int]) -> int:
        """Adds a float32 tensor that an operator computes; returns its index. A name in use gets a number appended."""
        index = self._add(name, tuple(shape), schema.TensorType.FLOAT32, buffer=0)
        if self._resizable:
            self.tensors[index].shapeSignature = [-1, *self.tensors[index].shape[1:]]
        return index

    def constant(self, name: str, values: np.ndarray) -> int:
        """Adds a float32 or int32 tensor that is stored in the file; returns its index."""
        self._buffers.append(_buffer(np.ascontiguousarray(values).tobytes()))
        return self._add(name, values.shape, _TYPES[values.dtype.name], buffer=len(self._buffers) - 1)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.tensors[tensor].shape)

    def operator(
        self, code: str, inputs: Sequence[int], output: int, *, version: int = 1, kind: str = "", **options: Any
    ) -> int:
        """Appends the builtin operator ``code``; returns ``output``.

        ``options`` are the fields of its options table, which is called ``kind`` + "Options".
        """
        key = (getattr(schema.BuiltinOperator, code), version)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), [output]
        if kind:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
            operator.builtinOptions = getattr(schema, f"{kind}OptionsT")()
            for name, value in options.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        return output

    def finish(self, images: int, logits: int) -> bytes:
        """The file. Tensor ``images`` becomes the signature's ``input``, tensor ``logits`` its ``logits``."""
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self.tensors, self._operators
        graph.inputs, graph.outputs = [images], [logits]

        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs, signature.outputs = [_tensor_map("input", images)], [_tensor_map("logits", logits)]

        model = schema.ModelT()
        model.version, model.description = 3, "once-for-all"
        model.operatorCodes = []
        for code, version in self._codes:
            entry = schema.OperatorCodeT()
            # Old readers know one byte only; 127 tells them to look at the other field.
            entry.deprecatedBuiltinCode, entry.builtinCode, entry.version = min(code, 127), code, version
            model.operatorCodes.append(entry)
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self._buffers, [signature]
        return pack(model)

    def _add(self, name: str, shape: tuple[int, ...], kind: int, *, buffer: int) -> int:
        count = self._names[name] = self._names.get(name, 0) + 1
        tensor = schema.TensorT()
        tensor.name = name if count == 1 else f"{name}:{count}"
        tensor.shape, tensor.type, tensor.buffer = [int(size) for size in shape], kind, buffer
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def unpack(content: bytes) -> Any:
    """The ``ModelT`` of a file's bytes. Weights stored behind the flatbuffer are moved into it.

    Raises ``ValueError`` when it is no TFLite file.
    """
    if content[4:8] != _IDENTIFIER:
        raise ValueError("it does not start as a TFLite file does")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1: the data is in the flatbuffer
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any) -> bytes:
    """A ``ModelT`` as a file's bytes, its weights aligned to 16 bytes.

    Flatbuffers' own ``Pack`` aligns them to one byte. A microcontroller that reads words in place then
    faults.
    """
    buffers, model.buffers = model.buffers, [_Aligned(buffer) for buffer in model.buffers]
    try:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), _IDENTIFIER)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


def with_metadata(content: bytes, metadata: Mapping[str, Any], **buffers: bytes) -> bytes:
    """The same model with every entry of ``metadata`` as JSON in a metadata buffer named ``ofa.`` + key.

    ``buffers`` are stored unchanged, under their own names. Metadata of the same name is replaced, other
    metadata stays. Raises ``ValueError`` naming the entry that JSON cannot hold.
    """
    model = unpack(content)
    texts = {f"{_PREFIX}{key}": value.encode() for key, value in as_json(metadata).items()} | buffers
    model.metadata = [entry for entry in model.metadata or [] if text(entry.name) not in texts]
    for name, value in texts.items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(_buffer(value))
        model.metadata.append(entry)
    return pack(model)


def metadata_of(content: bytes) -> dict[str, Any]:
    """The entries that ``with_metadata`` stored as JSON."""
    model = unpack(content)
    return {
        text(entry.name).removeprefix(_PREFIX): json.loads(bytes(model.buffers[entry.buffer].data))
        for entry in model.metadata or []
        if text(entry.name).startswith(_PREFIX)
    }


def output_shape(content: bytes) -> tuple[int, ...]:
    """The shape of the network's output."""
    graph = unpack(content).subgraphs[0]
    return tuple(int(size) for size in graph.tensors[graph.outputs[0]].shape)


class _Aligned:
    """A buffer whose ``Pack``, which the generated code calls, uses the alignment of the schema."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def Pack(self, builder: flatbuffers.Builder) -> int:
        if self._buffer.data is None:
            return self._buffer.Pack(builder)
        data = np.asarray(self._buffer.data, np.uint8).tobytes()
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _buffer(data: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    return buffer


def _tensor_map(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


def text(name: str | bytes) -> str:
    """A name of the schema's classes as text; in a model that was read from a file it is bytes."""
    return name.decode() if isinstance(name, bytes) else name
