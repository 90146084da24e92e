"""Options of every ONNX Runtime session."""

from __future__ import annotations

import onnxruntime


def session_options(*, threads: int | None = None, optimise: bool = True) -> onnxruntime.SessionOptions:
    """Options of a session with so many ``threads`` (default: onnxruntime decides), with or without optimisations.

    Threads do not spin while they wait: on a busy machine, spinning takes time from the threads that they
    wait for.
    """
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options
