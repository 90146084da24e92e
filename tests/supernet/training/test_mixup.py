"""Mixing images and labels: drawn from its key alone, in pairs."""

import numpy as np
import pytest
import torch
from timm.data import Mixup

from ofa.supernet.training.mixup import mix


def batch(n=6):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(n, 3, 12, 12, generator=generator), torch.randint(4, (n,), generator=generator)


@pytest.mark.parametrize(
    "alphas", [{"mixup_alpha": 0.4}, {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}], ids=["mix", "cut"]
)
def test_mixing_depends_on_its_key_alone(alphas):
    mixup, (images, classes) = Mixup(**alphas, label_smoothing=0.0, num_classes=4), batch()
    original = images.clone()
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, labels = mix(mixup, images, classes, key=(0, 1, 0))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(6)  # noqa: NPY002
    again, labels_again = mix(mixup, images, classes, key=(0, 1, 0))
    assert torch.equal(one, again) and torch.equal(labels, labels_again)
    assert torch.equal(images, original), "the batch itself stays"
    assert labels.shape == (6, 4) and torch.allclose(labels.sum(1), torch.ones(6))
    others = [mix(mixup, images, classes, key=key)[0] for key in ((1, 1, 0), (0, 2, 0), (0, 1, 1))]
    assert not any(torch.equal(one, other) for other in others)


@pytest.mark.parametrize(("count", "left"), [(1, 1), (2, 2), (5, 4)])
def test_an_odd_batch_is_mixed_without_its_last_image(count, left):
    given, classes = batch()
    mixup = Mixup(mixup_alpha=0.4, num_classes=4)
    images, labels = mix(mixup, given[:count], classes[:count], key=(0,))
    assert len(images) == len(labels) == left
    assert labels.is_floating_point() == (count > 1)
