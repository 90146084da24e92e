"""Cells as labelled graphs: which codes are the same network."""

from __future__ import annotations

import numpy as np

VERTICES = 7  # the first is the input, the last the output
EDGES, INNER = VERTICES * (VERTICES - 1) // 2, VERTICES - 2
# Odd numbers without a pattern, for hashes of 64 bits.
_IN, _OUT, _SHIFT = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 29))
_FACTOR = np.uint64(0xBF58476D1CE4E5B9)


def graph_keys(codes: np.ndarray, *, operations: int) -> np.ndarray:
    """A number uint64 ``(n, 1)`` for each cell, equal for isomorphic ones; 0 where no path joins input and output.

    Vertices that lead nowhere are dropped first. The number is that of a colouring: each vertex starts from its
    operation, and again and again takes in the colours of those before and behind it (Weisfeiler and Leman), as the
    published hash of NAS-Bench-101 does.
    """
    codes = np.asarray(codes)
    edges = np.zeros((len(codes), VERTICES, VERTICES), bool)
    rows, columns = np.triu_indices(VERTICES, 1)
    edges[:, rows, columns] = codes[:, :EDGES] != 0

    # What the input reaches, forwards, and what reaches the output, backwards: edges go from low to high.
    reached, reaching = (np.zeros((len(codes), VERTICES), bool) for _ in range(2))
    reached[:, 0], reaching[:, -1] = True, True
    for vertex in range(1, VERTICES):
        reached[:, vertex] |= (reached & edges[:, :, vertex]).any(axis=1)
        reaching[:, -1 - vertex] |= (reaching & edges[:, -1 - vertex]).any(axis=1)
    used = reached & reaching
    edges &= used[:, :, None] & used[:, None, :]

    # Colours: of the ends, then of the operations.
    colours = np.empty((len(codes), VERTICES), np.uint64)
    colours[:, 0], colours[:, -1] = operations, operations + 1
    colours[:, 1:-1] = codes[:, EDGES:]
    colours = _mix(colours + np.uint64(1))
    links = edges.astype(np.uint64)
    for _ in range(VERTICES):
        before = np.einsum("nij,ni->nj", links, _mix(colours * _IN))
        behind = np.einsum("nij,nj->ni", links, _mix(colours * _OUT))
        colours = _mix(colours + before * _IN + behind * _OUT)
    total = (_mix(colours) * used).sum(axis=1, dtype=np.uint64)
    return np.where(used[:, 0] & used[:, -1], total, np.uint64(0))[:, None]


def _mix(values: np.ndarray) -> np.ndarray:
    """Each value scattered over 64 bits."""
    values = (values ^ values >> _SHIFT) * _FACTOR
    return values ^ values >> _SHIFT
