"""Training state in one safetensors file: weights, teacher, average, optimizer; the position in its metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ofa.supernet.files import write_atomic
from ofa.supernet.space import SearchSpace


@dataclass(frozen=True)
class Checkpoint:
    """After ``step`` finished steps of phase number ``phase``; ``global_step`` and ``epochs`` count all phases.

    ``tensors`` holds ``net.*``, ``teacher.*``, ``ema.*`` and ``optimizer.*``; ``values`` what is no tensor: the rest of
    the optimizer's state, the loss scaler, the unfinished epoch's sums and the number of threads. What a step function
    trains beside the network is in ``modules.NAME.*`` and ``optimizers.NAME.*``, and in ``values["optimizers"]``.
    """

    phase: int
    step: int
    global_step: int
    epochs: int
    space: dict[str, Any]
    tensors: dict[str, Tensor]
    values: dict[str, Any]


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


# Key in the file (which older files have, too) to attribute.
_POSITION = {
    "phase": "phase",
    "step": "step",
    "steps": "global_step",
    "epochs": "epochs",
    "space": "space",
    "values": "values",
}


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """What ``from_bytes`` reads: the content of a checkpoint file, with a digest of all that it says."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    position = {key: getattr(checkpoint, attribute) for key, attribute in _POSITION.items()}
    # One key: the library writes several in an order that changes.
    values = json.dumps({**position, "digest": _digest(position, tensors)})
    return safetensors.torch.save(tensors, metadata={"checkpoint": values})


def from_bytes(content: bytes) -> Checkpoint:
    """Raises ``ValueError`` when the content is not a whole checkpoint, down to the last bit."""
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        position = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["checkpoint"])
        if position.pop("digest") != _digest(position, tensors):
            raise ValueError("its content does not match its digest")
        return Checkpoint(**{attribute: position[key] for key, attribute in _POSITION.items()}, tensors=tensors)
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"is damaged: {error}") from error


def _digest(position: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the position and of every tensor's name, type, shape and bytes."""
    sha = hashlib.sha256(json.dumps(position).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Atomically: a full disk or a killed process leaves the checkpoint before."""
    write_atomic(path, to_bytes(checkpoint))


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises ``ValueError`` naming the file when it is damaged."""
    try:
        return from_bytes(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def check_space(checkpoint: Checkpoint, space: SearchSpace) -> None:
    """Raises ``ValueError`` naming the genes that differ when the checkpoint is of another space."""
    theirs, ours = _leaves(checkpoint.space), _leaves(space.to_dict())
    differing = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    if differing:
        some = "; ".join(
            f"{key}: {theirs.get(key, 'nothing')} in the checkpoint, {ours.get(key, 'nothing')} here"
            for key in differing[:5]
        )
        raise ValueError(
            f"the checkpoint is of another space ({some}); train in another folder, or give the space it was made with"
        )


def check_network(checkpoint: Checkpoint, net: nn.Module) -> None:
    """Raises ``ValueError`` naming a weight that differs when the checkpoint is of another network."""
    theirs = {name: list(tensor.shape) for name, tensor in part(checkpoint.tensors, "net").items()}
    ours = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    for name in (*ours, *theirs):
        if theirs.get(name) != ours.get(name):
            shapes = f"{theirs.get(name, 'nothing')} in the checkpoint, {ours.get(name, 'nothing')} here"
            raise ValueError(f"the checkpoint is of another network ({name}: {shapes}); begin without it")


def _leaves(values: Any, prefix: str = "space") -> dict[str, Any]:
    """Nested values by dotted key; lists of plain values stay whole."""
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list) and any(isinstance(value, dict) for value in values):
        items = enumerate(values)
    else:
        return {prefix: values}
    return {key: leaf for name, value in items for key, leaf in _leaves(value, f"{prefix}.{name}").items()}
