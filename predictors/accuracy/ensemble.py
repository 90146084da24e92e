"""Five models of one kind, each fitted without another fifth of the networks: a mean, and how sure it is."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ofa.predictors.accuracy.features import features
from ofa.predictors.metrics import ONE_STD
from ofa.predictors.sampling import mutate
from ofa.supernet.genome import Genome

Arrays = dict[str, np.ndarray]
Kind = TypeVar("Kind", bound="Ensemble")

_MEMBERS, _QUICK_MEMBERS = 5, 3


class Ensemble:
    """The members' mean; as deviation their disagreement plus the noise that left-out networks show.

    A kind says how one member is fitted and asked. A member is a dict of arrays, so that an ensemble can be stored.
    """

    def __init__(self, space: Genome, arrays: Arrays) -> None:
        self._arrays = arrays
        self._noise = float(arrays["noise"])
        self._members = [_member(arrays, number) for number in range(int(arrays["members"]))]

    @staticmethod
    def inputs(space: Genome, codes: np.ndarray) -> np.ndarray:
        """What a member sees of canonical codes: a row each (``features.inputs_of``)."""
        return features(space, codes).astype(float)

    @staticmethod
    def fit_member(inputs: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares") -> Arrays:
        """``loss``: a key of ``kinds.LOSSES`` that the kind has."""
        raise NotImplementedError

    @staticmethod
    def predict_member(member: Arrays, inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    @classmethod
    def fit(
        cls: type[Kind],
        space: Genome,
        codes: np.ndarray,
        targets: np.ndarray,
        networks: np.ndarray,
        seed: int,
        *,
        quick: bool = False,
        loss: str = "squares",
    ) -> Kind:
        """``networks`` ``(n,)`` numbers the rows' networks from 0; ``quick`` takes three members instead of five."""
        inputs = cls.inputs(space, codes)
        count = int(networks.max()) + 1
        members = min(_QUICK_MEMBERS if quick else _MEMBERS, count)
        folds = np.random.default_rng(seed).permutation(count)[networks] % members
        arrays: Arrays = {"members": np.array(members)}
        left_out = np.empty(len(codes))
        for number in range(members):
            out = folds == number
            state = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
            member = cls.fit_member(inputs[~out], targets[~out], state, loss)
            arrays |= {f"{number}/{name}": np.array(array) for name, array in member.items()}
            left_out[out] = cls.predict_member(member, inputs[out]) - targets[out]
        # A left-out error is one member's and holds its own share of disagreement, which predict adds for each network.
        # On rows that they have seen members agree too well, so the disagreement is taken beside them.
        total = np.quantile(np.abs(left_out), ONE_STD) ** 2
        beside = cls.inputs(space, mutate(space, codes, len(codes), np.random.default_rng(seed)))
        each = [cls.predict_member(_member(arrays, number), beside) for number in range(members)]
        noise = np.sqrt(max(total - np.median(np.var(each, axis=0, ddof=1)), 0.01 * total))
        return cls(space, {**arrays, "noise": np.array(noise)})

    def predict(self, inputs: np.ndarray, *, return_std: bool) -> tuple[np.ndarray, np.ndarray | float]:
        each = np.stack([self.predict_member(member, inputs) for member in self._members])
        if not return_std:
            return each.mean(axis=0), np.nan
        # The mean of several errs less than one of them.
        return each.mean(axis=0), np.sqrt(each.var(axis=0, ddof=1) / len(each) + self._noise**2)

    def arrays(self) -> Arrays:
        return self._arrays


def _member(arrays: Arrays, number: int) -> Arrays:
    return {name.rpartition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{number}/")}
