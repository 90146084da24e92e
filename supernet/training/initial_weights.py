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
    given, wanted = _read(path), net.model.state_dict()  # shares memory with the parameters
    if not any(".transforms." in name for name in given):
        given |= {name: torch.eye(len(own)) for name, own in wanted.items() if ".transforms." in name}
    left_out = _other_classifier(net, given, wanted)
    if problems := _problems(given, {name: own for name, own in wanted.items() if name not in left_out}, left_out):
        more = f"; and {len(problems) - MAX_SHOWN_PROBLEMS} more" if len(problems) > MAX_SHOWN_PROBLEMS else ""
        raise ValueError(
            f"{path} does not fit the largest network of this space: {'; '.join(problems[:MAX_SHOWN_PROBLEMS])}{more}. "
            "Use the space whose largest network the weights are of, and images with as many channels"
        )
    with torch.no_grad():
        for name, own in wanted.items():
            if name not in left_out:
                own.copy_(given[name])  # keeps its memory format and type
    return left_out


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        given = safetensors.torch.load(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give a .safetensors file of weights") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file: {error}; save or copy it again") from error
    if any(name.startswith("optimizer.") for name in given):
        given = _of_checkpoint(path, content)
    if all(name.startswith(_PREFIX) for name in given):
        given = {name.removeprefix(_PREFIX): tensor for name, tensor in given.items()}
    return given


def _of_checkpoint(path: Path, content: bytes) -> dict[str, Tensor]:
    """The weights in a checkpoint of a training run: their moving average when there is one."""
    try:
        tensors = from_bytes(content).tensors
    except ValueError as error:
        raise ValueError(f"{path} {error}; give another checkpoint") from error
    return part(tensors, "ema") or part(tensors, "net")


def _other_classifier(net: Supernet, given: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """The classifier's names, when the file has it, sound, for another number of classes."""
    classifier = net.model.get_classifier()
    (prefix,) = (name for name, module in net.model.named_modules() if module is classifier)
    names = [name for name in wanted if name.startswith(f"{prefix}.")]
    if not all(name in given and given[name].ndim == wanted[name].ndim for name in names):
        return []
    same_features = all(given[name].shape[1:] == wanted[name].shape[1:] for name in names)
    classes = {len(given[name]) for name in names}
    return names if same_features and len(classes) == 1 and classes != {net.num_classes} else []


def _problems(given: dict[str, Tensor], wanted: dict[str, Tensor], left_out: list[str]) -> list[str]:
    problems = []
    for name, own in wanted.items():
        if name not in given:
            problems.append(f"{name} {list(own.shape)} is missing in the file")
        elif given[name].shape != own.shape:
            problems.append(f"{name} is {list(given[name].shape)} in the file, {list(own.shape)} in the network")
        elif given[name].is_floating_point() != own.is_floating_point():
            problems.append(f"{name} is {given[name].dtype} in the file, {own.dtype} in the network")
    extra = sorted(given.keys() - wanted.keys() - set(left_out))
    return problems + [f"{name} {list(given[name].shape)} is only in the file" for name in extra]
