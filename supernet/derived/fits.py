"""Whether the choices of a derived space are choices of its model: a recipe may have been written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from ofa.supernet.derived.options import DerivedOptions
from ofa.supernet.derived.parts import Layout

_STRIDED = ("conv", "depthwise")


def check_fits(space: DerivedOptions, layout: Layout) -> None:
    """Raises ``ValueError`` naming the first choice that the model does not have."""
    lengths, own = [len(stage.blocks) for stage in space.stages], [len(stage) for stage in layout.blocks]
    if lengths != own:
        raise ValueError(f"stages: {lengths} blocks; the stages of {space.timm} have {own}")
    for problem in (*_of_widths(space, layout), *_of_blocks(space, layout), *_of_ends(space, layout)):
        raise ValueError(f"{problem}; write `space: {{timm: {space.timm}, ...}}` for the choices that there are")


def _of_widths(space: DerivedOptions, layout: Layout) -> Iterator[str]:
    widths = {channels.name: channels.size for channels in layout.channels if channels.role == "width"}
    for name, options in space.widths.items():
        if name not in widths:
            yield f"widths: {space.timm} has no width {name!r}, it has {', '.join(widths)}"
        elif options[0] < 1 or options[-1] > widths[name]:
            yield f"widths.{name} {list(options)}: {space.timm} has {widths[name]} channels there"


def _of_blocks(space: DerivedOptions, layout: Layout) -> Iterator[str]:
    inside = {(channels.role, channels.stage, channels.block) for channels in layout.channels}
    for number, stage in enumerate(space.stages):
        if stage.depths[0] < layout.least_depths[number]:
            yield f"stages.{number}.depths {list(stage.depths)}: {layout.least_depths[number]} blocks must stay"
        for index, block in enumerate(stage.blocks):
            where, part = f"stages.{number}.blocks.{index}", layout.blocks[number][index]
            for role in ("expand", "heads"):
                if len(block.values_of(role)) > 1 and (role, number, index) not in inside:
                    yield f"{where}: this block of {space.timm} has no choice of {role}"
            kernels = {path: operator.kernel for operator, path in zip(part.operators, part.paths, strict=True)}
            for leaf, options in block.kernel_options.items():
                kernel = kernels.get(f"{layout.containers[number]}.{index}.{leaf}", "not there")
                if kernel != options[-1]:
                    yield f"{where}.kernels.{leaf} {list(options)}: the kernel of {space.timm} is {kernel}"


def _of_ends(space: DerivedOptions, layout: Layout) -> Iterator[str]:
    """Kernels before the blocks, and strides."""
    kernels = {path: operator.kernel for operator, path in zip(layout.stem.operators, layout.stem.paths, strict=True)}
    for name, options in space.stem.kernels.items():
        if kernels.get(name) != options[-1] or name in layout.fixed_kernels:
            yield f"stem.kernels.{name} {list(options)}: the kernel of {space.timm} is {kernels.get(name, 'not there')}"
    parts = [("stem", layout.stem, "", space.stem.strides)]
    for number, stage in enumerate(space.stages):
        prefix = f"{layout.containers[number]}.0."
        parts.append((f"stages.{number}.blocks.0", layout.blocks[number][0], prefix, stage.blocks[0].strides))
    for where, part, prefix, strides in parts:
        named = zip(part.operators, part.paths, strict=True)
        convolutions = {path for operator, path in named if operator.kind in _STRIDED}
        adds = any(operator.kind == "add" for operator in part.operators)
        for leaf in strides:
            if f"{prefix}{leaf}" not in convolutions or adds:
                yield f"{where}.strides.{leaf}: no stride of {space.timm} can be chosen there"
    for number, stage in enumerate(space.stages):
        if stage.blocks[0].strides and stage.depths[0] == 0:
            yield f"stages.{number}: a stage with a choice of strides cannot be left out"
