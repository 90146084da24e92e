"""Choices before the blocks, and strides: what decides how large the maps are that later parts read.

A stride is a choice of the stem or of a stage's first block, which always run. Its options are descending: the last
one, of the largest network, gives the largest maps. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import Field

from ofa.supernet.derived.block import Block, Options, WithoutAbsentChoices
from ofa.supernet.genome import Gene

MAX_STRIDE = 4


class Stem(WithoutAbsentChoices):
    """What may be chosen of the layers before the blocks."""

    kernels: dict[str, Options] = Field({}, description="Sizes of a convolution's kernel, by its name; ascending.")
    strides: dict[str, Options] = Field({}, description="Strides of a convolution, by its name; descending.")


def check_strides(stem: Stem, stages: Sequence[Sequence[Block]]) -> None:
    """Raises ``ValueError`` naming the first stride that cannot be chosen."""
    later = [block for blocks in stages for block in blocks[1:]]
    if any(block.strides for block in later):
        raise ValueError("strides: the first block of a stage alone may choose one")
    if any(blocks[0].strides and blocks[0].alternatives for blocks in stages):
        raise ValueError("strides: a block that others may stand for cannot choose one")
    for part in (stem, *(blocks[0] for blocks in stages)):
        if len(part.strides) > 1:
            raise ValueError(f"strides {sorted(part.strides)}: one layer of a part may choose one")
        for name, options in part.strides.items():
            descending = list(options) == sorted(set(options), reverse=True)
            if not descending or options[-1] < 1 or options[0] > MAX_STRIDE:
                raise ValueError(f"strides of {name} {list(options)} must be descending, from {MAX_STRIDE} to 1")


def kernel_key(layer: str) -> str:
    """The key of the gene that chooses the kernel of a layer before the blocks."""
    return f"kernel_{layer.removesuffix('.conv')}"


def stem_genes(stem: Stem) -> list[Gene]:
    """The kernels of the layers before the blocks."""
    return [
        Gene("kernel", options, name=kernel_key(name)) for name, options in stem.kernels.items() if len(options) > 1
    ]


def stride_genes(stem: Stem, stages: Sequence[Sequence[Block]]) -> list[Gene]:
    """Of the stem, then of the stages."""
    genes = [Gene("stride", options, name="stride_stem") for options in stem.strides.values()]
    for number, blocks in enumerate(stages):
        genes += [Gene("stride", options, number, 0, name=f"stride_{number}") for options in blocks[0].strides.values()]
    return [gene for gene in genes if len(gene.options) > 1]


class StrideOptions(NamedTuple):
    """The key of the gene that chooses a layer's stride, and its options; with one option there is no gene."""

    key: str
    options: tuple[int, ...]


def stride_layers(stem: Stem, stages: Sequence[Sequence[Block]], containers: Iterable[str]) -> dict[str, StrideOptions]:
    """The layers whose stride is told, by their names in the model."""
    found = {path: StrideOptions("stride_stem", options) for path, options in stem.strides.items()}
    for number, (blocks, container) in enumerate(zip(stages, containers, strict=True)):
        for leaf, options in blocks[0].strides.items():
            found[f"{container}.0.{leaf}"] = StrideOptions(f"stride_{number}", options)
    return found


def chosen_strides(layers: Mapping[str, StrideOptions], chosen: Mapping[str, int]) -> dict[str, int]:
    """The stride of each of the ``layers``: what was ``chosen``, by key, or else the largest network's."""
    return {path: chosen.get(key, options[-1]) for path, (key, options) in layers.items()}


def earlier_strides(genes: Sequence[Gene], stage: int) -> set[int]:
    """The columns of the strides on which the maps that a stage's blocks read depend."""
    return {column for column, gene in enumerate(genes) if gene.role == "stride" and (gene.stage or 0) <= stage}
