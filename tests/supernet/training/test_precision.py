"""Every family's blocks are compiled, found by what ``parts`` says they are."""

import pytest
from torch import nn

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.precision import compile_blocks


@pytest.mark.parametrize("preset", ["toy_small", "tiny_mbv3"])
def test_each_block_of_each_stage_is_compiled(toy_family, preset, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    net = Supernet(SearchSpace.preset(preset), num_classes=2)
    compile_blocks(net)
    blocks = [block for stage in net.model.blocks for block in stage]
    assert {id(block) for block in compiled} == {id(block) for block in blocks} and len(compiled) == len(blocks)
