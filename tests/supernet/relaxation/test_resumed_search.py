"""A search that was stopped at any step ends in the same bits."""

import functools

import pytest
import torch
from toy_relaxed import STEPS, batches, fast, prepare, relaxed_for

from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.training.checkpoint import from_bytes, to_bytes
from ofa.supernet.training.errors import Stopped

EPOCHS = 3


def run(relaxed, name, **options):
    given = {"epochs": EPOCHS, "steps_per_epoch": STEPS, "normalize": prepare, "progress": False, **options}
    search_architecture(relaxed, fast(name), batches, stage_network=lambda net, stage: net, **given)


def ends(relaxed):
    return {name: value.clone() for name, value in relaxed.state_dict().items()}


@functools.cache
def uninterrupted(name):
    """Checkpoints by the number of steps, and the end."""
    relaxed, kept, shown = relaxed_for(name), {}, []
    run(
        relaxed,
        name,
        checkpoint_due=lambda step: True,
        save_checkpoint=lambda one: kept.update({one.global_step: to_bytes(one)}),
        on_epoch=shown.append,
    )
    return kept, ends(relaxed), shown


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [2, STEPS])
def test_resumed_after_a_step_it_ends_in_the_same_bits(name, stop):
    kept, end, shown = uninterrupted(name)
    relaxed, later = relaxed_for(name, seed=1), []
    with torch.no_grad():
        for parameter in relaxed.parameters():
            parameter.add_(1.0)
    torch.manual_seed(stop)
    run(relaxed, name, resume=from_bytes(kept[stop]), on_epoch=later.append)
    found = ends(relaxed)
    assert set(found) == set(end) and not [key for key in end if not torch.equal(found[key], end[key])]
    quiet = ("seconds", "images_per_second", "seconds_left")
    expected = [{key: value for key, value in figure.items() if key not in quiet} for figure in shown[stop // STEPS :]]
    assert [{key: value for key, value in figure.items() if key not in quiet} for figure in later] == expected


def test_a_stopped_search_keeps_its_state():
    kept, _, _ = uninterrupted("drnas")
    relaxed, asked, stopped = relaxed_for("drnas"), iter(range(1, 99)), []
    with pytest.raises(Stopped):
        run(relaxed, "drnas", stop=lambda: next(asked) == 5, save_checkpoint=stopped.append)
    expected = from_bytes(kept[5]).tensors
    assert stopped[-1].global_step == 5
    assert not [name for name, value in stopped[-1].tensors.items() if not torch.equal(value, expected[name])]


@pytest.mark.parametrize("name", ["gdas", "drnas", "proxylessnas"])
def test_another_seed_is_another_search(name):
    one, other = relaxed_for(name, seed=1), relaxed_for(name, seed=2)
    for relaxed in (one, other):
        run(relaxed, name, epochs=2)
    assert not torch.equal(one.alphas[0], other.alphas[0])
