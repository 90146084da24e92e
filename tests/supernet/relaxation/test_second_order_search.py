"""Second order in a step of a search: the derivative of the objective through the update of the weights."""

import pytest
import torch
from torch.nn import functional as F
from toy_relaxed import batches, prepare, relaxed_for

from ofa.supernet.relaxation import learning, updates
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.training.step import step_seed

STEPS = 4  # the last of which is looked at: the optimizer has momentum by then


@torch.no_grad()
def after_update(problem, alpha, index, change, value):
    """The objective ``value()`` when a parameter is changed and the weights then take their step."""
    before = [weight.clone() for weight in problem.weights]
    alpha[index] += change
    with torch.enable_grad():
        moved = problem.virtual_step(problem.training(problem.weights))
    for weight, target in zip(problem.weights, moved, strict=True):
        weight.copy_(target)
    found = float(value())
    for weight, target in zip(problem.weights, before, strict=True):
        weight.copy_(target)
    alpha[index] -= change
    return found


@pytest.mark.parametrize("pruned", [False, True])
def test_the_gradient_is_that_of_finite_differences_through_an_update(pruned, monkeypatch):
    """With momentum, weight decay, batch norm, dropout and a pruned option."""
    compared, make, update = [], learning._problem, learning.UPDATES["second_order"]

    def watched(state, batch, images, labels, *, search, number):
        problem = make(state, batch, images, labels, search=search, number=number)

        def value():
            torch.manual_seed(step_seed(state.settings.seed, state.global_step))
            drawn = search.relaxed.architecture.drawn(number)
            return F.cross_entropy(state.net.forward_mixed(images, drawn), labels)

        if state.step == STEPS - 1:
            (found, expected) = update.gradients(problem), []
            for alpha in problem.alphas:
                ends = [
                    [after_update(problem, alpha, index, change, value) for change in (1e-6, -1e-6)]
                    for index in range(len(alpha))
                ]
                expected.append([(ahead - behind) / 2e-6 for ahead, behind in ends])
            compared.extend(zip(found, expected, updates.first_order(problem), strict=True))
        return problem

    monkeypatch.setattr(learning, "_problem", watched)
    monkeypatch.setattr(updates, "_REACH", 1e-5)  # a hundredth is far where activations have kinks
    relaxed = relaxed_for("darts_2nd", dropout=0.3).double()
    relaxed.architecture.open[0][1] = not pruned
    search_architecture(
        relaxed,
        "darts_2nd",
        lambda epoch, start: batches(epoch, start, steps=STEPS),
        epochs=1,
        steps_per_epoch=STEPS,
        normalize=lambda images: prepare(images).double(),
        lr=0.5,
        progress=False,
    )
    assert len(compared) == 4
    for found, expected, _ in compared:
        assert found.tolist() == pytest.approx(expected, abs=1e-7)
    found, _, without = compared[2]
    assert (found - without).abs().max() > 1e-4  # a thousand times the tolerance
    assert (float(compared[0][0][1]) == 0) == pruned
