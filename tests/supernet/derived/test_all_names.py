"""Every name of timm whose class a derived family knows, without memory: spaces, costs, keys and codes.

All of them take five minutes of one core: ``OFA_ALL_NAMES=1`` checks each, otherwise one of twelve.
"""

import os

import numpy as np
import pytest
import torch
from counted_costs import counted_costs

from ofa.catalogue.models import matching_names
from ofa.supernet import families
from ofa.supernet.derived.derive import base_of
from ofa.supernet.extract import build_empty
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs, params
from ofa.supernet.space import SearchSpace

CLASSES = 10
KNOWN = matching_names(None)
NAMES = KNOWN if os.environ.get("OFA_ALL_NAMES") else KNOWN[::12]


def test_most_names_of_five_classes_are_known():
    assert len(KNOWN) >= 400


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_name(name):
    plain = base_of(name, {})
    if type(plain).__name__ not in families.derived_classes():
        return  # of a module that has a supported class, too
    space = SearchSpace.from_timm(name)
    drawn = space.decode(space.sample(1, np.random.default_rng(0))[0])
    for subnet in (drawn, space.smallest, space.largest):
        assert space.decode(space.encode(subnet)) == subnet
        model = build_empty(describe(space, subnet))
        assert type(model) is type(plain)
        assert costs_of(space, subnet) == counted_costs(model.eval(), subnet.resolution)
    largest = model
    assert largest.state_dict().keys() == plain.state_dict().keys()
    families.model(space.family).make_elastic(largest, space)
    assert {key for key in largest.state_dict() if ".transforms." not in key} == plain.state_dict().keys()


def describe(space, subnet):
    return families.model(space.family).describe(space, subnet, num_classes=CLASSES, in_chans=3)


def costs_of(space, subnet):
    parts = parts_of_subnet(space, subnet, num_classes=CLASSES, in_chans=3)
    return sum(int(macs(part, side)) for part, side in parts), sum(params(part) for part, _ in parts)
