"""Which genes of a derived space weight which layer, so that its networks can be relaxed."""

from __future__ import annotations

from torch import nn

from ofa.supernet.derived.block import KIND
from ofa.supernet.derived.space import DerivedSpace
from ofa.supernet.derived.strides import kernel_key
from ofa.supernet.elastic.leaves import mixes_channels
from ofa.supernet.relaxation.mixing.plan import Alternatives, Depths, Kernels, MixingPlan, Width


def mixing_plan(model: nn.Module, space: DerivedSpace) -> MixingPlan:
    """See ``families.protocol.FamilyModel``."""
    kernels = _kernels(space)
    return MixingPlan(
        widths={axis: Width(*sizes) for axis, sizes in enumerate(space.axis_sizes) if sizes.columns},
        reads=_reads(model, space),
        kernels=kernels,
        optional={path.rpartition(".")[0]: choice for path, choice in kernels.items() if 0 in choice.options},
        depths={
            container: Depths(column, space.genes[column].options)
            for column, container in zip(space.genes_of("depth").tolist(), space.layout.containers, strict=True)
            if len(space.genes[column].options) > 1
        },
        alternatives=_alternatives(space),
    )


def _reads(model: nn.Module, space: DerivedSpace) -> dict[str, int]:
    """The groups of channels that layers read and mix, where a gene chooses how many there are."""
    layout = space.layout
    axes = {path: leaf.reads for path, leaf in layout.leaves.items() if mixes_channels(model.get_submodule(path))}
    parts = [layout.stem, *(part for stage in layout.blocks for part in stage), layout.head]
    for part in (*parts, *layout.alternatives.values()):
        for operator, path in zip(part.operators, part.paths, strict=True):
            if operator.kind == "channel_conv":  # a layer that has no channels of its own
                axes[path] = part.axes[operator.inputs[0]]
    return {path: axis for path, axis in axes.items() if space.axis_sizes[axis].columns}


def _kernels(space: DerivedSpace) -> dict[str, Kernels]:
    """Of each convolution whose kernel a gene chooses."""
    columns = {gene.key: column for column, gene in enumerate(space.genes) if gene.block is None}
    found = {
        path: Kernels(columns[kernel_key(path)], options)
        for path, options in space.stem.kernels.items()
        if len(options) > 1
    }
    for position in space.blocks:
        block, name = space.stages[position.stage].blocks[position.index], space.block_name(position)
        own = {space.genes[column].key: column for column in space.genes_of_block(position.stage, position.index)}
        for leaf, options in block.kernel_options.items():
            if len(options) == 1:
                continue
            if block.kinds:
                of_kinds = [None if kind.block else kind.kernels[leaf] for kind in block.kinds.values()]
                found[f"{name}.{leaf}"] = Kernels(own[KIND], tuple(of_kinds))
            else:
                found[f"{name}.{leaf}"] = Kernels(own[block.kernel_key(leaf)], options)
    return found


def _alternatives(space: DerivedSpace) -> dict[str, Alternatives]:
    """Of each block in whose place another may run."""
    found = {}
    for position in space.blocks:
        block = space.stages[position.stage].blocks[position.index]
        if numbers := block.alternatives:
            (column,) = space.genes_of_block(position.stage, position.index)
            names = (str(number) if number in numbers else "" for number in range(len(block.kinds)))
            found[space.block_name(position)] = Alternatives(column, tuple(names))
    return found
