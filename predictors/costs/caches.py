"""What the weights of a network cost that the processor's caches do not keep between two inferences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ofa.predictors.costs.parts import Part


@dataclass(frozen=True, eq=False)
class Caches:
    """A second sum over the parts of a table, of which a network has the share that its weights say.

    Of weights of ``W`` bytes, ``kept`` stay in the caches from one inference to the next; the share ``1 - kept / W`` of
    them is read from memory again, and a network that is no larger than ``kept`` runs warm.

    Attributes:
        kept: bytes, above 0.
        extra: what each part of the table costs more when its weights are in no cache; arrays like its ``costs``.
        weights: bytes of weights of each part, likewise.

    Raises ``ValueError`` when ``kept`` is no positive number.
    """

    kept: float
    extra: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if isinstance(self.kept, bool) or not (isinstance(self.kept, int | float) and 0 < self.kept < np.inf):
            raise ValueError(f"caches keep {self.kept!r} bytes; it must be a positive number")

    def parts(self, table: Sequence[Part]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """``extra`` and ``weights`` as parts of the genes of ``table``, whose parts they belong to.

        Raises ``ValueError`` when there is not one array of the same shape for each of them, or a negative weight.
        """
        both = []
        for name in ("extra", "weights"):
            arrays = tuple(np.asarray(values, np.float64) for values in getattr(self, name))
            if [values.shape for values in arrays] != [part.costs.shape for part in table]:
                raise ValueError(f"the {name} of its caches has not the shapes of its parts")
            both.append(tuple(replace(part, costs=values) for part, values in zip(table, arrays, strict=True)))
        extra, weights = both
        if any((part.costs < 0).any() for part in weights):
            raise ValueError("the weights of its caches are negative")
        return extra, weights

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        arrays = {name: [values.tolist() for values in getattr(self, name)] for name in ("extra", "weights")}
        return {"kept": self.kept, **arrays}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Caches:
        """Of what ``to_dict`` gave. Raises ``TypeError`` or ``ValueError`` for anything else."""
        extra, weights = (tuple(np.array(row, np.float64) for row in values[name]) for name in ("extra", "weights"))
        return cls(**{**values, "extra": extra, "weights": weights})


def missed(weights: Any, kept: float) -> Any:
    """The share of ``weights`` bytes that caches which keep ``kept`` bytes do not have: in [0, 1), 0 up to ``kept``.

    Of an array or a tensor.
    """
    return 1 - kept / weights.clip(kept)
