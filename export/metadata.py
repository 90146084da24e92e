"""What users store beside a model, as JSON: Python's values, and numpy's and torch's scalars and arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def as_json(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Each entry as JSON; numpy and torch values become numbers and lists.

    Raises ``ValueError`` naming the entry that is no text key, holds what JSON does not know, or a number that is not
    finite.
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
        return {_key(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _key(key: Any) -> Any:
    return key.item() if isinstance(key, np.generic) else key
