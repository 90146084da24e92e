"""Names of options are those of the functions, and are known without torch."""

import subprocess
import sys

import pytest

from ofa.supernet.training import names
from ofa.supernet.training.losses import SOFT_LOSSES
from ofa.supernet.training.optim import SCHEDULERS
from ofa.supernet.training.settings import Settings


def test_names_are_the_keys_of_the_dicts():
    assert tuple(SOFT_LOSSES) == names.SOFT_LOSS_NAMES
    assert tuple(SCHEDULERS) == names.LR_SCHEDULE_NAMES


def test_defaults_are_among_them():
    settings = Settings()
    assert settings.distill_loss in names.SOFT_LOSS_NAMES
    assert settings.lr_schedule in names.LR_SCHEDULE_NAMES
    assert settings.subnets_per_rank in names.SUBNETS_PER_RANK


@pytest.mark.parametrize("module", ["names", "settings", "sampling", "phases"])
def test_without_torch(module):
    code = f"import sys, ofa.supernet.training.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
