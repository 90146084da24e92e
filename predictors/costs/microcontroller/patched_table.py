"""RAM and instructions of programs that compute their first blocks in patches where that lowers the RAM."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ofa.export.microcontroller.memory import Memory
from ofa.export.microcontroller.patches import Patches
from ofa.predictors.blas import one_blas_thread
from ofa.predictors.bounds import above_zero
from ofa.predictors.costs import table_file
from ofa.predictors.costs.counts import fold_blocks, fold_ends
from ofa.predictors.costs.microcontroller import program
from ofa.predictors.costs.microcontroller.instructions import Model, instruction_fold, patch_instructions
from ofa.predictors.costs.microcontroller.patched import IMPOSSIBLE, Walk, walks
from ofa.predictors.costs.part_genes import end_genes, part_genes
from ofa.predictors.costs.parts import Part, PartLookup
from ofa.predictors.costs.table import SAVED, Table
from ofa.supernet.families.operators import parts_of_subnet
from ofa.supernet.operators import macs
from ofa.supernet.space import SearchSpace, Subnet

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4096  # codes whose costs fit the processor's caches


@dataclass(frozen=True)
class Rule:
    """What the table is counted from: with the space it is all that a file needs.

    Attributes:
        cost: ``"ram"`` or ``"instructions"``.
        weights: of ``instructions.Model``: kind, kernel and instructions a loop.
    """

    cost: Literal["ram", "instructions"]
    cpu: str
    num_classes: int
    in_chans: int
    memory: Memory
    weights: tuple[tuple[str, int, tuple[float, ...]], ...] = ()

    @property
    def model(self) -> Model:
        return Model({(kind, kernel): np.array(values) for kind, kernel, values in self.weights})

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Rule:
        """From JSON. Raises ``TypeError`` or ``ValueError`` for what is no rule."""
        weights = tuple((str(kind), int(kernel), tuple(map(float, row))) for kind, kernel, row in values["weights"])
        return cls(**{**values, "memory": Memory(**values["memory"]), "weights": weights})


class _Chosen(NamedTuple):
    """Of each network the cut and the grid of its patches (0: none), and its costs without what is always there."""

    cut: np.ndarray
    grid: np.ndarray
    arena: np.ndarray
    instructions: np.ndarray


@dataclass(frozen=True, eq=False)
class PatchedTable(Table):
    """A table of programs that need the least RAM, with patches or without.

    Of all cuts (after the stem, and after each block before the last stage) and grids that compute at most
    ``memory.overhead`` more multiply-accumulates than the network has, the one with the smallest arena is taken;
    of equal ones that with the fewest multiply-accumulates. ``parts`` are those of programs without patches.
    """

    rule: Rule = field(kw_only=True)

    @one_blas_thread
    def predict(self, codes: np.ndarray) -> np.ndarray:
        """Cost of each subnet of ``codes`` ``(n, genes)``: float64 ``(n,)``, in ``unit``."""
        costs = np.concatenate([np.empty(0), *(self._predict(chosen, part) for part, chosen in self._choices(codes))])
        return above_zero(self.intercept + self.slope * costs, self.floor)

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Raises ``ValueError``: which patches are best, and so the cost, does not follow the options gradually."""
        raise ValueError(
            f"{self.name} of programs with patches is a cost table without gradient; limit the derived network by it, "
            "or choose programs without patches (patches: false)"
        )

    def patches(self, subnet: Subnet) -> Patches | None:
        """The patches that the program of ``subnet`` has."""
        code = self.space.encode(subnet)[None]
        (_, chosen), *_ = self._choices(code)
        cut, grid = int(chosen.cut[0]), int(chosen.grid[0])
        if not grid:
            return None
        head = {"num_classes": self.rule.num_classes, "in_chans": self.rule.in_chans}
        runs = 1 + int((~self._off(code)[0, :cut]).sum())
        parts = parts_of_subnet(self.space, subnet, **head)
        return Patches(sum(len(part) for part, _ in parts[:runs]), grid)

    def save(self, path: Path) -> None:
        rule = {**asdict(self.rule), "weights": [[*row] for row in self.rule.weights]}
        values = {name: getattr(self, name) for name in SAVED} | {"rule": rule}
        table_file.write(path, self.space, self.parts, values)

    @classmethod
    def _of_file(cls, space: Any, parts: tuple[Part, ...], values: Mapping[str, Any]) -> PatchedTable:
        return cls(space=space, parts=parts, **{**values, "rule": Rule.of(values["rule"])})

    def _predict(self, chosen: _Chosen, codes: np.ndarray) -> np.ndarray:
        if self.rule.cost == "instructions":
            return chosen.instructions
        return chosen.arena + self._always[codes[:, self._resolution].astype(np.intp)]

    def _choices(self, codes: np.ndarray) -> Iterator[tuple[np.ndarray, _Chosen]]:
        for start in range(0, len(codes), _CHUNK):
            part = codes[start : start + _CHUNK]
            yield part, self._choose(part)

    def _choose(self, codes: np.ndarray) -> _Chosen:
        off = self._off(codes)
        arena, total, counted = (lookup.costs(codes) for lookup in self._lookups)

        # What the head and the blocks from each cut on cost, without patches; first of all with the stem.
        rest_arena = np.maximum.accumulate(arena[:, :0:-1], axis=1)[:, ::-1]
        rest_macs, rest_counted = (np.cumsum(part[:, :0:-1], axis=1)[:, ::-1] for part in (total, counted))
        allowed = (1 + self.rule.memory.overhead) * total.sum(1)
        best = _Chosen(
            *np.zeros((2, len(codes)), np.int64),
            np.maximum(arena[:, 0], rest_arena[:, 0]).astype(np.int64),
            counted.sum(1),
        )
        best_macs = total.sum(1)

        for walk in self._walks:
            for cut in range(len(walk.begin)):
                costs = walk.costs(codes, cut, off)
                needed = np.maximum(costs.arena, rest_arena[:, cut]).astype(np.int64)
                run = costs.macs + rest_macs[:, cut]
                better = (needed < best.arena) | ((needed == best.arena) & (run < best_macs))
                better &= (run <= allowed) & (needed < IMPOSSIBLE)
                new = (np.int64(cut), np.int64(walk.grid), needed, costs.counted + rest_counted[:, cut])
                best = _Chosen(*(np.where(better, one, other) for one, other in zip(new, best, strict=True)))
                best_macs = np.where(better, run, best_macs)
        return best

    def _off(self, codes: np.ndarray) -> np.ndarray:
        """Which blocks do not run: ``(n, blocks)``."""
        rows = part_genes(self.space)[1:]
        depths = [(row.depth_gene, row.min_option) for row in rows]
        return np.stack(
            [np.zeros(len(codes), bool) if gene is None else codes[:, gene] < least for gene, least in depths], 1
        )

    @cached_property
    def _resolution(self) -> int:
        return int(self.space.genes_of("resolution")[0])

    @cached_property
    def _always(self) -> np.ndarray:
        rule = self.rule
        return program.always(self.space, num_classes=rule.num_classes, in_chans=rule.in_chans, cpu=rule.cpu)

    @cached_property
    def _walks(self) -> list[Walk]:
        rule = self.rule
        if not rule.weights:
            document = json.dumps(self.space.to_dict())  # its keys in order, as genes are
            return _memory_walks(document, rule.in_chans, rule.memory.in_place, rule.cpu == "cortex_m55")
        count = patch_instructions(rule.model, in_place=rule.memory.in_place)
        options = {"in_chans": rule.in_chans, "in_place": rule.memory.in_place, "vectors": rule.cpu == "cortex_m55"}
        return walks(self.space, _cuts(self.space), **options, count=count)

    @cached_property
    def _lookups(self) -> tuple[PartLookup, PartLookup, PartLookup]:
        """Arena, multiply-accumulates and instructions of stem, blocks and head without patches."""
        rule, in_place = self.rule, self.rule.memory.in_place
        head = {"num_classes": rule.num_classes, "in_chans": rule.in_chans}
        arena = program.arena_folds(cpu=rule.cpu, in_place=in_place)
        run = instruction_fold(rule.model, in_place=in_place) if rule.weights else (lambda _part, sides: 0 * sides)
        rows, found = part_genes(self.space)[1:], []
        for (stem_fold, fold, head_fold), missing in ((arena, -np.inf), ((macs,) * 3, 0.0), ((run,) * 3, 0.0)):
            stem, last = fold_ends(self.space, stem_fold, head_fold, **head)
            blocks = fold_blocks(self.space, fold)
            first, end = (row.part(costs) for row, costs in zip(end_genes(self.space), (stem, last), strict=True))
            middle = [row.part(costs) for row, costs in zip(rows, blocks, strict=True)]
            found.append(PartLookup([first, *middle, end], self.space.num_options, off=missing))
        return found[0], found[1], found[2]


@lru_cache(maxsize=4)
def _memory_walks(document: str, in_chans: int, in_place: bool, vectors: bool) -> list[Walk]:
    """Of bytes alone: made once for all tables and programs of a space, since large ones take seconds."""
    space = SearchSpace.from_dict(json.loads(document))
    return walks(space, _cuts(space), in_chans=in_chans, in_place=in_place, vectors=vectors)


def ram(space: SearchSpace, *, num_classes: int, in_chans: int, cpu: str, memory: Memory) -> Table:
    """Bytes of RAM that one inference needs on ``cpu`` with ``memory``: see ``program.ram``."""
    head = {"num_classes": num_classes, "in_chans": in_chans}
    table = program.ram(space, **head, cpu=cpu, in_place=memory.in_place)
    return with_patches(table, Rule("ram", cpu, **head, memory=memory))


def with_patches(table: Table, rule: Rule) -> Table:
    """``table``, of programs without patches, as that of programs with those that ``rule`` finds."""
    if not rule.memory.patches:
        return table
    values = {name: getattr(table, name) for name in SAVED}
    return PatchedTable(space=table.space, parts=table.parts, **values, rule=rule)


def patches_of(table: Table, subnet: Subnet) -> Patches | None:
    """The patches of the program of ``subnet`` that ``table`` (of ``ram``) counts."""
    return table.patches(subnet) if isinstance(table, PatchedTable) else None


def as_weights(model: Model) -> tuple[tuple[str, int, tuple[float, ...]], ...]:
    """A model's weights as ``Rule`` has them."""
    return tuple((kind, kernel, tuple(values.tolist())) for (kind, kernel), values in model.weights.items())


def _cuts(space: SearchSpace) -> int:
    """After the stem, and after each block before the last stage, whose maps are small."""
    last = max(block.stage for block in space.blocks)
    return 1 + sum(block.stage < last for block in space.blocks)
