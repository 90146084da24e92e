"""What a sampled subnet is trained on: the labels, and the full network's soft labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross-entropy to the teacher's probabilities, mean over the batch (Hinton et al., arXiv:1503.02531)."""
    return F.cross_entropy(logits, teacher_logits.softmax(dim=1))


def distillation_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, *, label_smoothing: float, weight: float
) -> Tensor:
    """Cross-entropy to the labels plus ``weight`` times that to the teacher, if there is one."""
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher_logits is not None:
        loss = loss + weight * soft_cross_entropy(logits, teacher_logits)
    return loss
