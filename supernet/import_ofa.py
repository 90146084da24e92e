"""Supernets from published checkpoints of "Once-for-All" (https://arxiv.org/abs/1908.09791): names and files.

Every published subnet is one of the space's, and computes here what it computed there: the kernel transforms, the
prefixes of channels and the blocks that a depth keeps mean the same. Only how batch norms are calibrated differs
(``calibration`` pools the variance between batches, too).
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ofa.supernet import families
from ofa.supernet.loading import copy_fitting
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.phases import all_open

MOST_SHOWN = 8  # names that do not fit
_REMEDY = "give the checkpoint of a network"


def import_ofa(path: Path | str, space: SearchSpace) -> Supernet:
    """The supernet of a published checkpoint, in eval mode.

    Args:
        path: a file of ``torch.save``: the state dict, or a dict with it as ``"state_dict"``. The checkpoints' older
            names are read, too. Statistics need no ``num_batches_tracked``.
        space: the space that the checkpoint was trained on, such as ``SearchSpace.preset("ofa_mbv3")``. The numbers of
            classes and of the images' channels are read off the weights.

    Raises:
        ValueError: naming the file, when it cannot be read, is no state dict, or its names or shapes are not those of
            this space's largest network (they are listed).
    """
    path = Path(path)
    published = families.ofa_checkpoint(space.family)
    if published is None:
        raise ValueError(f"{path}: no OFA checkpoints were published of networks of the family {space.family!r}")
    layers, stored = published.layers(space), _read(path)

    # The largest network, with the classes and channels that the file is of.
    stem, classifier = (f"{name}.weight" for name in (next(iter(layers)), "classifier.linear"))
    for name in (stem, classifier):
        if name not in stored or stored[name].ndim < 2:
            raise ValueError(f"{path} is no OFA checkpoint of this space: it has no weights {name}")
    net = Supernet(space, num_classes=len(stored[classifier]), in_chans=stored[stem].shape[1])

    try:
        expected = _by_short_names(net, layers)
    except KeyError as error:
        raise ValueError(f"{path}: no OFA checkpoint has a layer {error} as this space; give its own space") from error
    counters = {name: own for name, own in expected.items() if name.endswith(".num_batches_tracked")}
    copy_fitting(
        counters | stored,
        expected,
        path=path,
        remedy="Give the space that the checkpoint was trained on",
        most_shown=MOST_SHOWN,
    )
    net.opened = all_open(space)  # every subnet was trained
    return net.eval()


def short_name(name: str) -> str:
    """The one name of what the checkpoints of several years name in different ways.

    A convolution within a layer within a layer is ``conv.conv`` or ``conv``, likewise ``bn.bn`` and ``linear.linear``;
    a block's main branch is ``mobile_inverted_conv`` or ``conv``.
    """
    parts: list[str] = []
    for part in name.split("."):
        part = "conv" if part == "mobile_inverted_conv" else part
        if not (parts and part == parts[-1] and part in ("conv", "bn", "linear")):
            parts.append(part)
    return ".".join(parts)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of the file by their short names."""
    try:
        file = BytesIO(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give a file of torch.save") from error
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise what they like on bytes that they do not know
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(
            f"{path} is damaged, no file of torch.save, or holds more than tensors: {reason}; copy it again, or save "
            "its state dict alone"
        ) from error
    if isinstance(content, dict) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path} holds no state dict but a {type(content).__name__}; {_REMEDY}")
    stored: dict[str, Tensor] = {}
    for name, tensor in content.items():
        short = short_name(name)
        if not isinstance(tensor, Tensor):
            raise ValueError(
                f"{path} holds no state dict: {name} is a {type(tensor).__name__}, not a tensor; {_REMEDY}"
            )
        if short in stored:
            raise ValueError(f"{path} has {name} twice, by an older and a newer name; leave one of them out")
        stored[short] = tensor
    return stored


def _by_short_names(net: Supernet, layers: dict[str, str]) -> dict[str, Tensor]:
    """The network's own tensors, sharing their memory, by the checkpoint's short names.

    Raises ``KeyError`` with the layer that no checkpoint has.
    """
    theirs = {own: name for name, own in layers.items()}
    named = {}
    for name, tensor in net.model.state_dict().items():
        layer, _, sizes = name.partition(".transforms.")
        if sizes:
            named[f"{theirs[layer]}.{sizes}_matrix"] = tensor
        else:
            layer, _, leaf = name.rpartition(".")
            named[f"{theirs[layer]}.{leaf}"] = tensor
    return named
