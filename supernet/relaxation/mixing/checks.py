"""What stands in the way of weighting the choices of a network, as one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers import Conv2dSame
from torch import Tensor, nn

from ofa.supernet.genome import Gene
from ofa.supernet.relaxation.mixing.kernels import MIXED_KERNELS
from ofa.supernet.relaxation.mixing.plan import MixingPlan
from ofa.supernet.relaxation.mixing.swap import READERS


def check_plan(plan: MixingPlan, model: nn.Module, genes: Sequence[Gene]) -> None:
    """Raises ``ValueError`` naming the first choice that cannot be weighted, and why.

    The resolution is no choice of the network: images have one, and only costs depend on it.
    """
    for column, gene in enumerate(genes):
        if gene.role != "resolution" and len(gene.options) > 1 and column not in plan.columns:
            why = "they give maps of different sizes" if gene.role == "stride" else "no layer is known that it weights"
            raise _cannot(gene, why)
    for path, name in plan.reads.items():
        leaf = model.get_submodule(path)
        if type(leaf) not in READERS and path not in plan.kernels:
            raise _cannot(
                genes[plan.widths[name].columns[-1]],
                f"{path}, a {type(leaf).__name__}, cannot read a part of each channel",
            )
    for path, kernels in plan.kernels.items():
        leaf = model.get_submodule(path)
        if type(leaf) not in MIXED_KERNELS:
            raise _cannot(
                genes[kernels.column], f"{path}, a {type(leaf).__name__}, cannot have several kernels at once"
            )
        smallest = min(kernel for kernel in kernels.options if kernel)
        if isinstance(leaf, Conv2dSame) and smallest < leaf.stride[0]:
            raise _cannot(genes[kernels.column], f"{path} centres a kernel of {smallest} elsewhere at its stride")


def check_weights(genes: Sequence[Gene], weights: Sequence[Tensor]) -> None:
    """Raises ``ValueError`` unless there is one vector a gene, with a weight an option."""
    given, needed = [tuple(one.shape) for one in weights], [(len(gene.options),) for gene in genes]
    if given != needed:
        wrong = next((n for n, pair in enumerate(zip(given, needed, strict=False)) if pair[0] != pair[1]), None)
        if wrong is None:
            raise ValueError(f"there are weights of {len(given)} genes; this space has {len(needed)}")
        raise ValueError(f"the weights of gene {wrong} have the shape {given[wrong]}; it needs {needed[wrong]}")


def _cannot(gene: Gene, why: str) -> ValueError:
    where = "".join(
        f" of {kind} {number}" for kind, number in (("block", gene.block), ("stage", gene.stage)) if number is not None
    )
    return ValueError(
        f"the choice {gene.key}{where} {list(gene.options)} cannot be weighted: {why}; give it one option, or search "
        "with a strategy that is not differentiable"
    )
