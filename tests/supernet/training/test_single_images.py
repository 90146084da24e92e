"""Batch norm never normalises a single image by itself: not as a batch, nor as a piece of one."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn import functional

from ofa.supernet.calibration import calibrate
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.errors import TooFewImages
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

# At 8 pixels its last maps have a single value, of which a single image has no variance.
SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "stride": 2, "depths": [1], "kernels": [3], "expands": [1, 2]} for _ in range(2)],
        "head": {"width": 16, "features": 16},
    }
)
IN_PLACE = Phase("a", 1, 0.1, 2, expand=2, sampling="sandwich", teacher="in_place")


@contextmanager
def smallest_batch():
    """The fewest images that a batch norm took statistics of."""
    seen, real = [], functional.batch_norm

    def watched(x, mean, var, weight=None, bias=None, training=False, *more):
        if training:
            seen.append(len(x))
        return real(x, mean, var, weight, bias, training, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "batch_norm", watched)
        yield seen


def images(n):
    generator = torch.Generator().manual_seed(n)
    return torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator), torch.arange(n) % 3


def split(n, size):
    """As ``Data`` does: whole batches, or all images when there are fewer."""
    pictures, labels = images(n)
    return [(pictures[at : at + size], labels[at : at + size]) for at in range(0, max(n // size, 1) * size, size)]


def new_net():
    torch.manual_seed(0)
    return Supernet(SPACE, num_classes=3)


def normed(pictures):
    return pictures.float() / 128 - 1


@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize(
    ("n", "size", "accumulate"),
    [(9, 4, 2), (5, 5, 2), (5, 5, 4), (7, 7, 3), (3, 64, 3), (3, 3, 1), (2, 2, 1), (4, 2, 2), (10, 5, 64)],
)
def test_training(n, size, accumulate, mixup):
    batches = split(n, size)
    settings = Settings(grad_accum_steps=accumulate, mixup=mixup)
    with smallest_batch() as seen:
        train_supernet(
            new_net(),
            [IN_PLACE],
            lambda epoch, start: batches[start:],
            steps_per_epoch=len(batches),
            normalize=normed,
            settings=settings,
            progress=False,
        )
    assert min(seen) >= 2


def test_an_image_left_alone_by_unreadable_ones_waits_for_another_epoch():
    pictures, labels = images(6)
    batches = [(pictures[:4], labels[:4]), (pictures[4:5], labels[4:5])]
    figures = []
    options = {"steps_per_epoch": 2, "normalize": normed, "settings": Settings(), "progress": False}
    with smallest_batch() as seen:
        train_supernet(
            new_net(),
            [IN_PLACE],
            lambda epoch, start: batches[start:],
            on_epoch=lambda net, phase, figure: figures.append(figure),
            **options,
        )
    assert min(seen) == 4
    assert round(figures[0]["images_per_second"] * figures[0]["seconds"]) == 4
    with pytest.raises(TooFewImages, match="no batch of epoch 1 had two readable images"):
        train_supernet(new_net(), [IN_PLACE], lambda epoch, start: batches[1:] * 2, **options)


@pytest.mark.parametrize("sizes", [(4, 1), (1, 4), (1, 1, 1), (2, 1, 2), (256, 1)])
def test_calibration(sizes):
    pictures = normed(images(sum(sizes))[0])
    with smallest_batch() as seen:
        calibrate(new_net().extract(SPACE.largest), pictures.split(sizes))
    assert min(seen) >= 2
    assert sum(seen) % sum(sizes) == 0  # every image, in every batch norm


def test_fine_tuning():
    torch.manual_seed(0)
    model = new_net().extract(SPACE.largest)
    pictures, labels = images(5)
    with smallest_batch() as seen:
        finetune(
            model,
            None,
            lambda epoch, start: [(pictures[:4], labels[:4]), (pictures[4:], labels[4:])],
            epochs=1,
            steps_per_epoch=2,
            lr=0.1,
            resolution=8,
            normalize=normed,
            settings=Settings(),
            progress=False,
        )
    assert np.unique(seen).tolist() == [4]
