"""What a reader needs to build one subnet of a derived space: timm's model, and where the subnet differs from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from ofa.supernet.derived.alternatives import arguments_with, walked_with
from ofa.supernet.derived.parts import Layout, Leaf
from ofa.supernet.derived.space import DerivedSpace
from ofa.supernet.elastic.leaves import HOLDERS, plain_attributes
from ofa.supernet.space import Subnet


def describe(space: DerivedSpace, subnet: Subnet, *, num_classes: int, in_chans: int) -> dict[str, Any]:
    """JSON values: ``rebuild``'s argument.

    ``timm`` and ``arguments`` are the largest network. Of it are ``removed`` blocks and layers, ``attributes`` of
    layers, and ``shapes`` of parameters that are smaller.
    """
    layout = space.layout
    base = walked_with(space.family, space.timm, space.arguments, space.alternatives)
    kept, kernels = space.channels_kept(subnet), space.chosen_kernels(subnet)
    removed = [
        f"{container}.{index}"
        for container, stage, depth in zip(layout.containers, space.stages, subnet.depths, strict=True)
        for index in range(depth, len(stage.blocks))
    ]
    left_out = [path.rpartition(".")[0] for path, kernel in kernels.items() if not kernel]
    left_out = [path for path in left_out if not path.startswith(tuple(f"{block}." for block in removed))]
    gone = tuple(f"{path}." for path in (*removed, *left_out))
    named = _names(layout, gone, space.replaced(subnet))
    attributes: dict[str, dict[str, Any]] = {}
    shapes: dict[str, list[int]] = {}

    # Layers with other channels or kernels.
    for own, leaf in layout.leaves.items():
        if (path := named.get(own)) is None:
            continue
        module, kernel = base.get_submodule(own), kernels.get(own)
        if _is_whole(layout, leaf, kept) and (kernel is None or kernel == module.kernel_size[0]):
            continue
        changed = plain_attributes(module, out=kept[leaf.writes] // leaf.step, inp=kept[leaf.reads], kernel=kernel)
        if changed:
            attributes[path] = _json({name: value for name, value in changed.items() if getattr(module, name) != value})
        shapes |= _shapes_of(path, module, layout, leaf, kept, kernel)

    for path, stride in space.chosen_strides(subnet).items():
        if base.get_submodule(path).stride != (stride, stride):
            attributes.setdefault(path, {})["stride"] = [stride, stride]

    # Parameters without a layer, and what the model says of itself.
    for own, (axis, dim) in layout.parameters.items():
        if (path := named.get(own)) and kept[axis] != layout.channels[axis].size:
            owner, _, name = own.rpartition(".")
            shape = list(getattr(base.get_submodule(owner), name).shape)
            shape[dim] = kept[axis]
            shapes[path] = shape
    attributes |= _of_holders(base, layout, kept)
    if of_model := _of_model(base, layout, kept, subnet):
        attributes[""] = of_model
    return {
        "class": f"timm.models.{type(base).__name__}",
        "family": space.family,
        "timm": space.timm,
        "arguments": arguments_with(space.family, space.arguments, space.chosen_alternatives(subnet)),
        "num_classes": num_classes,
        "in_chans": in_chans,
        "removed": [*removed[::-1], *left_out],
        "attributes": {path: values for path, values in attributes.items() if values},
        "shapes": shapes,
    }


def _names(layout: Layout, gone: tuple[str, ...], replaced: Mapping[str, str]) -> dict[str, str]:
    """Of each layer, and parameter without one, that the subnet has: its name there, by its name in the layout.

    ``gone`` begin the names that are not there. ``replaced`` are the blocks that others stand for, and those.
    """
    others = {one: block for block, one in replaced.items()}
    names = {}
    for path in (*layout.leaves, *layout.parameters):
        block = next((one for one in others if path.startswith(f"{one}.")), None)
        if path.startswith(gone):
            continue
        if block is not None:
            names[path] = others[block] + path.removeprefix(block)
        elif ".alternatives." not in path and not path.startswith(tuple(f"{one}." for one in replaced)):
            names[path] = path
    return names


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _is_whole(layout: Layout, leaf: Leaf, kept: list[int]) -> bool:
    return all(kept[axis] == layout.channels[axis].size for axis in (leaf.reads, leaf.writes))


def _shapes_of(
    path: str, module: nn.Module, layout: Layout, leaf: Leaf, kept: list[int], kernel: int | None
) -> dict[str, list[int]]:
    """The shapes of a layer's own parameters and buffers: channels written first, those read next, then the kernel."""
    shapes = {}
    for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        shape = list(tensor.shape)
        if shape and shape[0] == layout.channels[leaf.writes].size:
            shape[0] = kept[leaf.writes]
        if len(shape) > 1 and getattr(module, "groups", 1) == 1 and shape[1] == layout.channels[leaf.reads].size:
            shape[1] = kept[leaf.reads]
        if len(shape) == 4 and kernel:
            shape[2:] = [kernel, kernel]
        if shape != list(tensor.shape):
            shapes[f"{path}.{name}"] = shape
    return shapes


def _of_holders(base: nn.Module, layout: Layout, kept: list[int]) -> dict[str, dict[str, Any]]:
    """Widths in which timm's classifier heads differ, by their names."""
    attributes = {}
    for path, module in base.named_modules():
        if type(module) not in HOLDERS:
            continue
        if inside := [leaf for name, leaf in layout.leaves.items() if name.startswith(f"{path}.")]:
            changed = plain_attributes(module, out=kept[inside[-1].reads], inp=kept[inside[0].reads])
            attributes[path] = {name: value for name, value in changed.items() if getattr(module, name) != value}
    return attributes


def _of_model(base: nn.Module, layout: Layout, kept: list[int], subnet: Subnet) -> dict[str, Any]:
    """Attributes in which timm's model tells its numbers of features, and where its feature maps are."""
    classifier = next((leaf for leaf in layout.leaves.values() if leaf.writes == layout.classes), None)
    candidates = [layout.head.axes[0], *([classifier.reads] if classifier else [])]
    values: dict[str, Any] = {}
    for name in ("num_features", "head_hidden_size", "embed_dim"):
        own = getattr(base, name, None)
        axis = next((axis for axis in candidates if layout.channels[axis].size == own), None)
        if axis is not None and kept[axis] != own:
            values[name] = kept[axis]
    info = _feature_info(base, layout, kept, subnet)
    if info and info != base.feature_info:
        values["feature_info"] = info
    return values


def _feature_info(base: nn.Module, layout: Layout, kept: list[int], subnet: Subnet) -> list[dict[str, Any]]:
    """timm's list of feature maps, with the subnet's channels, and its own last block of each stage."""
    if not isinstance(getattr(base, "feature_info", None), list):
        return []
    result, stem = [], layout.stem.axes[layout.stem.out]
    for entry in copy.deepcopy(base.feature_info):
        module = str(entry.get("module", ""))
        if not result and entry["num_chs"] == layout.channels[stem].size:  # the first map is that of the stem
            entry["num_chs"] = kept[stem]
        for number, container in enumerate(layout.containers):
            last = layout.blocks[number][subnet.depths[number] - 1]
            inside = module.startswith(f"{container}.")
            if inside or module == container or f"{container}.".startswith(f"{module}."):
                entry["num_chs"] = kept[last.axes[last.out]]
            if inside and module[len(container) + 1 :].isdigit():
                index = min(int(module[len(container) + 1 :]), subnet.depths[number] - 1)
                entry["module"] = f"{container}.{index}"
        if module in layout.leaves:
            entry["num_chs"] = kept[layout.leaves[module].writes]
        if entry not in result:  # timm may list every block
            result.append(entry)
    return result
