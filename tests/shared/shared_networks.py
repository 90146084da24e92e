"""Networks and images that many tests use."""

import numpy as np
import torch


@torch.no_grad()
def scramble(module, *, seed=0):
    """Makes every norm, bias and kernel transform random and matter, in place; returns the module in eval mode.

    Folding and sorting must not be checked on ones and zeros.
    """
    torch.manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if ".transforms." in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
        elif tensor.ndim == 1:  # batch norms' weights, and all biases
            tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(0, 0.3)
    return module.eval()


def subnets_of(space, n, *, seed=0):
    """The smallest subnet, ``n`` random ones and the largest."""
    return [space.smallest, *map(space.decode, space.sample(n, np.random.default_rng(seed))), space.largest]


def images(space, n=2, *, in_chans=3, seed=0):
    """Noise of the smallest resolution."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, in_chans, space.resolutions[0], space.resolutions[0], generator=generator)
