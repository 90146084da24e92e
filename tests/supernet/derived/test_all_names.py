"""Every name of timm whose class a derived family knows, without memory: spaces, costs, keys and codes.

All of them take minutes. ``OFA_ALL_NAMES=1`` checks each; otherwise every few.
"""

import numpy as np
import pytest
import timm
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
NAMES = matching_names(None)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_name(name):
    if type(base_of(name, {})).__name__ not in families.derived_classes():
        return  # of a module that has a supported class, too
    space = SearchSpace.from_timm(name)
    drawn = space.decode(space.sample(1, np.random.default_rng(0))[0])
    for subnet in (space.largest, space.smallest, drawn):
        assert space.decode(space.encode(subnet)) == subnet
        model = build_empty(describe(space, subnet))
        assert type(model) is type(base_of(name, {}))
        assert costs_of(space, subnet) == counted_costs(model.eval(), subnet.resolution)
    keys = build_empty(describe(space, space.largest)).state_dict().keys()
    assert keys == timm_keys(name, space)
    assert {key for key in elastic_keys(space) if ".transforms." not in key} == keys


def describe(space, subnet):
    return families.model(space.family).describe(space, subnet, num_classes=CLASSES, in_chans=3)


def costs_of(space, subnet):
    parts = parts_of_subnet(space, subnet, num_classes=CLASSES, in_chans=3)
    return sum(int(macs(part, side)) for part, side in parts), sum(params(part) for part, _ in parts)


def timm_keys(name, space):
    with torch.device("meta"):
        return timm.create_model(name, num_classes=CLASSES, **space.arguments).state_dict().keys()


def elastic_keys(space):
    family = families.model(space.family)
    model = build_empty(describe(space, space.largest))
    family.make_elastic(model, space)
    return model.state_dict().keys()
