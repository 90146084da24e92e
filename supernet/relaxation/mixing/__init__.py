"""A supernet that runs with weighted choices: one network, whose leaves are superpositions of what they may be.

``plan`` says which genes weight which layer (a family supplies it), ``weights`` turns the genes' weights into masks and
kernel weights, ``readers``, ``norms``, ``kernels`` and ``flow`` are the layers that run with them, and ``swap`` runs a
network so for one forward pass.

Where a width enters: a mask in front of a batch norm would be cancelled by it (trap 1), so masks stand after norm and
activation, where channels are *read by a layer that mixes them*. That layer's weight takes the mask, ``conv(x * mask, weight) == conv(x, weight * mask)``, which needs no memory for
activations. The neatest earlier code for masks as sums of prefixes is NNI's; kernels and depths follow "TangleNAS"
(https://arxiv.org/abs/2312.10440).
"""
