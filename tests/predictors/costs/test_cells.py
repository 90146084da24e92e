"""MACs and parameters of cell spaces: exactly what hooks count in the networks."""

import numpy as np
import pytest
import torch
from torch import nn

import ofa

SPACES = [
    ofa.CellSpace.preset("nasbench201", channels=4, cells=2, resolution=9),
    ofa.CellSpace.preset("darts", channels=3, cells=4, nodes=3, resolution=9),
    ofa.CellSpace.preset("nasnet", channels=5, cells=4, nodes=3, resolution=11),
    ofa.CellSpace.preset("nasnet", channels=2, cells=1, nodes=4, resolution=8),
]


def counted(model, images):
    """Multiply-accumulates by hooks, and parameters."""
    macs = []

    def count(layer, _inputs, output):
        macs.append(layer.weight.numel() * output[0, 0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
        elif isinstance(layer, nn.Linear):
            macs.append(layer.weight.numel())
    with torch.no_grad():
        model(images)
    return sum(macs), sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"{space.layout}{space.nodes}")
def test_tables_are_what_hooks_count(space, tmp_path):
    head = {"num_classes": 7, "in_chans": 2}
    tables = [getattr(ofa.CostTable, name)(space, **head) for name in ("macs", "params")]
    codes = space.sample(6, np.random.default_rng(0))
    codes[0] = space.canonical(np.zeros_like(codes[:1]))
    predicted = np.stack([table.predict(codes) for table in tables], axis=1)
    images = torch.zeros(1, 2, space.resolution, space.resolution)
    for code, costs in zip(codes, predicted.tolist(), strict=True):
        assert list(counted(ofa.CellModel(space, space.decode(code), **head).eval(), images)) == costs

    for table, costs in zip(tables, predicted.T, strict=True):
        weights = [
            torch.eye(count, dtype=torch.float64)[codes[:, gene]] for gene, count in enumerate(space.num_options)
        ]
        assert np.allclose(table.expected(weights).numpy(), costs, rtol=1e-12)
        table.save(tmp_path / "table.json")
        assert np.array_equal(ofa.CostTable.load(tmp_path / "table.json").predict(codes), costs)
