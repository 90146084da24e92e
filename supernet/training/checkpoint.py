"""Training state in one safetensors file: weights, teacher and optimizer, with the position in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ofa.supernet.files import write_atomic


@dataclass(frozen=True)
class Checkpoint:
    """After ``epoch`` finished epochs of phase number ``phase``.

    ``tensors`` holds ``net.*``, ``teacher.*`` and ``optimizer.*``; ``optimizer`` the rest of the optimizer's state.
    """

    phase: int
    epoch: int
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below ``prefix.``, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors, and JSON values for the rest."""
    state = optimizer.state_dict()
    tensors, values = {}, {}
    for number, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                values[f"{number}.{name}"] = value
    groups = []
    for number, group in enumerate(state["param_groups"]):  # lamb counts its steps here, in a tensor
        tensors |= {f"group{number}.{name}": value for name, value in group.items() if isinstance(value, Tensor)}
        # A dtype is an option that the optimizer was made with, and will be again.
        groups.append({name: value for name, value in group.items() if not isinstance(value, Tensor | torch.dtype)})
    return tensors, {"state": values, "param_groups": groups}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], values: dict[str, Any]) -> None:
    """Restores what ``pack_optimizer`` packed, into an optimizer made with the same options."""
    state: dict[int, dict[str, Any]] = {}
    made = optimizer.state_dict()["param_groups"]
    groups = [{**group, **packed} for group, packed in zip(made, values["param_groups"], strict=True)]
    for key, value in {**values["state"], **tensors}.items():
        owner, _, name = key.partition(".")
        if owner.startswith("group"):
            groups[int(owner.removeprefix("group"))][name] = value
        else:
            state.setdefault(int(owner), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            # Files hold no memory format; a norm over a tensor depends on it in the last bit.
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Atomically: a full disk or a killed process leaves the checkpoint before."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    position = {"phase": checkpoint.phase, "epoch": checkpoint.epoch, "optimizer": checkpoint.optimizer}
    write_atomic(path, safetensors.torch.save(tensors, metadata={"checkpoint": json.dumps(position)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises ``ValueError`` naming the file when it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            position = json.loads(file.metadata()["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Checkpoint(position["phase"], position["epoch"], tensors, position["optimizer"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
