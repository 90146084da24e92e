"""Which options a supernet's weights were trained with: what channel sorting must keep, in files too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ofa.supernet.saving import save_weights
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import all_open

OPENED = "opened"  # in the metadata of a .safetensors file, and in a checkpoint's values
_TRANSFORMS = ".transforms."


def widest(*opened: Mapping[str, int]) -> dict[str, int]:
    """Of each role, the most options that any of ``opened`` (as ``Phase.open``) has open."""
    roles = dict.fromkeys(role for one in opened for role in one)
    return {role: max(one.get(role, 1) for one in opened) for role in roles}


def is_all_opened(net: Supernet) -> bool:
    """Whether every option of the space has been trained, so that no channel may leave its place."""
    return all(net.opened.get(role, 1) >= count for role, count in all_open(net.space).items())


def save_supernet(net: Supernet, path: Path) -> None:
    """Writes a supernet's state dict as a .safetensors file.

    Its metadata says which options were trained, as JSON; without it, all were.
    """
    save_weights(net, path, metadata=None if is_all_opened(net) else {OPENED: json.dumps(net.opened)})


def opened_in(content: bytes) -> dict[str, int] | None:
    """What ``save_supernet`` wrote into a file that can be read; ``None`` where it says nothing.

    Raises ``ValueError`` for metadata that is none of ours.
    """
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    if OPENED not in metadata:
        return None
    opened = json.loads(metadata[OPENED])
    if not isinstance(opened, dict) or not all(type(count) is int and count > 0 for count in opened.values()):
        raise ValueError(f"its metadata {OPENED!r} is {metadata[OPENED]}, not a number of options for each role")
    return opened


def opened_by(stored: Mapping[str, Tensor], space: SearchSpace, *, plain: bool) -> dict[str, int]:
    """What must be assumed of weights that nothing is known of, so that no trained subnet is broken.

    Nothing but the largest network was trained when they have that network alone (``plain``: no kernel transforms, and
    timm's names), or when no kernel transform was.
    """
    transforms = [tensor for name, tensor in stored.items() if _TRANSFORMS in name]
    untrained = all(torch.equal(tensor, torch.eye(len(tensor), dtype=tensor.dtype)) for tensor in transforms)
    return {} if untrained and (plain or transforms) else all_open(space)
