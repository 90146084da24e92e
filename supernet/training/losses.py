"""What a sampled network learns from: labels, and a teacher's soft labels.

A soft loss takes student and teacher logits ``(batch, classes)`` and gives a scalar, the mean over the batch. No
gradient reaches the teacher. Half precision is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_IMPORTANCE_WEIGHT = 5.0  # clip of the importance weights, as AlphaNet trains


def soft_ce(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross-entropy to the teacher's probabilities (Hinton et al., arXiv:1503.02531)."""
    return F.cross_entropy(_at_least_float32(logits), _at_least_float32(teacher_logits.detach()).softmax(dim=1))


def kl(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || student): ``soft_ce`` less the teacher's own entropy; same gradient, 0 when both agree."""
    student, teacher = _log_probabilities(logits, teacher_logits)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def alpha(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Adaptive alpha-divergence (AlphaNet, arXiv:2102.07954), so that a student neither misses nor invents a class.

    With teacher p and student q, ``D_a(p||q) = 1/(a(a-1)) sum_i q_i ((p_i/q_i)^a - 1)``. Each sample counts the larger
    of ``a = -1``, which punishes probability where the teacher has none, and ``a = 1`` (the limit, KL(p||q)), which
    punishes its lack. Both have importance weights ``(p/q)^a``, clipped at 5 in value and gradient, because their
    variance has no bound; a clipped value can be slightly below 0.
    """
    student, teacher = _log_probabilities(logits, teacher_logits)
    q = student.detach().exp()
    # In logarithms a clipped weight cannot overflow, whatever the logits.
    log_ratio = teacher - student.detach()
    log_up = log_ratio.clamp(max=math.log(MAX_IMPORTANCE_WEIGHT))
    log_down = (-log_ratio).clamp(max=math.log(MAX_IMPORTANCE_WEIGHT))
    up, down = q * log_up.exp(), q * log_down.exp()
    value_up = (up * log_up).sum(dim=1)
    value_down = (down - q).sum(dim=1) / 2

    # grad D_a = -1/a E_q[(p/q)^a grad log q]; the value's own derivative would differ where weights are clipped.
    coefficients = torch.where((value_down > value_up)[:, None], down, -up)
    slope = (coefficients * student).sum(dim=1)
    return (torch.maximum(value_up, value_down) + (slope - slope.detach())).mean()


SOFT_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"soft_ce": soft_ce, "kl": kl, "alpha": alpha}


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    *,
    label_smoothing: float,
    weight: float,
    soft: Callable[[Tensor, Tensor], Tensor] = soft_ce,
) -> Tensor:
    """Cross-entropy to the labels plus ``weight`` times ``soft`` to the teacher, if there is one; a scalar.

    ``labels`` are class indices ``(batch,)``, or probabilities ``(batch, classes)`` where images were mixed.
    """
    logits = _at_least_float32(logits)
    if labels.is_floating_point():
        labels = labels.to(logits.dtype)
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher_logits is not None:
        loss = loss + weight * soft(logits, teacher_logits)
    return loss


def _log_probabilities(logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    student = _at_least_float32(logits).log_softmax(dim=1)
    return student, _at_least_float32(teacher_logits.detach()).log_softmax(dim=1)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
