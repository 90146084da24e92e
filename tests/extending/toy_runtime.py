"""A runtime from outside the product: torch, under another name."""

from ofa.export.runtimes import torch
from ofa.export.runtimes.torch import bind, convert, load, run

NAME = "toy"
__all__ = ["NAME", "bind", "convert", "environment", "load", "memory", "run"]


def environment(*, threads):
    return torch.environment(threads=threads) | {"runtime": NAME, "version": "1.0"}


def memory(model, shape, *, threads=1):
    return 4096
