"""Metadata of a model file as JSON: values of Python, and scalars and arrays of numpy and torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def as_json(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Each entry as JSON; numpy and torch values become numbers and lists.

    Raises ``ValueError`` naming the entry whose key is not text, or whose value JSON cannot hold (numbers
    that are not finite included).
    """
    texts = {}
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise ValueError(f"metadata key {key!r} is a {type(key).__name__}; keys must be text")
        try:
            texts[str(key)] = json.dumps(_plain(value), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"metadata entry {key!r} cannot be stored as JSON: {error}") from error
    return texts


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes | bytearray):
        raise TypeError(f"it holds {type(value).__name__}, not text")
    if isinstance(value, Mapping):
        return {key.item() if isinstance(key, np.generic) else key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
