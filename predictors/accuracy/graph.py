"""A small graph network over a network's blocks, among the accuracy predictors. Needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.predictors.accuracy.ensemble import Arrays, Ensemble
from ofa.supernet.genome import Genome

_WIDTH, _LAYERS = 32, 2


class GraphEnsemble(Ensemble):
    """Graph networks: a node is a block, or a choice outside of blocks, and sees its neighbours layer by layer.

    Blocks are joined to those before and after them, and every node to the mean of all (a graph convolution with a
    virtual node, https://arxiv.org/abs/1704.01212). In a space without blocks the choices are a chain in their order.
    """

    @staticmethod
    def inputs(space: Genome, codes: np.ndarray) -> np.ndarray:
        """Float32 ``(n, nodes, columns)``: whether a node runs, whether it is a block, which it is, and its choices."""
        parts = _parts(space)
        active = space.active_genes(codes)
        kinds = list(dict.fromkeys(space.genes[column].key for part in parts for column in part))
        most = {kind: max(len(gene.options) for gene in space.genes if gene.key == kind) for kind in kinds}
        starts = dict(zip(kinds, 2 + len(parts) + np.cumsum([0, *most.values()]), strict=False))
        result = np.zeros((len(codes), len(parts), 2 + len(parts) + sum(most.values())), np.float32)
        rows = np.arange(len(codes))
        for node, part in enumerate(parts):
            result[:, node, 0] = active[:, part].all(axis=1)
            result[:, node, 1] = space.genes[part[0]].block is not None or not space.blocks
            result[:, node, 2 + node] = 1
            for column in part:
                result[rows, node, starts[space.genes[column].key] + codes[:, column]] = active[:, column]
        return result

    @staticmethod
    def fit_member(inputs: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares") -> Arrays:
        import torch

        from ofa.predictors.accuracy.gradient import fit_by_gradient

        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float32) * (2 / shape[-2]) ** 0.5

        columns = inputs.shape[2]
        weights = {"first": drawn(columns, _WIDTH), "first_bias": torch.zeros(_WIDTH)}
        weights |= {"layers": drawn(_LAYERS, 4 * _WIDTH, _WIDTH) / 2, "layer_biases": torch.zeros(_LAYERS, _WIDTH)}
        weights |= {"last": drawn(_WIDTH, 1), "last_bias": torch.zeros(1)}
        return fit_by_gradient(_forward, weights, inputs, targets, loss=loss)

    @staticmethod
    def predict_member(member: Arrays, inputs: np.ndarray) -> np.ndarray:
        import torch

        # In double precision, a network's prediction does not depend on what else is asked for with it.
        weights = {name: torch.from_numpy(array).double() for name, array in member.items()}
        with torch.no_grad():
            return _forward(weights, torch.from_numpy(inputs).double()).numpy()


def _parts(space: Genome) -> list[list[int]]:
    """The columns of each node: the choices of a block together, every other choice alone; blocks in their order."""
    parts: dict[object, list[int]] = {}
    for column, gene in enumerate(space.genes):
        parts.setdefault(column if gene.block is None else (gene.stage, gene.block), []).append(column)
    return sorted(parts.values(), key=lambda part: space.genes[part[0]].block is None)


def _forward(weights: dict[str, Any], inputs: Any) -> Any:
    """Of torch tensors: inputs ``(n, nodes, columns)``, result ``(n,)``."""
    import torch

    runs, block = inputs[:, :, :1], inputs[:, :, 1:2] * inputs[:, :, :1]
    state = torch.relu(inputs @ weights["first"] + weights["first_bias"]) * runs
    count = runs.sum(dim=1, keepdim=True).clamp(min=1)
    for layer, bias in zip(weights["layers"], weights["layer_biases"], strict=True):
        blocks = state * block
        before = torch.nn.functional.pad(blocks[:, :-1], (0, 0, 1, 0)) * block
        after = torch.nn.functional.pad(blocks[:, 1:], (0, 0, 0, 1)) * block
        mean = (state.sum(dim=1, keepdim=True) / count).expand_as(state)
        state = state + torch.relu(torch.cat([state, before, after, mean], dim=2) @ layer + bias) * runs
    # The sum counts blocks, which says more of a network's size than their mean.
    return (state.sum(dim=1) / inputs.shape[1]) @ weights["last"][:, 0] + weights["last_bias"][0]
