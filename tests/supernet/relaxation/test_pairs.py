"""Two halves of the images side by side: the second is read through again and again."""

from itertools import islice

import pytest
import torch

from ofa.supernet.relaxation.pairs import paired


def numbered(steps, *, half):
    """Batches whose images say half, epoch and step."""

    def batches(epoch, start):
        for step in range(start, steps):
            yield torch.tensor([half, epoch, step]), torch.tensor([step])

    return batches


@pytest.mark.parametrize("own, others", [(4, 3), (3, 7), (5, 5), (2, 1)])
def test_each_step_has_its_own_batches_wherever_it_starts(own, others):
    batches = paired(numbered(own, half=0), numbered(others, half=1), steps_per_epoch=own, architecture_steps=others)
    seen = [batch for epoch in range(6) for batch in batches(epoch, 0)]
    assert [batch[0].tolist() for batch in seen] == [[0, *divmod(step, own)] for step in range(6 * own)]
    assert [batch[2].tolist() for batch in seen] == [[1, *divmod(step, others)] for step in range(6 * own)]
    assert [int(batch[3]) for batch in seen] == [step % others for step in range(6 * own)]
    for step in range(6 * own):
        again = next(iter(batches(*divmod(step, own))))
        assert all(torch.equal(one, other) for one, other in zip(again, seen[step], strict=True))


def test_a_half_without_a_batch_is_refused():
    with pytest.raises(
        ValueError, match=r"^3 batches are left for the weights and 0 for the architecture; both need one"
    ):
        paired(numbered(3, half=0), numbered(0, half=1), steps_per_epoch=3, architecture_steps=0)


def test_batches_that_end_early_are_noticed():
    batches = paired(numbered(5, half=0), numbered(2, half=1), steps_per_epoch=5, architecture_steps=3)
    with pytest.raises(ValueError, match=r"^epoch 0 of the architecture's batches ended after 2 of 3$"):
        list(islice(batches(0, 0), 5))
