"""timm's own pretrained weights as those that a supernet starts from."""

from __future__ import annotations

from pathlib import Path

import timm
from timm.models import get_pretrained_cfg, is_model_pretrained

from ofa.supernet.derived.start import named_model
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.initial_weights import take_initial


def load_pretrained(net: Supernet) -> list[str]:
    """Loads them into ``net``, whose space is of a timm model; returns timm's names of those left as they were.

    Only a classifier for another number of classes is left out. timm keeps what it downloads, and adapts the first
    convolution to images of other than three channels.

    Raises ``ValueError`` where timm has no weights of the model, or they cannot be downloaded.
    """
    space = net.space
    model = named_model(space.timm, pretrained=True, num_classes=None, in_chans=net.in_chans, arguments=space.arguments)
    return take_initial(net, model.state_dict(), where=Path(space.timm), plain=True, opened=None)


def check_pretrained(net: Supernet) -> list[str]:
    """What ``load_pretrained`` would leave out, without a download. Raises ``ValueError`` where timm has no weights."""
    name = net.space.timm
    if not is_model_pretrained(name):
        raise ValueError(f"timm {timm.__version__} has no weights of {name}; give a .safetensors file of them, or none")
    if get_pretrained_cfg(name).num_classes == net.num_classes:
        return []
    classifier = net.model.get_classifier()
    (prefix,) = (name for name, module in net.model.named_modules() if module is classifier)
    return [f"{prefix}.{name}" for name, _ in classifier.named_parameters()]
