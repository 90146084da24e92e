"""A supernet that runs with weighted choices: one network, whose leaves are superpositions of what they may be.

``plan`` says which genes weight which layer (a family supplies it), ``weights`` turns the genes' weights into masks and
kernel weights, ``readers``, ``norms``, ``kernels`` and ``flow`` are the layers that run with them, and ``swap`` runs a
network so for one forward pass.

A mask over channels in front of a batch norm would be cancelled by it, and its architecture parameters would get no
gradient. So masks stand after norm and activation, where channels are *read by a layer that mixes them*. The weight of
that layer takes the mask, ``conv(x * mask, weight) == conv(x, weight * mask)``, which needs no memory for activations.
Masks are sums of prefixes; kernels and depths are mixed as in "TangleNAS" (https://arxiv.org/abs/2312.10440).
"""
