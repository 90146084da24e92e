"""A runtime from outside the product: torch, under another name."""

from ofa.export.runtimes import torch
from ofa.export.runtimes.torch import load, part, prepared, run

NAME = "toy"
__all__ = ["NAME", "environment", "load", "memory", "part", "prepared", "run"]


def environment(*, threads):
    return torch.environment(threads=threads) | {"runtime": NAME, "version": "1.0"}


def memory(model, shape, *, threads=1):
    return 4096
