"""The stage ``export``: what ends a target's fine-tuning is told with the key that helps."""

import pytest

from ofa.stages import export
from ofa.supernet.training.errors import Diverged, OutOfMemory


@pytest.mark.parametrize(
    "error, key", [(Diverged("the loss is nan"), "targets.phone.finetune.lr"), (OutOfMemory("no"), "train.batch_size")]
)
def test_fine_tuning_that_stops_names_the_key(call, copied, monkeypatch, error, key):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(export, "finetune", stop)
    options = ["--set", "targets.phone.finetune={epochs: 1, lr: 0.02}", "--update"]
    code, _, err = call("run", copied, *options)
    assert (code, err) == (2, f"targets.phone: fine-tuning stopped: {error} ({key})\n")
