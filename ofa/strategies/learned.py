"""Differentiable search among the strategies: its name, and its settings. It learns from images, as no other does."""

from __future__ import annotations

from dataclasses import dataclass

DIFFERENTIABLE = "differentiable"
HELP = "architecture parameters that learn by gradients (DARTS and its descendants)"


@dataclass(frozen=True, kw_only=True)
class LearnedSettings:
    """How architecture parameters learn; recipe keys and ``ofa.search`` have these defaults.

    Attributes:
        method: a key of ``ofa.supernet.relaxation.methods.METHODS``.
        architecture_share: of the images, that teach the architecture; the others teach the weights.
        cost_term: how limited costs are in the loss, a key of ``ofa.supernet.relaxation.objectives.COST_TERMS``.
        cost_weight: of that term.
        architecture_lr: the learning rate of the architecture parameters.
        dominance: of the choices that can skip something, the share that does above which the search stops.

    None of the last five: as the method has it; the learning rate is larger in searches of few steps.
    """

    method: str = "drnas"
    architecture_share: float | None = None
    cost_term: str | None = None
    cost_weight: float | None = None
    architecture_lr: float | None = None
    dominance: float | None = None
