"""Stages and temperatures as values."""

import math

import pytest

from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.schedules import Stage, Temperature, epochs_of


@pytest.mark.parametrize(
    "name, epochs, expected",
    [
        ("darts", 50, [50]),
        ("pdarts", 75, [25, 25, 25]),
        ("pdarts", 5, [2, 1, 2]),
        ("pdarts", 4, [1, 2, 1]),
        ("pdarts", 3, [1, 1, 1]),
        ("drnas", 50, [25, 25]),
        ("drnas", 5, [2, 3]),
        ("drnas", 2, [1, 1]),
    ],
)
def test_stages_share_the_epochs(name, epochs, expected):
    assert epochs_of(METHODS[name].stages, epochs) == expected


def test_every_stage_has_an_epoch_whatever_its_share():
    stages = (Stage(0.98), Stage(0.01), Stage(0.01))
    assert [epochs_of(stages, epochs) for epochs in (3, 4, 200)] == [[1, 1, 1], [2, 1, 1], [196, 2, 2]]


def test_fewer_epochs_than_stages_are_refused():
    with pytest.raises(ValueError, match=r"^the search has 3 stages; give it as many epochs at least, not 2$"):
        epochs_of(METHODS["pdarts"].stages, 2)


def test_temperatures_go_from_the_first_to_the_last():
    line, factors = Temperature(10, 0.1), Temperature(10, 0.1, "exponentially")
    assert [line.at(0), line.at(0.5), line.at(1)] == pytest.approx([10, 5.05, 0.1])
    assert [factors.at(0), factors.at(0.5), factors.at(1)] == pytest.approx([10, 1, 0.1])


def test_fbnet_cools_down_by_the_papers_factor():
    temperature = METHODS["fbnet"].temperature
    assert temperature.at(1 / 90) / temperature.at(0) == pytest.approx(0.956, abs=1e-3)


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, -1.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_a_temperature_that_is_none_is_refused(ends):
    with pytest.raises(ValueError, match="both must be above 0"):
        Temperature(*ends)


def test_dropout_on_skips_falls_in_a_line_and_then_by_factors():
    """In P-DARTS a line over 25 epochs for 10 of them, then .2 an epoch in the exponent."""
    stage = Stage(frozen=0.4, skip_drop=0.7)
    assert [stage.skip_drop_at(epoch / 25) for epoch in (0, 5)] == pytest.approx([0.7, 0.7 * 0.8])
    assert [stage.skip_drop_at(epoch / 25) for epoch in (10, 15)] == pytest.approx([0.7, 0.7 * math.exp(-1)])
