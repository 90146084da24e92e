"""ONNX files by torch's dynamo exporter."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from ofa.export.metadata import as_json
from ofa.export.onnx_opset import check_format, set_batch, set_opset
from ofa.supernet.files import write_atomic


def export_onnx(
    model: nn.Module,
    path: Path,
    *,
    resolution: int,
    metadata: Mapping[str, Any] | None = None,
    opset: int | None = None,
    batch: int | None = None,
) -> Path:
    """Writes an eval-mode timm model as ONNX; returns the path.

    Input ``input``: float32 ``(batch, channels, resolution, resolution)``, normalised, any batch size.
    Output ``logits``: ``(batch, classes)``. The file's metadata holds ``resolution`` and every entry of
    ``metadata``, each as JSON. A model in half precision is written in float32.

    Args:
        opset: of the file. Default: the lowest that its operators need, which most runtimes read.
        batch: the only batch size that the file accepts. Some accelerators (NNAPI, CoreML) need a fixed one.

    Raises ``ValueError`` when the model is in training mode; when JSON cannot hold an entry of
    ``metadata``, which the error names; when the model cannot take images of that size; and when ``opset``
    or ``batch`` is out of range, or ``opset`` too low for the model's operators.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before export")
    check_format(opset=opset, batch=batch)
    texts = as_json({"resolution": resolution, **(metadata or {})})

    # With channels_last weights the exporter adds a needless Gather before the classifier.
    model = copy.deepcopy(model).to(torch.float32, memory_format=torch.contiguous_format)
    device = next(model.parameters()).device
    example = torch.zeros(2, model.in_chans, resolution, resolution, device=device)

    # The exporter's own errors are pages long.
    try:
        with torch.no_grad():
            model(example)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(f"the model cannot take images of {resolution} x {resolution}: {error}") from error

    # The exporter logs and warns of its own deprecations; the file is verified by running it.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    finally:
        logger.setLevel(level)
    proto = program.model_proto

    # The exporter's traces name source files of this machine.
    graph = proto.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, proto):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")

    set_opset(proto, opset)
    set_batch(proto, batch)
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString())
    return Path(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that ``export_onnx`` wrote."""
    return {entry.key: json.loads(entry.value) for entry in onnx.load(path, load_external_data=False).metadata_props}
