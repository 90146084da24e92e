"""A subnet's plain model from its description: timm's model without some blocks, with other numbers of channels.

timm rebuilds its own pruned models like this (``timm/models/_prune.py``). Nothing of ofa is left in the result, and the
description is JSON, so a reader without ofa can do the same: see ``docs/subnet_folder.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ofa.supernet.derived.base import build_base


def rebuild(description: Mapping[str, Any], *, device: str | None = None, **arguments: Any) -> nn.Module:
    """The model; where it is narrower than timm's, it has the first of the weights that timm initialises.

    Args:
        arguments: more of them for timm, such as ``drop_rate``.
    """
    head = {"num_classes": description["num_classes"], "in_chans": description["in_chans"]}
    model = build_base(description["timm"], {**description["arguments"], **head, **arguments}, device=device)
    for path in description["removed"]:
        owner, _, name = path.rpartition(".")
        if name.isdigit():  # a block of a sequence
            delattr(model.get_submodule(owner), name)
        else:  # a layer of a block, which timm calls
            setattr(model.get_submodule(owner), name, nn.Identity())
    for path, attributes in description["attributes"].items():
        module = model.get_submodule(path)
        for name, value in attributes.items():
            setattr(module, name, tuple(value) if isinstance(value, list) and name != "feature_info" else value)
    for path, shape in description["shapes"].items():
        _resize(model, path, shape)
    return model


def _resize(model: nn.Module, path: str, shape: list[int]) -> None:
    """Cuts a parameter or buffer down to ``shape``."""
    owner, _, name = path.rpartition(".")
    module = model.get_submodule(owner)
    tensor = getattr(module, name).detach()[tuple(map(slice, shape))].clone()
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(tensor)
    else:
        module._buffers[name] = torch.as_tensor(tensor)
