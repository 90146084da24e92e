"""Plain timm models made elastic, activated, and described as subnets: what every derived family's ``model.py`` is.

The functions are those of ``families.protocol.FamilyModel``. They ask the space's layout; families supply ``cut``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from torch import nn

from ofa.supernet.channel_sorting import ChannelGroup
from ofa.supernet.derived.alternatives import add_alternatives
from ofa.supernet.derived.classifier import draw_classifier
from ofa.supernet.derived.describe import describe
from ofa.supernet.derived.parts import Layout
from ofa.supernet.derived.rebuild import rebuild
from ofa.supernet.derived.space import DerivedSpace
from ofa.supernet.elastic.leaves import can_be_elastic, make_leaf_elastic
from ofa.supernet.elastic.replaceable import make_replaceable
from ofa.supernet.elastic.stage import make_optional, make_stage_elastic
from ofa.supernet.space import Subnet

__all__ = ["activate", "build", "channel_groups", "describe", "make_elastic", "parts_of"]


def build(
    description: dict[str, Any], *, drop_rate: float = 0.0, drop_path_rate: float = 0.0, device: str | None = None
) -> nn.Module:
    """The plain timm model that ``describe`` described, freshly initialised."""
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    model = rebuild(description, device=device, **{name: rate for name, rate in rates.items() if rate})
    draw_classifier(model)
    return model


def make_elastic(model: nn.Module, space: DerivedSpace) -> None:
    """Replaces the classes of the leaves that any gene changes, in place, and adds blocks that may stand for others."""
    add_alternatives(model, space.family, space.timm, space.arguments, space.alternatives)
    layout, kernels = space.layout, space.kernel_options
    owners = {path.rpartition(".")[0]: axis for path, (axis, _) in layout.parameters.items()}
    for path, axes in [
        *((path, leaf[:2]) for path, leaf in layout.leaves.items()),
        *((path, (axis,)) for path, axis in owners.items()),
    ]:
        changes = path in kernels or any(space.axis_sizes[axis].columns for axis in axes)
        leaf = model.get_submodule(path)
        if changes and can_be_elastic(leaf):  # an attention has made its linear layers elastic already
            make_leaf_elastic(leaf, kernels=tuple(filter(None, kernels.get(path, ()))) or None)
    for path, options in kernels.items():
        if 0 in options:
            make_optional(model.get_submodule(path.rpartition(".")[0]))
    for stage, container in zip(space.stages, layout.containers, strict=True):
        if len(stage.depths) > 1:
            make_stage_elastic(model.get_submodule(container))
    for path in _replaceable(space):
        make_replaceable(model.get_submodule(path))


def activate(model: nn.Module, space: DerivedSpace, subnet: Subnet) -> None:
    """Makes an elastic model run as ``subnet``."""
    layout, kept = space.layout, space.channels_kept(subnet)
    for path, leaf in layout.leaves.items():
        module = model.get_submodule(path)
        if hasattr(type(module), "active_heads"):
            module.active_heads = kept[leaf.writes] // leaf.step
        elif hasattr(module, "active_out"):
            module.active_out = kept[leaf.writes]
    for path, kernel in space.chosen_kernels(subnet).items():
        if kernel:
            model.get_submodule(path).active_kernel = kernel
        place = model.get_submodule(path.rpartition(".")[0])
        if hasattr(place, "active"):
            place.active = kernel > 0
    for path, stride in space.chosen_strides(subnet).items():
        model.get_submodule(path).stride = (stride, stride)
    for depth, container in zip(subnet.depths, layout.containers, strict=True):
        stage = model.get_submodule(container)
        if hasattr(stage, "active_depth"):
            stage.active_depth = depth
    replaced = space.replaced(subnet)
    for path in _replaceable(space):
        model.get_submodule(path).active_alternative = replaced.get(path, "").rpartition(".")[2]


def _replaceable(space: DerivedSpace) -> list[str]:
    """The names of the blocks that others may stand for, each once."""
    return list(dict.fromkeys(f"{space.layout.containers[one.stage]}.{one.index}" for one in space.alternatives))


def channel_groups(model: nn.Module, space: DerivedSpace) -> Iterator[ChannelGroup]:
    """The channels that genes choose among: of each block's middle, of each width.

    Left out are those whose order matters, such as what a convolution along the channels reads.
    """
    layout = space.layout
    for number, channels in enumerate(layout.channels):
        sizes = space.axis_sizes[number]
        exactly = channels.role == "follows" and channels.step  # and is sorted with what it follows
        if not sizes.columns or exactly or channels.ordered:
            continue
        roles = [space.genes[column].role for column in sizes.columns]
        writers, readers = _users(model, layout, number)
        for other, follower in enumerate(layout.channels):
            if follower.follows == number and follower.step > 1:  # queries, keys and values of these channels
                writers += _users(model, layout, other)[0]
        others = [(model.get_parameter(path), dim) for path, (axis, dim) in layout.parameters.items() if axis == number]
        if readers:
            step = max(1, channels.step)
            yield ChannelGroup(roles, writers, readers, sizes.sizes, judges=readers, others=others, step=step)


def _users(model: nn.Module, layout: Layout, number: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The leaves whose first axis these channels are, and those whose second axis they are."""
    writers, readers = [], []
    for path, leaf in layout.leaves.items():
        module = model.get_submodule(path)
        if leaf.writes == number:
            writers.append(module)
        has_weights = getattr(module, "weight", None) is not None  # an attention's are those of its layers
        if leaf.reads == number and (leaf.writes != number or _mixes(module)) and has_weights:
            readers.append(module)
    return writers, readers


def _mixes(module: nn.Module) -> bool:
    """Whether a layer makes each channel of several; norms and depthwise convolutions do not."""
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim > 1 and getattr(module, "groups", 1) == 1


def parts_of(family: str, model: nn.Module) -> tuple[nn.Module, list[nn.Sequential], nn.Module]:
    """A plain model cut into stem, stages of blocks and head, sharing its layers: what is timed apart."""
    cut = import_module(f"ofa.supernet.families.{family}.timm_parts").cut(model)
    return cut.stem, [nn.Sequential(*stage) for stage in cut.stages], cut.head
