"""A fitted predictor on disk: ``predictor.json`` and ``predictor.npz``, without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.files import write_atomic, write_json
from ofa.supernet.genome import Genome
from ofa.supernet.space import SearchSpace

# Raise it when features or models change: an older file would load and predict something else.
_FORMAT = 2
_JSON, _ARRAYS = "predictor.json", "predictor.npz"


def write(folder: Path, values: dict[str, Any], space: Genome, arrays: dict[str, np.ndarray]) -> None:
    """Each file whole or not at all. ``values`` must be what JSON can hold."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    document = {"format": _FORMAT, **values, "space": space.to_dict(), "arrays_sha256": digest}
    document["sha256"] = _digest(document)
    # The JSON names the arrays it belongs to, so a crash between the two is noticed by read.
    write_atomic(folder / _ARRAYS, buffer.getvalue())
    write_json(folder / _JSON, document)


def read(folder: Path, *keys: str) -> tuple[dict[str, Any], Genome, dict[str, np.ndarray]]:
    """What ``write`` wrote. Raises ``ValueError`` naming the file that is missing, damaged or of another version.

    ``keys`` are those of ``values`` that must be there.
    """
    json_path, npz_path = folder / _JSON, folder / _ARRAYS
    try:
        document = json.loads(_bytes(json_path))
        if document.pop("sha256") != _digest(document):
            raise ValueError("its contents do not match their checksum")
        if document["format"] != _FORMAT:
            raise ValueError(f"it has format {document['format']}, this version reads {_FORMAT}")
        missing = [key for key in keys if key not in document]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        categorical = document["space"].get("family") == "categorical"
        space = (CategoricalSpace if categorical else SearchSpace).from_dict(document["space"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{json_path} is not a whole predictor ({error}); fit it again") from error
    try:
        raw = _bytes(npz_path)
        if hashlib.sha256(raw).hexdigest() != document["arrays_sha256"]:
            raise ValueError(f"its contents do not match the checksum in {_JSON}")
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            return document, space, dict(arrays)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{npz_path} is not a whole predictor ({error}); fit it again") from error


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror) from error
