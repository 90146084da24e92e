"""A network of 20 lines whose choices are weighted, and images of two halves: searches of it take milliseconds."""

from dataclasses import replace

import torch
from torch import nn

from ofa.supernet.genome import Gene, Genome
from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.relaxed import Relaxed

OPERATIONS = ("skip_connect", "conv", "pool")
STEPS = 3


class ToySpace(Genome):
    """Two operations, a kernel that stands for any role, and a choice that is none."""

    genes = (
        Gene("operation", OPERATIONS, 0, 0, ordered=False),
        Gene("kernel", (3, 5), 0, 1),
        Gene("operation", OPERATIONS, 0, 2, ordered=False),
        Gene("expand", (2,), 0, 2),
    )

    def to_dict(self):
        return {"family": "toy", "genes": [list(map(str, gene.options)) for gene in self.genes]}

    def __eq__(self, other):
        return isinstance(other, ToySpace)

    __hash__ = None


class ToyNetwork(nn.Module):
    """Each option is a 1x1 convolution; what is skipped is the identity."""

    def __init__(self, *, seed=0, dropout=0.1):
        super().__init__()
        torch.manual_seed(seed)
        self.space, self.partial, self.skip_drop = ToySpace(), 4, None
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.options = nn.ModuleList(
            nn.ModuleList(nn.Identity() if "skip" in str(option) else nn.Conv2d(8, 8, 1) for option in gene.options)
            for gene in self.space.genes
        )
        self.dropout, self.last = nn.Dropout(dropout), nn.Linear(8, 4)

    def forward_mixed(self, x, weights):
        x = self.norm(self.first(x)).relu()
        for options, values in zip(self.options, weights, strict=True):
            x = sum(value * option(x) for option, value in zip(options, values, strict=True)).relu()
        return self.last(self.dropout(x).mean((2, 3)))


def batches(epoch, start=0, *, steps=STEPS, n=8, rows=slice(None)):
    """Two halves of random images of four classes, told apart by their brightness."""
    for step in range(start, steps):
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        labels = torch.randint(0, 4, (2, n), generator=generator)
        noise = torch.randint(0, 60, (2, n, 3, 6, 6), generator=generator)
        images = (noise + 60 * labels[..., None, None, None]).to(torch.uint8)
        yield tuple(tensor[half][rows] for half in range(2) for tensor in (images, labels))


def prepare(images):
    return images.float() / 128 - 1


def relaxed_for(method, *, seed=1, **options):
    """A new network that ``method``, or the one of that name, can search."""
    method = METHODS[method] if isinstance(method, str) else method
    return Relaxed(ToyNetwork(**options), relaxation=method.relaxation, seed=seed)


def fast(name, **changes):
    """The method with so large a learning rate that a few steps decide something."""
    method = METHODS[name]
    return replace(method, alphas=replace(method.alphas, lr=0.05), **changes)
