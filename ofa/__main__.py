"""``python -m ofa``, and ``torchrun ... -m ofa``."""

from ofa.cli import main

main()
