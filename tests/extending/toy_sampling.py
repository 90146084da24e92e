"""A sampling from outside the product, and a schedule that uses it: the largest network and the smallest, no other."""

import numpy as np

from ofa.supernet.genome import DTYPE
from ofa.supernet.training.phases import Phase, all_open


def ends(space, n, *, min_options, rng, resolution, scorer):
    codes = np.stack([space.num_options - 1, *[min_options] * (n - 1)]).astype(DTYPE)
    codes[:, 0] = resolution
    return space.canonical(codes)


def ends_alone(space, *, epochs, lr):
    return (Phase("both ends", epochs, lr, 2, open=all_open(space), sampling="ends", teacher="in_place"),)
