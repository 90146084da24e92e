"""Weights to start from: those of the full network, trained before."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ofa.supernet.loading import copy_fitting
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import from_bytes, part
from ofa.supernet.training.opened import OPENED, opened_by, opened_in

_PREFIX = "model."  # of a supernet's own keys, before timm's


def load_initial(net: Supernet, path: Path) -> list[str]:
    """Loads weights of the full network into ``net``, in place; returns timm's names of those left as they were.

    Only a classifier for another number of classes is left out. Strides and activations leave no trace in weights, so
    a file of a network that differs in those alone is not recognised.

    Args:
        path: a .safetensors file with a supernet's own state dict (``model.*``), a checkpoint of its training (of which
            the moving average is taken when it has one), or the state dict of the plain timm model that is this space's
            largest subnet. Without kernel transforms in it they become the identity; without the blocks that may stand
            in the place of others these keep the weights that they have.

    Raises:
        ValueError: naming the file, when it cannot be read or its names or shapes are not those of the full network;
            ``net`` is unchanged then.
    """
    path = Path(path)
    stored, plain, opened = _read(path)
    return take_initial(net, stored, where=path, plain=plain, opened=opened)


def take_initial(
    net: Supernet, stored: dict[str, Tensor], *, where: Path, plain: bool, opened: dict[str, int] | None
) -> list[str]:
    """As ``load_initial``, of tensors by timm's names; ``where`` they are from, for messages.

    ``plain`` and ``opened`` say what is known of their training: see ``opened_by``.
    """
    expected = net.model.state_dict()  # shares memory with the parameters
    in_file = dict(stored)
    if not any(".transforms." in name for name in stored):
        stored |= {name: torch.eye(len(own)) for name, own in expected.items() if ".transforms." in name}
    if not any(".alternatives." in name for name in stored):
        stored |= {name: own for name, own in expected.items() if ".alternatives." in name}
    left_out = _other_classifier(net, stored, expected)
    copy_fitting(
        stored,
        {name: own for name, own in expected.items() if name not in left_out},
        path=where,
        remedy="Use the space whose largest network the weights are of, and images with as many channels",
        ignored=left_out,
    )
    net.opened = opened_by(in_file, net.space, plain=plain) if opened is None else opened
    return left_out


def _read(path: Path) -> tuple[dict[str, Tensor], bool, dict[str, int] | None]:
    """The weights by timm's names, whether they have no other ones, and which options they were trained with.

    The last is ``None`` where the file does not say so.
    """
    try:
        content = path.read_bytes()
        stored = safetensors.torch.load(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give a .safetensors file of weights") from error
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no .safetensors file: {error}; save or copy it again") from error
    is_checkpoint = any(name.startswith("optimizer.") for name in stored)
    try:
        if is_checkpoint:
            checkpoint = from_bytes(content)
            tensors, opened = checkpoint.tensors, checkpoint.values.get(OPENED)
            stored = part(tensors, "ema") or part(tensors, "net")
        else:
            opened = opened_in(content)
    except ValueError as error:
        raise ValueError(f"{path} {error}; give another {'checkpoint' if is_checkpoint else 'file'}") from error
    own = all(name.startswith(_PREFIX) for name in stored)
    return ({name.removeprefix(_PREFIX): tensor for name, tensor in stored.items()} if own else stored), not own, opened


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
