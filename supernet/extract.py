"""A subnet cut out of an elastic model: a plain model without memory, and the weights that it uses."""

from __future__ import annotations

from collections.abc import Mapping
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
def assign_state(target: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Gives a model of ``build_empty`` its weights. Raises ``RuntimeError`` for weights of another model."""
    target.load_state_dict(state, assign=True)
    device = next(iter(state.values())).device
    for module in target.modules():
        names = [name for name in module._non_persistent_buffers_set if module._buffers[name].is_meta]
        for name in names:  # no state dict holds those that the layer computes itself
            module._buffers[name] = torch.empty_like(module._buffers[name], device=device)
        if names:
            module.init_non_persistent_buffers()


@torch.no_grad()
def extract_state(
    model: nn.Module, target: nn.Module, *, replaced: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """A copy of the weights of the elastic ``model`` that the plain model ``target`` of a subnet uses.

    The shapes of ``target`` say which: a prefix of every axis, unless the leaf has an ``active_tensor`` of its own.
    ``replaced`` are the blocks that others stand for, and the names of those in ``model``.
    """
    source = model.state_dict()
    state = {}
    for name, tensor in target.state_dict().items():
        block = next((path for path in replaced or {} if name.startswith(f"{path}.")), None)
        own = name if block is None else replaced[block] + name.removeprefix(block)
        leaf_name, _, key = own.rpartition(".")
        leaf = model.get_submodule(leaf_name)
        if hasattr(type(leaf), "active_tensor"):
            part = leaf.active_tensor(key, tensor.shape)
        else:
            part = source[own][tuple(slice(size) for size in tensor.shape)]
        state[name] = part.detach().clone(memory_format=torch.contiguous_format)
    return state
