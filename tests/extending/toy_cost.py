"""A cost from outside the product: energy, as so much a multiply-accumulate."""

from dataclasses import replace

import ofa

NANOJOULES_PER_MAC = 0.5


def energy(space, *, num_classes, in_chans, bits):
    macs = ofa.CostTable.macs(space, num_classes=num_classes, in_chans=in_chans)
    return replace(macs, name="energy", unit="nJ", slope=NANOJOULES_PER_MAC * bits / 32)
