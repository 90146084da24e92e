"""Weights to start from: those of the full network, trained before."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import from_bytes, part

_PREFIX = "model."  # of a supernet's own keys, before timm's
MAX_SHOWN_PROBLEMS = 3


def load_initial(net: Supernet, path: Path) -> list[str]:
    """Loads weights of the full network into ``net``, in place; returns timm's names of those left as they were.

    Only a classifier for another number of classes is left out. Strides and activations leave no trace in weights, so
    a file of a network that differs in those alone is not recognised.

    Args:
        path: a .safetensors file with a supernet's own state dict (``model.*``), a checkpoint of its training (of which
            the moving average is taken when it has one), or the state dict of the plain timm model that is this space's
            largest subnet. Without kernel transforms in it they become the identity.

    Raises:
        ValueError: naming the file, when it cannot be read or its names or shapes are not those of the full network;
            ``net`` is unchanged then.
    """
    path = Path(path)
    stored, expected = _read(path), net.model.state_dict()  # shares memory with the parameters
    if not any(".transforms." in name for name in stored):
        stored |= {name: torch.eye(len(own)) for name, own in expected.items() if ".transforms." in name}
    left_out = _other_classifier(net, stored, expected)
    if problems := _problems(stored, {name: own for name, own in expected.items() if name not in left_out}, left_out):
        more = f"; and {len(problems) - MAX_SHOWN_PROBLEMS} more" if len(problems) > MAX_SHOWN_PROBLEMS else ""
        raise ValueError(
            f"{path} does not fit the largest network of this space: {'; '.join(problems[:MAX_SHOWN_PROBLEMS])}{more}. "
            "Use the space whose largest network the weights are of, and images with as many channels"
        )
    with torch.no_grad():
        for name, own in expected.items():
            if name not in left_out:
                own.copy_(stored[name])  # keeps its memory format and type
    return left_out


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        stored = safetensors.torch.load(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give a .safetensors file of weights") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file: {error}; save or copy it again") from error
    if any(name.startswith("optimizer.") for name in stored):
        stored = _checkpoint_weights(path, content)
    if all(name.startswith(_PREFIX) for name in stored):
        stored = {name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()}
    return stored


def _checkpoint_weights(path: Path, content: bytes) -> dict[str, Tensor]:
    """The weights in a checkpoint of a training run: their moving average when there is one."""
    try:
        tensors = from_bytes(content).tensors
    except ValueError as error:
        raise ValueError(f"{path} {error}; give another checkpoint") from error
    return part(tensors, "ema") or part(tensors, "net")


def _other_classifier(net: Supernet, stored: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """The classifier's names, when the file has it, sound, for another number of classes."""
    classifier = net.model.get_classifier()
    (prefix,) = (name for name, module in net.model.named_modules() if module is classifier)
    names = [name for name in expected if name.startswith(f"{prefix}.")]
    if not all(name in stored and stored[name].ndim == expected[name].ndim for name in names):
        return []
    same_features = all(stored[name].shape[1:] == expected[name].shape[1:] for name in names)
    classes = {len(stored[name]) for name in names}
    return names if same_features and len(classes) == 1 and classes != {net.num_classes} else []


def _problems(stored: dict[str, Tensor], expected: dict[str, Tensor], left_out: list[str]) -> list[str]:
    problems = []
    for name, own in expected.items():
        if name not in stored:
            problems.append(f"{name} {list(own.shape)} is missing in the file")
        elif stored[name].shape != own.shape:
            problems.append(f"{name} is {list(stored[name].shape)} in the file, {list(own.shape)} in the network")
        elif stored[name].is_floating_point() != own.is_floating_point():
            problems.append(f"{name} is {stored[name].dtype} in the file, {own.dtype} in the network")
    extra = sorted(stored.keys() - expected.keys() - set(left_out))
    return problems + [f"{name} {list(stored[name].shape)} is only in the file" for name in extra]
