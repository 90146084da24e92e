"""Phases of training, as data: which options are open, for how long, at which learning rate, learning from whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ofa.supernet.space import SearchSpace
from ofa.supernet.training.sampling import SAMPLERS, CandidateScorer

TEACHERS = ("none", "full", "in_place")


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        lr: the peak of its learning-rate schedule.
        subnets: networks a step, all of them counted; gradients are averaged over them.
        open: how many options of each role's genes are open, counted from the largest. A role that is not named is
            not open: it has its largest option alone. Resolutions are always open.
        sort_channels: reorder channels by importance before the phase begins.
        sampling: which networks a step runs, a key of ``sampling.SAMPLERS``.
        warmup_epochs: in which the learning rate rises linearly, of ``epochs``.
        teacher: ``"none"``: labels only. ``"full"``: also the full network as it was when the first such phase began,
            frozen, in eval mode. ``"in_place"``: the step's largest network learns from labels, the others from its
            soft labels alone (BigNAS, arXiv:2003.11142).

    Raises:
        ValueError: for an unknown sampling or teacher, or ones that do not fit each other or ``subnets``.
    """

    name: str
    epochs: int
    lr: float
    subnets: int = 1
    open: Mapping[str, int] = field(default_factory=dict)
    sort_channels: bool = False
    sampling: str = "uniform"
    teacher: str = "none"
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        where = f"phase {self.name!r}"
        if self.sampling not in SAMPLERS:
            raise ValueError(f"{where}: no sampling is called {self.sampling!r}; use {_either(SAMPLERS)}")
        if self.teacher not in TEACHERS:
            raise ValueError(f"{where}: no teacher is called {self.teacher!r}; use {_either(TEACHERS)}")
        sampling = SAMPLERS[self.sampling]
        if self.teacher == "in_place" and not sampling.largest_first:
            suitable = [name for name, other in SAMPLERS.items() if other.largest_first]
            raise ValueError(
                f"{where}: teacher 'in_place' needs the largest network in every step, which sampling "
                f"{self.sampling!r} does not give; use sampling {_either(suitable)}, or teacher 'full'"
            )
        if self.subnets < sampling.min_subnets:
            raise ValueError(
                f"{where}: sampling {self.sampling!r} needs at least {sampling.min_subnets} subnets a step, "
                f"not {self.subnets}; set subnets to {sampling.min_subnets} or more"
            )

    @property
    def trains_one_network(self) -> bool:
        """Whether nothing is open (resolutions apart)."""
        return all(count == 1 for count in self.open.values())

    def num_open(self, role: str) -> int:
        """How many options of a role are open."""
        return self.open.get(role, 1)


def all_open(space: SearchSpace) -> dict[str, int]:
    """``Phase.open`` of a phase that opens every option."""
    return {role: max(1, space.max_options(role)) for role in space.shrinking}


class Shrinking(NamedTuple):
    """How progressive shrinking opens the options of a role.

    Attributes:
        first, last: length and learning rate of the steps, as factors of the full network's; ``last`` opens the last
            option.
        subnets: of a step of training.
        at_once: whether all options are opened in one step.
        sort_channels: whether channels are sorted before each step.
    """

    first: dict[str, float]
    last: dict[str, float]
    subnets: int
    at_once: bool = False
    sort_channels: bool = False


# The published schedule (https://arxiv.org/abs/1908.09791, section 4.1), per 180 epochs of the full network at learning
# rate 2.6. It sums gradients over the sampled subnets; here they are averaged, so rates are multiplied by ``subnets``.
_KERNEL = {"epochs": 120 / 180, "lr": 0.96 / 2.6}
_FIRST_STEP = {"epochs": 25 / 180, "lr": 0.08 / 2.6}
_LAST_STEP = {"epochs": 120 / 180, "lr": 0.24 / 2.6}
_WIDTHS = Shrinking(_FIRST_STEP, _LAST_STEP, subnets=4, sort_channels=True)
SHRINKING = {
    "kernel": Shrinking(_KERNEL, _KERNEL, subnets=1, at_once=True),
    "depth": Shrinking(_FIRST_STEP, _LAST_STEP, subnets=2),
    "expand": _WIDTHS,
    "kind": _WIDTHS,
    "width": _WIDTHS,
    "heads": _WIDTHS,
    "stride": Shrinking(_FIRST_STEP, _LAST_STEP, subnets=2),
}


# Of ``auto``: which parts of the epochs the full network and the warm-up in it get, and networks a step after it.
FULL_SHARE = 0.3
WARMUP = 0.03
SUBNETS = 1


def progressive_shrinking(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """The published schedule for any space: the full network, then one role after the other, one option at a time.

    Roles come in the order of ``space.shrinking``. Every phase but the first has the full network as its teacher.

    Args:
        epochs: of the full network; the other phases keep the published ratio to it (at least one epoch each).
        lr: of the full network; likewise.
    """
    phases = [Phase("full", epochs, lr)]
    opened: dict[str, int] = {}
    for role, count in all_open(space).items():
        rule = SHRINKING[role]
        for number in range(count if rule.at_once else 2, count + 1):
            if number == 1:  # a role without a choice
                continue
            ratio = rule.last if number == count else rule.first
            opened[role] = number
            phases.append(
                Phase(
                    role if rule.at_once else f"{role}-{number}",
                    max(1, round(epochs * ratio["epochs"])),
                    lr * ratio["lr"] * rule.subnets,
                    rule.subnets,
                    open=dict(opened),
                    sort_channels=rule.sort_channels,
                    teacher="full",
                )
            )
    return tuple(phases)


def random(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """Full network, then everything open at once, uniformly sampled, with the full network as teacher.

    The second phase is as long as all later phases of ``progressive_shrinking`` together. Its four subnets a step, its
    learning rate and its channel sorting are those of that schedule's last phase of widths. A space without choices has
    the first phase alone.

    Args:
        epochs: of the full network.
        lr: of the full network; the second phase keeps the published ratio to it.
    """
    full, *later = progressive_shrinking(space, epochs=epochs, lr=lr)
    if not later:
        return (full,)
    rule = _WIDTHS
    return full, Phase(
        "random",
        sum(phase.epochs for phase in later),
        lr * rule.last["lr"] * rule.subnets,
        rule.subnets,
        open=all_open(space),
        sort_channels=any(phase.sort_channels for phase in later),
        teacher="full",
    )


def sandwich(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """One phase, everything open: largest, smallest and two random networks a step (BigNAS, arXiv:2003.11142).

    The largest learns from labels, the others from it; ``epochs`` and ``lr`` are the phase's own.
    """
    return (Phase("sandwich", epochs, lr, 4, open=all_open(space), sampling="sandwich", teacher="in_place"),)


def attentive(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """As ``sandwich``, but its two networks between are good ones of their size (AttentiveNAS, arXiv:2011.09011)."""
    return (Phase("attentive", epochs, lr, 4, open=all_open(space), sampling="best_up", teacher="in_place"),)


def auto(space: SearchSpace, *, epochs: int, lr: float) -> tuple[Phase, ...]:
    """The default: the full network, then everything open, with the full network as teacher (``everything``).

    Two phases, and few networks a step, because a training of tens of epochs has no steps to spare: at equal training
    compute more small steps were worth more than several networks in each, and than phases that open a role at a time
    (benchmarks/results/schedules.md). A single epoch has no time for a teacher: it is the second phase without one. A
    space without choices has the first phase alone.

    Args:
        epochs: of both phases together.
        lr: of both.
    """
    later = everything(space, epochs=epochs, lr=lr)
    first = Phase("full", epochs, lr, warmup_epochs=WARMUP * epochs)
    if all(count == 1 for count in later.open.values()):
        return (first,)
    if epochs == 1:
        return (replace(later, teacher="none"),)
    full = max(1, round(FULL_SHARE * epochs))
    return replace(first, epochs=full), replace(later, epochs=epochs - full)


def everything(space: SearchSpace, *, epochs: int, lr: float) -> Phase:
    """The phase of ``auto`` in which everything is open."""
    return Phase(
        "all",
        epochs,
        lr,
        SUBNETS,
        open=all_open(space),
        sort_channels=any(SHRINKING[role].sort_channels and count > 1 for role, count in all_open(space).items()),
        teacher="full",
    )


SCHEDULES: dict[str, Callable[..., tuple[Phase, ...]]] = {
    "auto": auto,
    "progressive_shrinking": progressive_shrinking,
    "random": random,
    "sandwich": sandwich,
    "attentive": attentive,
}


def min_options(space: SearchSpace, phase: Phase) -> np.ndarray:
    """The smallest option index that each gene may take in ``phase`` ``(genes,)``; resolutions are always all open."""
    smallest = np.zeros(space.num_genes, int)
    for role in space.shrinking:
        genes = space.genes_of(role)
        smallest[genes] = np.maximum(space.num_options[genes] - phase.num_open(role), 0)
    return smallest


def sample_subnets(
    space: SearchSpace, phase: Phase, *, rng: np.random.Generator, resolution: int, scorer: CandidateScorer
) -> np.ndarray:
    """Codes ``(phase.subnets, genes)`` of one step's networks, at the resolution gene's option ``resolution``."""
    sample = SAMPLERS[phase.sampling].sample
    smallest = min_options(space, phase)
    return sample(space, phase.subnets, min_options=smallest, rng=rng, resolution=resolution, scorer=scorer)


def _either(names: Iterable[str]) -> str:
    return " or ".join(repr(name) for name in names)
