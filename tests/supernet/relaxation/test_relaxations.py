"""Every relaxation: gradients, sums, draws, pruned options; and what each of them promises beside."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import gammainc, gammaincinv

from ofa.supernet.genome import Gene
from ofa.supernet.relaxation import relaxations
from ofa.supernet.relaxation.architecture import Architecture
from ofa.supernet.relaxation.relaxations import RELAXATIONS

every = pytest.mark.parametrize("name", RELAXATIONS)
GENES = (Gene("kernel", (3, 5, 7), 0, 1), Gene("operation", tuple("abcde"), ordered=False), Gene("expand", (2,), 1, 0))
HARD = {"gumbel_hard", "gates"}  # one option, with the gradient of something soft
ALPHA = torch.tensor([0.3, -0.4, 0.2, 0.6], dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def soft_of(name, seed):
    """The function whose gradient a draw of ``ALPHA`` has, with that draw's randomness fixed; None: its own."""
    if name == "gumbel_hard":
        return lambda alpha: relaxations.draw_gumbel(alpha, generator(seed), 0.7)
    if name == "gates":
        pair = torch.multinomial((ALPHA / 0.7).softmax(-1), 2, generator=generator(seed))
        return lambda alpha: torch.zeros_like(alpha).index_put((pair,), (alpha[pair] / 0.7).softmax(-1))
    return None


@every
@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_of_a_fixed_draw_is_that_of_finite_differences(name, seed, monkeypatch):
    drawn, sample = [], torch._standard_gamma
    monkeypatch.setattr(
        torch, "_standard_gamma", lambda *args, **options: drawn.append(sample(*args, **options)) or drawn[0]
    )
    alpha = ALPHA.clone().requires_grad_()
    weights = torch.randn(4, generator=generator(9), dtype=torch.float64)
    (RELAXATIONS[name].draw(alpha, generator(seed), 0.7) * weights).sum().backward()

    # A gamma variable is fixed by its quantile, whatever its shape.
    if drawn:
        quantile = gammainc(relaxations.concentration(ALPHA).numpy() + 1, drawn[0].detach().numpy())
        monkeypatch.setattr(
            torch, "_standard_gamma", lambda shape, **_: torch.from_numpy(gammaincinv(shape.numpy(), quantile))
        )
    fixed = soft_of(name, seed) or (lambda alpha: RELAXATIONS[name].draw(alpha, generator(seed), 0.7))
    steps = 1e-6 * torch.eye(4, dtype=torch.float64)
    numeric = [float(((fixed(ALPHA + step) - fixed(ALPHA - step)) * weights).sum() / 2e-6) for step in steps]
    assert alpha.grad.tolist() == pytest.approx(numeric, abs=2e-5)  # torch computes gamma gradients no finer
    assert np.abs(numeric).max() > 1e-3


@every
def test_the_gradient_of_probabilities_and_penalty_is_that_of_finite_differences(name):
    relaxed = RELAXATIONS[name]
    alpha = ALPHA.clone().requires_grad_()
    for function in (relaxed.probabilities, relaxed.evaluated, relaxed.penalty):
        assert function is None or torch.autograd.gradcheck(function, alpha)


@every
def test_weights_and_probabilities_add_up_to_one_but_for_sigmoids(name):
    architecture = Architecture(GENES, relaxation=name, seed=3)
    for _ in range(20):
        for weights in architecture.draw(0.5):
            assert weights.min() >= 0 and (name == "sigmoid" or weights.sum().item() == pytest.approx(1, abs=1e-6))
            # The gate that is off changes no sum: networks leave out what has the weight 0.
            assert name not in HARD or sorted(weights.tolist()) == pytest.approx(
                [0.0] * (len(weights) - 1) + [1.0], abs=1e-29
            )
    for values in architecture.probabilities():
        assert values.sum().item() == pytest.approx(1, abs=1e-6) and values.min() >= 0
    sums = [values.sum().item() for values in architecture.evaluated()]
    assert sums == pytest.approx([1, 1, 1]) or (name == "sigmoid" and sums[0] > 1.2 and sums[2] == 1)


@every
def test_a_draw_is_told_by_seed_and_number_and_goes_on_after_a_restore(name):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (Architecture(GENES, relaxation=name, seed=seed) for seed in (7, 7, 8))
    draws = [one.draw() for _ in range(4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(draws[0], same.draw()) and equal(draws[0], same.drawn(0)) and equal(same.draw(), draws[1])
    restored = Architecture(GENES, relaxation=name, seed=7)
    restored.load_state_dict(same.state_dict())
    assert equal(restored.draw(), draws[2])
    assert not equal(other.alphas, one.alphas)
    if name not in ("softmax", "sigmoid", "sparsemax"):
        assert len({tuple(draw[1].tolist()) for draw in (one.draw() for _ in range(12))}) > 3


@every
def test_a_pruned_option_has_no_weight_and_no_gradient_and_the_others_are_as_if_it_had_never_been(name):
    architecture = Architecture(GENES, relaxation=name, seed=2)
    few = Architecture((Gene("operation", tuple("abd"), ordered=False),), relaxation=name, seed=2)
    with torch.no_grad():
        architecture.open[1][[2, 4]] = False
        few.alphas[0].copy_(architecture.alphas[1][[0, 1, 3]])
    for _ in range(5):
        weights = architecture.draw(0.6)[1]
        assert weights[[2, 4]].tolist() == [0, 0]
        (weights * torch.arange(5.0)).sum().backward()
    assert architecture.alphas[1].grad[[2, 4]].tolist() == [0, 0]
    for whole, part in ((architecture.probabilities, few.probabilities), (architecture.evaluated, few.evaluated)):
        assert whole()[1][[0, 1, 3]].tolist() == part()[0].tolist()
    with torch.no_grad():
        architecture.open[1][:4] = False
        architecture.open[1][4] = True
    assert architecture.draw()[1].tolist() == architecture.evaluated()[1].tolist() == [0, 0, 0, 0, 1]


@every
@pytest.mark.parametrize("size", [40.0, -40.0])
def test_extreme_parameters_stay_finite(name, size):
    for values in ([size, 0.0, 0.0], [size, size, size], [size, -size, 0.0]):
        alpha = torch.tensor(values, requires_grad=True)
        for seed in range(5):
            weights = RELAXATIONS[name].draw(alpha, generator(seed), 0.1)
            assert weights.isfinite().all(), weights
            weights[0].backward()
            assert alpha.grad.isfinite().all()


def equal(one, other):
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


# -- what each promises -----------------------------------------------------------------------------------------------


def test_softmax_is_softmax():  # where weights were entangled, what was called DARTS was sparsemax
    assert torch.equal(RELAXATIONS["softmax"].draw(ALPHA, generator(), 1.0), ALPHA.softmax(0))
    assert (RELAXATIONS["softmax"].draw(ALPHA, generator(), 0.05) > 0).all()


def test_fairdarts_starts_where_its_own_loss_has_a_gradient():
    alpha = torch.zeros(4, requires_grad=True)
    relaxations.zero_one(alpha).backward()
    assert alpha.grad.tolist() == [0, 0, 0, 0]  # where it is published to start
    for seed in range(50):
        alpha = RELAXATIONS["sigmoid"].initial(4, generator(seed)).requires_grad_()
        relaxations.zero_one(alpha).backward()
        assert alpha.grad.abs().min() > 1e-5
        assert torch.equal(alpha.grad.sign(), -alpha.detach().sign())  # it draws each to the end that is nearer


def test_gumbel_draws_have_the_softmax_as_their_argmax_distribution_and_cool_down():
    draws = [RELAXATIONS["gumbel_hard"].draw(ALPHA, generator(seed), 1.0) for seed in range(3000)]
    assert torch.stack(draws).mean(0).tolist() == pytest.approx(ALPHA.softmax(0).tolist(), abs=0.03)
    peaks = [
        np.mean([float(RELAXATIONS["gumbel"].draw(ALPHA, generator(seed), temperature).max()) for seed in range(50)])
        for temperature in (10.0, 1.0, 0.1)
    ]
    assert peaks[0] < 0.4 < peaks[1] < 0.9 < peaks[2]


def test_infinite_noise_is_drawn_again(monkeypatch):
    draws = iter([torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])])  # -log(0) is infinite
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, generator: next(draws))
    weights = RELAXATIONS["gumbel_hard"].draw(torch.zeros(2), generator(), 1.0)
    assert weights.tolist() == [1, 0] and next(draws, None) is None


def test_gates_give_a_gradient_to_two_options_whose_update_leaves_the_others_probable_as_before():
    relaxed, seen = RELAXATIONS["gates"], set()
    for seed in range(30):
        alpha = ALPHA.clone().requires_grad_()
        optimizer = torch.optim.Adam([alpha], lr=0.1, betas=(0.0, 0.999))
        weights = relaxed.draw(alpha, generator(seed), 1.0)
        (weights * torch.arange(4.0)).sum().backward()
        pair = alpha.grad.nonzero()[:, 0].tolist()
        seen.add(tuple(pair))
        assert len(pair) == 2 and int(weights.argmax()) in pair
        assert float(alpha.grad.sum()) == pytest.approx(0, abs=1e-12)
        optimizer.step()
        with torch.no_grad():
            alpha.copy_(relaxed.settle(ALPHA, alpha.detach()))
        rest = [index for index in range(4) if index not in pair]
        assert torch.equal(alpha[rest], ALPHA[rest])
        assert alpha.exp().sum().item() == pytest.approx(float(ALPHA.exp().sum()))
        assert alpha.softmax(0)[rest].tolist() == pytest.approx(ALPHA.softmax(0)[rest].tolist())
        assert not torch.equal(alpha[pair], ALPHA[pair])
    assert seen == set(itertools.combinations(range(4), 2))
    assert torch.equal(relaxed.settle(ALPHA, ALPHA), ALPHA)


def test_the_path_whose_weights_learn_is_drawn_by_its_probability():
    draws = torch.stack([RELAXATIONS["gates"].draw_of_weights(ALPHA, generator(seed), 1.0) for seed in range(3000)])
    assert draws.mean(0).tolist() == pytest.approx(ALPHA.softmax(0).tolist(), abs=0.03)


def test_dirichlet_samples_and_their_gradients_have_the_distributions_mean():
    alpha = torch.tensor([0.5, -1.5, 1.0], dtype=torch.float64)
    beta = relaxations.concentration(alpha)
    many = alpha.expand(1, 3).clone().requires_grad_()
    draws = torch.stack([RELAXATIONS["dirichlet"].draw(many[0], generator(seed), 1.0) for seed in range(2000)])
    mean = draws.detach().mean(0)
    assert mean.tolist() == pytest.approx((beta / beta.sum()).tolist(), abs=0.03)
    variance = mean * (1 - mean) / (1 + beta.sum())
    assert draws.detach().var(0).tolist() == pytest.approx(variance.tolist(), rel=0.1)
    draws[:, 0].mean().backward()
    expected = torch.autograd.functional.jacobian(relaxations.mean_dirichlet, alpha)[0]
    assert many.grad[0].tolist() == pytest.approx(expected.tolist(), abs=0.03)


def test_dirichlet_is_evaluated_at_its_mean_and_not_at_a_softmax():
    assert relaxations.mean_dirichlet(torch.tensor([2.0, 0.0])).tolist() == pytest.approx([0.75, 0.25])
    assert relaxations.concentration(torch.tensor([2.0, 0.0, -1.0])).tolist() == pytest.approx([3, 1, np.exp(-1)])


def test_the_divergence_from_the_flat_distribution_is_least_there():
    alpha = torch.zeros(3, requires_grad=True)
    relaxations.kl_to_uniform(alpha).backward()
    assert relaxations.kl_to_uniform(alpha).item() == pytest.approx(0, abs=1e-6)
    assert alpha.grad.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert relaxations.kl_to_uniform(torch.tensor([2.0, 0.0, 0.0])) > 0.1


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rng = np.random.default_rng(0)
    for _ in range(20):
        alpha = torch.tensor(rng.normal(size=4) * 1.5)
        found = relaxations.sparsemax(alpha)
        others = torch.tensor(rng.dirichlet(np.full(4, 0.4), size=500))
        assert (found - alpha).square().sum() <= (others - alpha).square().sum(1).min() + 1e-12
    assert relaxations.sparsemax(torch.tensor([2.0, 0.0, -1.0])).tolist() == [1, 0, 0]
