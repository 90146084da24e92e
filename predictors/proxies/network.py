"""What a proxy is computed on: a copy of a network, and the layers of it that proxies look at."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import timm.layers
import torch
from timm.layers import activations
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from ofa.supernet.cells.network import CellNetwork
from ofa.supernet.supernet import Supernet

# What is linear for positive inputs, or nearly so, and weak for negative ones. Saturating gates are none.
RECTIFIERS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.SiLU, nn.GELU, nn.Mish, nn.Softplus, nn.Hardswish),
    *(activations.Swish, activations.Mish, activations.HardSwish, activations.HardMish),
    *(activations.GELU, activations.GELUTanh, activations.QuickGELU, activations.PReLU),
)
_TIMM_NORMS = (timm.layers.RmsNorm, timm.layers.RmsNorm2d, timm.layers.SimpleNorm, timm.layers.SimpleNorm2d)
NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, *_TIMM_NORMS)


def working_copy(model: nn.Module) -> nn.Module:
    """A copy of a network in float32 that may be run and changed at will; of a supernet, its active subnet.

    It is as in the first step of training, without what is random in training: batch norms take the statistics of the
    batch, and nothing is dropped. Every weight has a gradient, and no layer works in place.
    """
    elastic = isinstance(model, Supernet | CellNetwork)
    own = model.extract(model.active) if elastic else copy.deepcopy(model)
    own = own.float().requires_grad_(True).eval()
    for module in own.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
        if isinstance(module, _BatchNorm):
            module.training = True
    return own


def on_its_device(model: nn.Module, images: Tensor) -> Tensor:
    """Images as the network's weights are stored: on their device, in their precision."""
    return images.detach().to(next(model.parameters(), images))


def noise_like(images: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of the shape of images, on their device."""
    return torch.randn(images.shape, generator=generator).to(images)


def drawn_labels(model: nn.Module, images: Tensor, generator: torch.Generator) -> Tensor:
    """A random class ``(n,)`` for each image. ``model`` is a working copy."""
    with torch.no_grad():
        num_classes = model(images[:2]).shape[1]
    return torch.randint(num_classes, (len(images),), generator=generator).to(images.device)


def number_of_classes(model: nn.Module, images: Tensor) -> int:
    """Of the logits that a network gives."""
    own = working_copy(model).eval()
    with torch.no_grad():
        return own(on_its_device(own, images[:1])).shape[1]


def batch_norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def rectifiers(model: nn.Module) -> list[nn.Module]:
    """Activation functions whose input's sign says whether a unit is on."""
    return [module for module in model.modules() if isinstance(module, RECTIFIERS)]


def weighted_layers(model: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers, in the order in which the network names them."""
    return [module for module in model.modules() if isinstance(module, _ConvNd | nn.Linear)]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks (or cells) that a network runs one after the other, in order.

    They are the items of its sequences and lists that are made of several layers with weights. A sequence of stages
    counts by the blocks of the stages. Lists inside a block are branches, not blocks. A model of timm without such
    sequences counts by the stages whose features it names.
    """
    found = list(_blocks(model, lists=True))
    stages = getattr(model, "feature_info", None)
    if not found and isinstance(stages, list):
        found = [model.get_submodule(stage["module"]) for stage in stages]
    return found


def _blocks(module: nn.Module, *, lists: bool) -> Iterator[nn.Module]:
    in_sequence = isinstance(module, nn.Sequential) or (lists and isinstance(module, nn.ModuleList))
    of_blocks = in_sequence and any(_is_block(child) for child in module.children())
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList) or not in_sequence:
            yield from _blocks(child, lists=lists)
        elif of_blocks and any(True for _ in child.children()):
            # Beside blocks of layers, what only adds up or pools what it reads is one, too.
            yield from list(_blocks(child, lists=False)) or [child]


def _is_block(module: nn.Module) -> bool:
    return not isinstance(module, nn.Sequential | nn.ModuleList) and _layers(module) > 1


def _layers(module: nn.Module) -> int:
    return sum(isinstance(part, (_ConvNd, nn.Linear, *NORMS)) for part in module.modules())
