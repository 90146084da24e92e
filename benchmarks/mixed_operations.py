"""A MobileNetV3 space relaxed in the ordinary way: every option of a block is an operation of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ofa


class MixedOperations(nn.Module):
    """Every pair of kernel and expand ratio of a block is a block with its own weights; all run, and their outputs are
    added, times their weights. Depths are weighted as in ``Supernet.forward_mixed``. Stem and head are timm's."""

    def __init__(self, space: ofa.SearchSpace, *, num_classes: int) -> None:
        super().__init__()
        self.space = space
        code = space.encode(space.largest)
        kernels, expands = space.genes_of("kernel"), space.genes_of("expand")
        net = ofa.Supernet(space, num_classes=num_classes)
        built = []
        for kernel in range(space.max_options("kernel")):
            for expand in range(space.max_options("expand")):
                code[kernels], code[expands] = kernel, expand
                built.append(net.family.build(net.describe(space.decode(code))))
        self.model = built[-1]
        last = len(self.model.blocks) - 1
        self.stages = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(blocks) for blocks in zip(*(one.blocks[stage] for one in built), strict=True))
            for stage in range(1, last)
        )
        self.first, self.last = self.model.blocks[0], self.model.blocks[last]
        self.model.blocks = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward_mixed(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """Logits with the weights ``(options,)`` of each gene's options."""
        genes = self.space.genes
        of = {(gene.role, gene.stage, gene.block): one for gene, one in zip(genes, weights, strict=True)}
        depths = {gene.stage: gene.options for gene in genes if gene.role == "depth"}
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.first(self.model.bn1(self.model.conv_stem(x)))
        for stage, blocks in enumerate(self.stages):
            total: Tensor | float = 0.0
            for index, operations in enumerate(blocks):
                pairs = torch.outer(of["kernel", stage, index], of["expand", stage, index]).flatten()
                x = sum(weight * operation(x) for weight, operation in zip(pairs, operations, strict=True))
                if index + 1 in depths[stage]:
                    total = total + of["depth", stage, None][depths[stage].index(index + 1)] * x
            x = total
        return self.model.forward_head(self.last(x))
