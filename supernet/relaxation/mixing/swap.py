"""A supernet's leaves run with weighted choices, for as long as a ``with`` block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from ofa.supernet.relaxation.mixing.flow import MixedOptionalLayer, MixedStage, mixed_replaceable
from ofa.supernet.relaxation.mixing.kernels import MIXED_KERNELS
from ofa.supernet.relaxation.mixing.norms import WEIGHTED_NORMS
from ofa.supernet.relaxation.mixing.plan import MixingPlan
from ofa.supernet.relaxation.mixing.readers import MASKED_READERS
from ofa.supernet.relaxation.mixing.weights import among, kernel_weights, prefix_mask, sum_of

READERS = {**MASKED_READERS, **WEIGHTED_NORMS}  # layers that can read a weighted width, by class


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Whatever the block does to classes and attributes of the model's modules is undone; tensors stay as they are."""
    before = [(module, type(module), dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, kind, attributes in before:
            if type(module) is not kind:
                module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)


def mix(model: nn.Module, plan: MixingPlan, weights: Sequence[Tensor]) -> None:
    """Lets a model, active as its largest subnet, run with the ``weights`` of all genes; see ``restored``."""
    inside = list(weights)
    for alternatives in plan.alternatives.values():
        own = [not name for name in alternatives.options]
        inside[alternatives.column] = among(weights[alternatives.column], own)
    for path, kernels in plan.kernels.items():
        leaf = model.get_submodule(path)
        leaf.__class__ = MIXED_KERNELS[type(leaf)]
        leaf.kernel_weights = kernel_weights(kernels, inside[kernels.column])
    masks = {name: prefix_mask(plan.widths[name], inside) for name in dict.fromkeys(plan.reads.values())}
    for path, name in plan.reads.items():
        leaf = model.get_submodule(path)
        leaf.__class__ = READERS.get(type(leaf), type(leaf))  # or a convolution with kernels, which takes masks, too
        leaf.mask = masks[name]
    for path, kernels in plan.optional.items():
        layer = model.get_submodule(path)
        layer.__class__ = MixedOptionalLayer
        left_out = [kernel == 0 for kernel in kernels.options]
        layer.weight_of_input = sum_of(inside[kernels.column], left_out)
        layer.weight_of_layer = sum_of(inside[kernels.column], [not one for one in left_out])
    for path, depths in plan.depths.items():
        stage = model.get_submodule(path)
        stage.__class__ = MixedStage
        stage.depth_weights = dict(zip(depths.options, weights[depths.column], strict=True))
    for path, alternatives in plan.alternatives.items():
        block = model.get_submodule(path)
        block.__class__ = mixed_replaceable(type(block))
        column = weights[alternatives.column]
        block.output_weights = {
            name: sum_of(column, [other == name for other in alternatives.options])
            for name in dict.fromkeys(alternatives.options)
        }
