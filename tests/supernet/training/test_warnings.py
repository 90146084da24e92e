"""Short trainings warn of nothing: neither torch's schedulers nor timm's."""

import logging
import warnings

import pytest
import torch

from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.finetune import finetune
from ofa.supernet.training.optim import make_optimizer, make_scheduler
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.settings import Settings
from ofa.supernet.training.weight_sharing import train_supernet

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 8, "depths": [1], "kernels": [3], "expands": [1, 2]}],
        "head": {"width": 8, "features": 8},
    }
)
BATCH = (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4) % 2)


def new_net():
    return Supernet(SPACE, num_classes=2)


@pytest.fixture(autouse=True)
def strict(caplog):
    """timm warns through ``logging``, torch through ``warnings``."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 1e-6, 0.5, 1.0, 2.0, 1000.0])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (2, 1), (1, 3)])
def test_training(schedule, warmup, epochs, steps):
    """Each phase trains at its own learning rate somewhere, and ends lower than that, or in its only step."""
    rates = []
    phases = [Phase("a", epochs, 0.1), Phase("b", epochs, 0.05, open={"expand": 2})]
    for number, phase in enumerate(phases):
        settings = Settings(lr_schedule=schedule, warmup_epochs=warmup)
        optimizer = make_optimizer(torch.nn.Linear(2, 2), settings, lr=phase.lr)
        total = epochs * steps
        scheduler = make_scheduler(optimizer, settings, phase, steps_per_epoch=steps, first=number == 0)
        for step in range(total):
            scheduler.step_update(step)
            rates.append(optimizer.param_groups[0]["lr"])
            assert 0 <= rates[-1] <= phase.lr
        assert max(rates[-total:]) > 0
    assert len(rates) == 2 * epochs * steps


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "rmsprop"])
@pytest.mark.parametrize("options", [{}, {"warmup_epochs": 1.0}, {"lr_schedule": "linear", "ema": 0.9, "mixup": 0.2}])
def test_one_epoch(optimizer, options):
    for steps in (1, 2):
        train_supernet(
            new_net(),
            [Phase("a", 1, 0.001), Phase("b", 1, 0.001, open={"expand": 2}, teacher="full")],
            lambda epoch, start, steps=steps: [BATCH] * (steps - start),
            steps_per_epoch=steps,
            normalize=lambda images: images.float(),
            settings=Settings(optimizer=optimizer, **options),
            progress=False,
        )


def test_fine_tuning_of_one_step():
    finetune(
        new_net().extract(SPACE.largest),
        None,
        lambda epoch, start: [BATCH],
        epochs=1,
        steps_per_epoch=1,
        lr=0.1,
        resolution=8,
        normalize=lambda images: images.float(),
        settings=Settings(),
        progress=False,
    )
