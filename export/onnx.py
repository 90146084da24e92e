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

from ofa.supernet.files import write_atomic


def export_onnx(model: nn.Module, path: Path, *, resolution: int, metadata: Mapping[str, Any] | None = None) -> Path:
    """Writes an eval-mode timm model as ONNX; returns the path.

    Input ``input``: float32 ``(batch, channels, resolution, resolution)``, normalised, any batch size; output
    ``logits``: ``(batch, classes)``. The file's metadata holds ``resolution`` and every entry of ``metadata``, each as
    JSON.

    Raises ``ValueError`` when the model is in training mode.
    """
    if model.training:
        raise ValueError("the model is in training mode; call model.eval() before export")
    # Of channels_last weights the exporter makes a needless gather before the classifier.
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    device = next(model.parameters()).device
    example = torch.zeros(2, model.in_chans, resolution, resolution, device=device)
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    try:
        chatter.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations; what counts is verified by running
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
        chatter.setLevel(level)
    proto = program.model_proto
    _strip(proto)
    values = {"resolution": resolution, **(metadata or {})}
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in values.items()})
    onnx.checker.check_model(proto, full_check=True)
    write_atomic(path, proto.SerializeToString())
    return Path(path)


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata that ``export_onnx`` wrote."""
    return {entry.key: json.loads(entry.value) for entry in onnx.load(path, load_external_data=False).metadata_props}


def _strip(proto: onnx.ModelProto) -> None:
    """Drops the exporter's traces: they name source files of the machine that exported."""
    graph = proto.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph, proto):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
