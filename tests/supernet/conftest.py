"""What the tests of this folder share."""

import pytest
import torch
from shared_networks import scramble

from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other


@pytest.fixture(scope="session")
def scrambled():
    """``scrambled(space)``: a supernet in eval mode whose every parameter and statistic is random and matters."""

    def make(space, *, num_classes=10, in_chans=3, seed=0):
        torch.manual_seed(seed)
        return scramble(Supernet(space, num_classes=num_classes, in_chans=in_chans), seed=seed)

    return make
