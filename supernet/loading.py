"""Tensors of a file into those of a network: all of them, or none and a list of what does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor


def copy_fitting(
    stored: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    *,
    path: Path,
    remedy: str,
    ignored: Collection[str] = (),
    most_shown: int = 3,
) -> None:
    """Copies ``stored`` into ``own``, which keep their memory format and type.

    Args:
        path, remedy: of the error.
        ignored: names that may be in the file and are not copied.
        most_shown: names that do not fit; of more, the error says how many there are.

    Raises:
        ValueError: naming the file and what is missing, only in the file, or of another shape; nothing is copied then.
    """
    problems = []
    for name, tensor in own.items():
        found = stored.get(name)
        if found is None:
            problems.append(f"{name} {list(tensor.shape)} is missing in the file")
        elif found.shape != tensor.shape:
            problems.append(f"{name} is {list(found.shape)} in the file, {list(tensor.shape)} in the network")
        elif found.is_floating_point() != tensor.is_floating_point():
            problems.append(f"{name} is {found.dtype} in the file, {tensor.dtype} in the network")
    extra = sorted(stored.keys() - own.keys() - set(ignored))
    problems += [f"{name} {list(stored[name].shape)} is only in the file" for name in extra]
    if problems:
        more = f"; and {len(problems) - most_shown} more" if len(problems) > most_shown else ""
        shown = "; ".join(problems[:most_shown])
        raise ValueError(f"{path} does not fit the largest network of this space: {shown}{more}. {remedy}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])
