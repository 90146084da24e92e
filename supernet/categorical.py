"""Search spaces that are just a list of choices, as tabulated benchmarks have them: no stages, no depth, no network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ofa.supernet.genome import MAX_OPTIONS, Gene, Genome

_FAMILY = "categorical"


class CategoricalSpace(Genome):
    """Independent choices, gene ``i`` among ``option_counts[i]`` options that have no order.

    Predictors and searches can so be judged on tables of networks that others have trained. Every code is canonical: no
    choice switches another one off. A network is a tuple of integers, one option a gene.

    ``roles`` names what each gene chooses ("kernel", "expand"); genes of one role have the same options in the same
    order, so that a predictor can count how often an option is chosen in the whole network. Default: no two genes have
    anything in common.
    """

    def __init__(self, option_counts: Sequence[int], *, roles: Sequence[str] | None = None) -> None:
        """Raises ``ValueError`` for counts that are no choice or do not fit a code, and for roles that disagree."""
        counts = [int(count) for count in option_counts]
        if not counts or min(counts) < 1 or max(counts) > MAX_OPTIONS:
            raise ValueError(f"option_counts {counts}: give each gene between 1 and {MAX_OPTIONS} options")
        names = [f"gene {gene}" for gene in range(len(counts))] if roles is None else [str(role) for role in roles]
        if len(names) != len(counts):
            raise ValueError(f"{len(names)} roles for {len(counts)} genes; give one role a gene")
        for role in set(names):
            found = sorted({count for count, name in zip(counts, names, strict=True) if name == role})
            if len(found) > 1:
                raise ValueError(f"genes of the role {role!r} have {found} options; split it into one role each")
        self._counts = tuple(counts)
        self.roles = tuple(names)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        choices = zip(self.roles, self._counts, strict=True)
        return tuple(Gene(role, tuple(range(count)), ordered=False) for role, count in choices)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CategoricalSpace:
        """Raises ``ValueError`` that names the missing or unknown key."""
        expected = {"family", "option_counts", "roles"}
        if set(values) != expected:
            wrong = sorted(set(values) ^ expected)
            raise ValueError(f"a space has exactly the keys {sorted(expected)}; missing or unknown: {wrong}")
        if values["family"] != _FAMILY:
            raise ValueError(f"family is {values['family']!r}; this class reads {_FAMILY!r}")
        return cls(values["option_counts"], roles=values["roles"])

    def to_dict(self) -> dict[str, Any]:
        return {"family": _FAMILY, "option_counts": list(self._counts), "roles": list(self.roles)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CategoricalSpace) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self._counts, self.roles))

    def __repr__(self) -> str:
        return f"CategoricalSpace({list(self._counts)})"

    def encode(self, network: Sequence[int]) -> np.ndarray:
        """The code ``(genes,)`` of one option a gene. Raises ``ValueError`` naming the gene that is wrong."""
        choices = [int(choice) for choice in network]
        for gene, (choice, count) in enumerate(zip(choices, self._counts, strict=False)):
            if not 0 <= choice < count:
                raise ValueError(f"choices[{gene}] is {choice}; this space allows 0 to {count - 1}")
        return super().encode(choices)
