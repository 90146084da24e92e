"""What all tests share. Two processes run them beside each other: one thread each."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def toy_family(monkeypatch):
    """The family ``toy`` of ``extending/toy_family`` is there, as if its folder were in ``supernet/families``."""
    from ofa.supernet import families

    folder = str(Path(__file__).parent / "extending" / "toy_family")
    monkeypatch.setattr(families, "__path__", [*families.__path__, folder])
    yield "toy"
    for name in [name for name in sys.modules if f"{name}.".startswith("ofa.supernet.families.toy.")]:
        del sys.modules[name]
