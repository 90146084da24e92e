"""What the tests of this folder share. (A conftest.py in tests/ itself would put tests/ofa before the package.)"""

import pytest
import torch

from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other


@pytest.fixture(scope="session")
def scrambled():
    """``scrambled(space)``: a supernet in eval mode whose every parameter and statistic is random and matters."""

    def make(space, *, num_classes=10, in_chans=3, seed=0):
        torch.manual_seed(seed)
        net = Supernet(space, num_classes=num_classes, in_chans=in_chans)
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                if ".transforms." in name:
                    tensor.add_(0.1 * torch.randn_like(tensor))
                elif name.endswith("running_var"):
                    tensor.uniform_(0.5, 2)
                elif name.endswith("running_mean"):
                    tensor.normal_(0, 0.3)
                elif tensor.ndim == 1:  # batch norms' weights, and all biases
                    tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(0, 0.3)
        return net.eval()

    return make
