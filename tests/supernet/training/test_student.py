"""A student learns from labels and a teacher, alone, and repeats itself."""

import copy

import pytest
import torch
from torch import nn

from ofa.supernet.training.errors import Diverged
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.student import train_student


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))


def batches(epoch, start):
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(4):
        labels = torch.randint(0, 4, (16,), generator=generator)
        images = torch.randint(0, 60, (16, 3, 4, 4), dtype=torch.uint8, generator=generator)
        images.flatten(1)[torch.arange(16), labels] += 180
        yield images, labels


def train(student, *, data=batches, **options):
    given = {"epochs": 3, "steps_per_epoch": 4, "lr": 0.05, "settings": Settings(optimizer="adamw"), **options}
    normalize = lambda images: images.float() / 128 - 1  # noqa: E731
    train_student(student, network(1), data, resolution=4, normalize=normalize, progress=False, **given)
    return student


def accuracy(student):
    pairs = [(student(images.float() / 128 - 1).argmax(1) == labels).float().mean() for images, labels in batches(9, 0)]
    return float(torch.stack(pairs).mean())


def test_it_learns_and_repeats_itself():
    student = network(0)
    settings = Settings(optimizer="adamw", distill_weight=0.0)
    one, other = (train(copy.deepcopy(student), epochs=8, settings=settings) for _ in range(2))
    assert accuracy(student) < 0.6 < 0.9 < accuracy(one)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_soft_labels_count():
    apart = [(train(network(0), settings=Settings(optimizer="adamw", distill_weight=w))[1].weight) for w in (0.0, 1.0)]
    assert not torch.equal(*apart)


def test_a_batch_of_one_image_is_left_out_and_none_at_all_is_refused():
    with pytest.raises(ValueError, match="batches gave nothing for epoch 0"):
        train(network(0), data=lambda epoch, start: [(torch.zeros(1, 3, 4, 4), torch.zeros(1, dtype=torch.long))])


def test_divergence_is_named():
    student = network(0)
    with torch.no_grad():
        student[1].weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="step 0, learning rate"):
        train(student)


def test_an_interrupt_ends_it():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network(0), check_interrupt=interrupt)
