"""Layouts of one memory: tensors that live together never overlap, and little is needed beyond what lives at once."""

import numpy as np
import pytest

from ofa.export.lifetimes import Lifetime, peak, place, plan


def chain(rng):
    """Tensors as a network of residual blocks has them."""
    tensors, time, size = [], 0, int(rng.integers(1, 40)) * 16
    for _ in range(int(rng.integers(1, 12))):
        mid, residual = int(rng.integers(1, 90)) * 16, bool(rng.integers(2))
        after = size if residual else int(rng.integers(1, 40)) * 16
        tensors.append(Lifetime(size, time, time + (4 if residual else 1)))
        tensors += [
            Lifetime(mid, time + 1, time + 2),
            Lifetime(mid, time + 2, time + 3),
            Lifetime(after, time + 3, time + 4),
        ]
        time, size = time + 4 - (not residual), after
        if not residual:
            tensors.pop()
    return [*tensors, Lifetime(size, time, time + 1)]


def test_plans_reach_what_lives_at_once():
    for seed in range(300):
        tensors = chain(np.random.default_rng(seed))
        offsets = plan(tensors)
        limit = peak(tensors)
        for i, one in enumerate(tensors):
            assert 0 <= offsets[i] <= limit - one.size and offsets[i] % 16 == 0
            for j, other in enumerate(tensors[:i]):
                if one.first <= other.last and other.first <= one.last:
                    assert offsets[i] + one.size <= offsets[j] or offsets[j] + other.size <= offsets[i]


@pytest.mark.parametrize("seed", range(30))
def test_placed_buffers_never_overlap_while_both_are_needed(seed):
    rng = np.random.default_rng(seed)
    starts = np.sort(rng.integers(0, 12, 15))
    buffers = [Lifetime(4 * int(rng.integers(1, 125)), int(s), int(s + rng.integers(0, 4))) for s in starts]
    offsets, size = place(buffers)
    for i, (one, at) in enumerate(zip(buffers, offsets, strict=True)):
        assert 0 <= at <= at + one.size <= size
        for other, there in zip(buffers[:i], offsets[:i], strict=True):
            together = one.first <= other.last and other.first <= one.last
            assert not together or at + one.size <= there or there + other.size <= at
    assert peak(buffers) <= size <= sum(buffer.size for buffer in buffers)


def test_a_chain_with_scratch_needs_no_more_than_its_largest_moment():
    # As of a network: each map lives until the next is written; scratch is large where maps are small.
    maps = [Lifetime(size, step, step + 1) for step, size in enumerate([4000, 9000, 2000, 6000, 1500, 1500, 300])]
    scratch = [Lifetime(size, step + 1, step + 1) for step, size in enumerate([0, 100, 0, 5000, 9000, 0]) if size]
    buffers = maps + scratch
    assert place(buffers)[1] == peak(buffers) == max(13000, 2000 + 6000, 7500 + 5000, 3000 + 9000)
