"""The supernet: what it runs as, what it hands over, and what training touches."""

import copy
import statistics
import time

import pytest
import torch
from shared_networks import images, subnets_of
from shared_spaces import SPACES

from ofa.supernet.supernet import Supernet

TINY = SPACES["tiny_mbv3"]


@pytest.mark.parametrize("call", ["activate", "extract"])
def test_subnet_of_another_space_is_refused(call):
    net = Supernet(TINY, num_classes=2)
    with pytest.raises(ValueError, match="depths has 5 values; this space has 3"):
        getattr(net, call)(SPACES["ofa_mbv3"].smallest)


@torch.no_grad()
def test_copy_is_another_supernet(scrambled):
    space = TINY
    net, x = scrambled(space), images(space)
    again = copy.deepcopy(net)
    expected = net.activate(space.smallest)(x)
    assert torch.equal(again.activate(space.smallest)(x), expected)
    again.model.classifier.bias.add_(1)
    assert torch.equal(net(x), expected) and not torch.equal(again(x), expected)


def test_extract_is_fast(scrambled):
    space = SPACES["ofa_mbv3"]
    net, seconds = scrambled(space), []
    for subnet in subnets_of(space, 5):
        started = time.perf_counter()
        net.extract(subnet)
        seconds.append(time.perf_counter() - started)
    print(f"extract: median {1e3 * statistics.median(seconds):.0f} ms of {[round(1e3 * one) for one in seconds]}")
    assert statistics.median(seconds) < 1, "100 ms are promised on an idle machine"
