"""Every method finds the one option of each choice that carries the signal."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_relaxed import batches, prepare

from ofa.supernet.genome import Gene, Genome
from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.relaxation.search import search_architecture

SIGNALS = (2, 0)  # the option of each choice that passes the images on


class Signals(Genome):
    genes = (Gene("first", ("a", "b", "skip", "d"), ordered=False), Gene("second", ("skip", "b", "c"), ordered=False))

    def to_dict(self):
        return {"family": "signals"}


class Signal(nn.Module):
    """Each choice passes one of the label's two bits on, which the brightness tells, by one of its options.

    The others pass noise.
    """

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.space, self.partial = Signals(), 4
        self.last = nn.Linear(2, 4)

    def forward_mixed(self, x, weights):
        level = ((x.mean((1, 2, 3)) + 1) * 128 / 60).floor()
        bits = torch.stack([level // 2, level % 2], 1) * 2 - 1
        passed = []
        for bit, values, signal in zip(bits.T, weights, SIGNALS, strict=True):
            options = torch.randn(len(values), len(x))
            options[signal] = bit
            passed.append(values @ options)
        return self.last(torch.stack(passed, 1))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_options_that_carry_the_signal(name):
    method = METHODS[name]
    alphas = replace(method.alphas, lr=0.1)
    relaxed = Relaxed(Signal(), relaxation=method.relaxation, seed=0)
    for alpha in relaxed.alphas:  # a wrong one leads
        alpha.data[1] += 0.2
    search_architecture(
        relaxed,
        replace(method, alphas=alphas, every=1, skips_that_end=None),
        lambda epoch, start: batches(epoch, start, steps=10),
        epochs=4,
        steps_per_epoch=10,
        normalize=prepare,
        lr=0.3,
        stage_network=lambda net, stage: net,
        progress=False,
    )
    assert relaxed.architecture.code().tolist() == list(SIGNALS)
