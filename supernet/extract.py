"""A subnet cut out of an elastic model: a plain model without memory, and the weights that it uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ofa.supernet import families
from ofa.supernet.without_init import WithoutInit


def build_empty(description: dict[str, Any]) -> nn.Module:
    """The plain model that a family described, on the ``"meta"`` device: its weights are still to be assigned."""
    family = families.model(description.get("family") or families.of_timm_class(description["class"]))
    with WithoutInit():
        return family.build(description, device="meta")


@torch.no_grad()
def extract_state(model: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights of the elastic ``model`` that the plain model ``target`` of a subnet uses.

    The shapes of ``target`` say which: a prefix of every axis, unless the leaf has an ``active_tensor`` of its own.
    """
    source = model.state_dict()
    state = {}
    for name, tensor in target.state_dict().items():
        leaf_name, _, key = name.rpartition(".")
        leaf = model.get_submodule(leaf_name)
        if hasattr(type(leaf), "active_tensor"):
            part = leaf.active_tensor(key, tensor.shape)
        else:
            part = source[name][tuple(slice(size) for size in tensor.shape)]
        state[name] = part.detach().clone(memory_format=torch.contiguous_format)
    return state
