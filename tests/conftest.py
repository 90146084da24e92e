"""What all tests share. Two processes run them beside each other: one thread each."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def _family(name, monkeypatch):
    """The family ``name`` of ``extending/NAME_family`` is there, as if its folder were in ``supernet/families``."""
    from ofa.supernet import families

    folder = str(Path(__file__).parent / "extending" / f"{name}_family")
    monkeypatch.setattr(families, "__path__", [*families.__path__, folder])
    yield name
    for module in [module for module in sys.modules if f"{module}.".startswith(f"ofa.supernet.families.{name}.")]:
        del sys.modules[module]


@pytest.fixture
def toy_family(monkeypatch):
    """Blocks of their own width each."""
    yield from _family("toy", monkeypatch)


@pytest.fixture
def wide_family(monkeypatch):
    """Elastic widths of stem, stages and head."""
    yield from _family("wide", monkeypatch)
