"""A controller that learns by REINFORCE which choices pay (NASNet, arXiv:1707.07012; MnasNet, arXiv:1807.11626)."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ofa.strategies.archive import Archive, rounds
from ofa.strategies.candidates import first_generation, gather
from ofa.strategies.problem import Problem
from ofa.strategies.settings import SearchSettings, setting
from ofa.supernet.genome import DTYPE

if TYPE_CHECKING:
    import torch

    from ofa.strategies.controllers import Controller

_REMEMBERED = 100  # last rewards that a new one is compared with
_WARMER = 1.5  # times the temperature of each further draw for one generation: a sure controller repeats itself


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings(SearchSettings):
    """Those of ``reinforce``."""

    controller_units: int | None = setting(
        None, 1, 4096, "Units of a recurrent controller of strategy reinforce; null: each choice is drawn on its own."
    )
    controller_lr: float = setting(0.3, 1e-6, 10, "Learning rate of the controller of strategy reinforce.")
    controller_entropy: float = setting(0.01, 0, 10, "Weight of the entropy of what that controller draws.")
    cost_exponent: float = setting(
        0.0, -10, 0, "Exponent w of the reward of reinforce, accuracy x (cost / limit)^w; MnasNet: -0.07."
    )


def reinforce(problem: Problem, settings: ReinforceSettings) -> Archive:
    """Draws each generation from a controller, and makes what scored above average more probable.

    The reward is MnasNet's, ``score x (cost / limit)^w`` for every limit; by default ``w`` is 0, as there for hard
    limits. Infeasible draws are drawn again and teach nothing. The first generation is random, like everyone's, and
    teaches too. Of the genes that a code's other choices switch off nothing is learnt.
    """
    import torch

    from ofa.strategies.controllers import Factorised, Recurrent

    archive, learnt = first_generation(problem, settings.population), 0
    options = problem.space.num_options.tolist()
    generator = torch.Generator().manual_seed(problem.seed)
    units = settings.controller_units
    controller = Recurrent(options, units, generator) if units else Factorised(options)
    optimizer = torch.optim.Adam(controller.parameters(), lr=settings.controller_lr)

    for rng in rounds(problem, settings, archive):
        codes, scores, costs = archive.networks()
        rewards = scores * ((costs / problem.limits) ** settings.cost_exponent).prod(axis=1)
        advantages = (rewards[learnt:] - rewards[-_REMEMBERED:].mean()) / (rewards[-_REMEMBERED:].std() or 1.0)
        active = problem.space.active_genes(codes[learnt:])
        loss = _loss(controller, codes[learnt:], active, advantages, settings.controller_entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        temperatures = itertools.accumulate(itertools.repeat(_WARMER), operator.mul, initial=1.0)

        def draw(count: int, temperatures: Iterator[float] = temperatures) -> np.ndarray:
            with torch.no_grad():
                codes = controller.sample(count, next(temperatures), generator)
            return problem.space.canonical(codes.numpy().astype(DTYPE))

        found = gather(problem, archive, settings.population, rng, draw)
        if not len(found.codes):
            break
        learnt = len(codes)
        archive.add(*found)
    return archive


def _loss(
    controller: Controller, codes: np.ndarray, active: np.ndarray, advantages: np.ndarray, entropy_weight: float
) -> torch.Tensor:
    """Of the policy gradient, with the entropy of the active genes; the advantages are those of the codes ``(n,)``."""
    import torch

    drawn = torch.from_numpy(codes.astype(np.int64))
    log_probabilities = controller.log_probabilities(drawn)
    chosen = log_probabilities.gather(2, drawn[:, :, None])[:, :, 0]
    finite = log_probabilities.clamp(min=-1e9)
    entropy = -(finite.exp() * finite).sum(dim=2)
    gains = torch.from_numpy(advantages)[:, None] * chosen + entropy_weight * entropy
    return -(gains * torch.from_numpy(active)).sum(dim=1).mean()
