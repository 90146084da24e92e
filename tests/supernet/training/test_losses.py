"""Losses against their formulas in slow float64 loops, their gradients, and logits that would overflow."""

import math

import pytest
import torch
from torch.nn import functional as F

from ofa.supernet.training.losses import SOFT_LOSSES, alpha, distillation_loss, kl, soft_ce

CLIP = 5.0


def logits(seed, *, batch=6, classes=5, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, classes, generator=generator, dtype=dtype)


def gradient(loss, student, teacher):
    student = student.clone().requires_grad_()
    loss(student, teacher).backward()
    return student.grad


def probabilities(row):
    top = max(row)
    exponentials = [math.exp(value - top) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def divergence(p, q, a):
    """D_a(p||q) of one sample with clipped weights (p/q)^a; KL(p||q) for a = 1."""
    total = 0.0
    for p_i, q_i in zip(p, q, strict=True):
        weight = min((p_i / q_i) ** a, CLIP)
        total += q_i * (weight * math.log(weight) if a == 1 else (weight - 1) / (a * (a - 1)))
    return total


def divergence_gradient(p, q, a):
    """-1/a E_q[w grad log q], for the logits z: d log q_i / d z_j = [i == j] - q_j."""
    weights = [min((p_i / q_i) ** a, CLIP) for p_i, q_i in zip(p, q, strict=True)]
    rows = range(len(q))
    return [-sum(q[i] * weights[i] * ((i == j) - q[j]) for i in rows) / a for j in rows]


def slow_alpha(student, teacher):
    """Mean, gradient, and which of -1 and 1 each sample took."""
    total, slopes, taken = 0.0, [], []
    for z, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = probabilities(t), probabilities(z)
        value, a = max((divergence(p, q, a), a) for a in (-1, 1))
        total += value
        slopes.append(divergence_gradient(p, q, a))
        taken.append(a)
    return total / len(student), torch.tensor(slopes, dtype=torch.float64) / len(student), taken


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 8.0])  # from nothing clipped to nearly all
@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_its_formula(seed, scale):
    student, teacher = logits(seed, scale=scale), logits(seed + 100, scale=scale)
    value, slope, _ = slow_alpha(student, teacher)
    assert alpha(student, teacher).item() == pytest.approx(value, rel=1e-9)
    torch.testing.assert_close(gradient(alpha, student, teacher), slope, rtol=1e-9, atol=1e-12)


def test_alpha_takes_the_larger_divergence_of_each_sample():
    invents = [0.0, 0.0, -9.0], [2.0, -2.0, -9.0]  # student, teacher: probability where the teacher has little
    misses = [2.0, 0.0, -9.0], [0.0, 0.0, -9.0]
    pairs = [torch.tensor(rows, dtype=torch.float64) for rows in zip(invents, misses, strict=True)]
    value, slope, taken = slow_alpha(*pairs)
    assert taken == [-1, 1]
    assert alpha(*pairs).item() == pytest.approx(value)
    torch.testing.assert_close(gradient(alpha, *pairs), slope)
    one_by_one = [alpha(student[None], teacher[None]).item() for student, teacher in zip(*pairs, strict=True)]
    assert alpha(*pairs).item() == pytest.approx(sum(one_by_one) / 2)


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_gradient_is_the_finite_difference_where_nothing_is_clipped(name):
    student, teacher = logits(1, scale=0.3), logits(2, scale=0.3)
    ratio = student.softmax(1) / teacher.softmax(1)
    assert ratio.max() < CLIP and ratio.min() > 1 / CLIP
    found, step = gradient(SOFT_LOSSES[name], student, teacher), 1e-5
    for sample, index in [(0, 0), (2, 3), (5, 4)]:
        moved = torch.zeros_like(student)
        moved[sample, index] = step
        rise = SOFT_LOSSES[name](student + moved, teacher) - SOFT_LOSSES[name](student - moved, teacher)
        assert found[sample, index].item() == pytest.approx(rise.item() / (2 * step), rel=1e-6, abs=1e-10)


def test_clipping_bounds_alphas_value_and_gradient():
    # Of two classes, q/p of the second is in the thousands: unclipped, value and gradient are, too.
    teacher, student = torch.tensor([[0.0, -12.0]]), torch.tensor([[0.0, 0.0]])
    assert alpha(student, teacher).item() < CLIP / 2
    assert gradient(alpha, student, teacher).abs().max() < CLIP
    ratio = (student.softmax(1) / teacher.softmax(1)).max()
    assert ratio > 1e4
    for seed in range(20):
        slopes = gradient(alpha, logits(seed, scale=20), logits(seed + 50, scale=20)) * 6
        assert slopes.abs().sum(1).max() <= 2 * CLIP


@pytest.mark.parametrize("name", SOFT_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_logits_stay_finite(name, dtype):
    top = torch.tensor([1e4, -1e4, 0.0, 1e4], dtype=dtype)
    rows = torch.stack([top, -top, top.roll(1), torch.zeros(4, dtype=dtype), torch.full((4,), 1e4, dtype=dtype)])
    student, teacher = rows.repeat(5, 1), rows.repeat_interleave(5, 0)  # every pair
    for index in range(len(student)):
        one, other = student[index : index + 1], teacher[index : index + 1]
        assert SOFT_LOSSES[name](one, other).isfinite() and gradient(SOFT_LOSSES[name], one, other).isfinite().all()


@pytest.mark.parametrize("name", SOFT_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    student, teacher = logits(3, dtype=torch.float32).to(dtype), logits(4, dtype=torch.float32).to(dtype)
    loss = SOFT_LOSSES[name](student, teacher)
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert torch.equal(loss, SOFT_LOSSES[name](student.float(), teacher.float()))
    found = gradient(SOFT_LOSSES[name], student, teacher)
    assert torch.equal(found, gradient(SOFT_LOSSES[name], student.float(), teacher.float()).to(dtype))


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_soft_losses_are_means_over_the_batch_and_leave_the_teacher_alone(name):
    student, teacher = logits(5).requires_grad_(), logits(6).requires_grad_()
    loss = SOFT_LOSSES[name](student, teacher)
    each = [SOFT_LOSSES[name](student[index : index + 1], teacher[index : index + 1]) for index in range(6)]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    loss.backward()
    assert teacher.grad is None and student.grad.abs().max() > 0
    # The teacher's own logits leave nothing to learn.
    assert gradient(SOFT_LOSSES[name], teacher.detach(), teacher).abs().max() < 1e-12


def test_soft_cross_entropy_is_kl_and_the_teachers_entropy():
    student, teacher = logits(7, scale=2), logits(8, scale=2)
    p = teacher.softmax(1)
    expected = -(p * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(soft_ce(student, teacher), expected)
    torch.testing.assert_close(kl(student, teacher), expected + (p * p.log()).sum(1).mean())
    torch.testing.assert_close(gradient(soft_ce, student, teacher), gradient(kl, student, teacher))


def test_kl_is_never_negative_and_zero_when_both_agree():
    for seed in range(20):
        student, teacher = logits(seed, scale=3), logits(seed + 50, scale=3)
        assert kl(student, teacher) > 0
        assert kl(teacher + 7, teacher).abs() < 1e-12 and alpha(teacher + 7, teacher).abs() < 1e-12


@pytest.mark.parametrize("soft", SOFT_LOSSES.values(), ids=SOFT_LOSSES)
def test_distillation_adds_the_weighted_soft_loss(soft):
    student, teacher, labels = logits(9), logits(10), torch.tensor([0, 1, 2, 3, 4, 0])
    wanted = torch.full((6, 5), 0.1 / 5, dtype=torch.float64)
    wanted[torch.arange(6), labels] += 0.9
    hard = -(wanted * student.log_softmax(1)).sum(1).mean()
    given = {"label_smoothing": 0.1, "weight": 0.5, "soft": soft}
    torch.testing.assert_close(distillation_loss(student, labels, None, **given), hard)
    both = distillation_loss(student, labels, teacher, **given)
    torch.testing.assert_close(both, hard + 0.5 * soft(student, teacher))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_labels_may_be_probabilities(dtype, smoothing):
    given = {"label_smoothing": smoothing, "weight": 1.0}
    student, labels = logits(11, dtype=torch.float32).to(dtype), torch.tensor([0, 1, 2, 3, 4, 0])
    hard = distillation_loss(student, labels, None, **given)
    assert hard.dtype == torch.float32
    torch.testing.assert_close(distillation_loss(student, F.one_hot(labels, 5).float(), None, **given), hard)
    mixed = 0.3 * F.one_hot(labels, 5).float() + 0.7 * F.one_hot(labels.roll(1), 5).float()
    expected = 0.3 * hard + 0.7 * distillation_loss(student, labels.roll(1), None, **given)
    torch.testing.assert_close(distillation_loss(student, mixed, None, **given), expected)


def test_soft_cross_entropy_is_the_default():
    student, teacher, labels = logits(12), logits(13), torch.zeros(6, dtype=torch.long)
    given = {"label_smoothing": 0.0, "weight": 1.0}
    default = distillation_loss(student, labels, teacher, **given)
    assert torch.equal(default, distillation_loss(student, labels, teacher, soft=soft_ce, **given))
    assert not torch.equal(default, distillation_loss(student, labels, teacher, soft=kl, **given))
