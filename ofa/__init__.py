"""once-for-all: train one elastic supernet, then hand every device its own network.

Names are loaded on first use, so that ``import ofa`` stays fast and does not import torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ofa.environment  # noqa: F401  (first: it sets what torch and onnxruntime read while they are loaded)

if TYPE_CHECKING:
    from ofa.estimator.classifier import OnceForAllClassifier
    from ofa.export.onnx import export_onnx
    from ofa.export.tflite.export import export_tflite
    from ofa.pipeline.opened_run import open_run
    from ofa.predictors.accuracy.predictor import AccuracyPredictor
    from ofa.predictors.benchmarks.load import load_benchmark
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.predictors.costs.transfer import transfer_latency
    from ofa.predictors.proxies.zero_cost import zero_cost
    from ofa.strategies.search import SearchResult, search
    from ofa.supernet.calibration import calibrate
    from ofa.supernet.cells.model import CellModel
    from ofa.supernet.cells.network import CellNetwork
    from ofa.supernet.cells.space import CellSpace
    from ofa.supernet.cells.subnet import CellSubnet
    from ofa.supernet.import_ofa import import_ofa
    from ofa.supernet.relaxation.relaxed import Relaxed
    from ofa.supernet.saving import load_subnet, save_subnet
    from ofa.supernet.space import SearchSpace, Subnet
    from ofa.supernet.supernet import Supernet

# `python -m ofa` inside a clone finds this folder before the installed package; the floors below lie beside it there.
_beside = Path(__file__).resolve().parent.parent
if (_beside / "supernet" / "space.py").is_file() and str(_beside) not in __path__:
    __path__.append(str(_beside))

__version__ = "0.1.0"

_HOMES = {
    "AccuracyPredictor": "ofa.predictors.accuracy.predictor",
    "CellModel": "ofa.supernet.cells.model",
    "CellNetwork": "ofa.supernet.cells.network",
    "CellSpace": "ofa.supernet.cells.space",
    "CellSubnet": "ofa.supernet.cells.subnet",
    "CostTable": "ofa.predictors.costs.cost_table",
    "OnceForAllClassifier": "ofa.estimator.classifier",
    "Relaxed": "ofa.supernet.relaxation.relaxed",
    "SearchResult": "ofa.strategies.search",
    "SearchSpace": "ofa.supernet.space",
    "Subnet": "ofa.supernet.space",
    "Supernet": "ofa.supernet.supernet",
    "calibrate": "ofa.supernet.calibration",
    "export_onnx": "ofa.export.onnx",
    "export_tflite": "ofa.export.tflite.export",
    "import_ofa": "ofa.supernet.import_ofa",
    "load_benchmark": "ofa.predictors.benchmarks.load",
    "load_subnet": "ofa.supernet.saving",
    "open_run": "ofa.pipeline.opened_run",
    "save_subnet": "ofa.supernet.saving",
    "search": "ofa.strategies.search",
    "transfer_latency": "ofa.predictors.costs.transfer",
    "zero_cost": "ofa.predictors.proxies.zero_cost",
}
__all__ = [
    "AccuracyPredictor",
    "CellModel",
    "CellNetwork",
    "CellSpace",
    "CellSubnet",
    "CostTable",
    "OnceForAllClassifier",
    "Relaxed",
    "SearchResult",
    "SearchSpace",
    "Subnet",
    "Supernet",
    "__version__",
    "calibrate",
    "export_onnx",
    "export_tflite",
    "import_ofa",
    "load_benchmark",
    "load_subnet",
    "open_run",
    "save_subnet",
    "search",
    "transfer_latency",
    "zero_cost",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ofa' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
