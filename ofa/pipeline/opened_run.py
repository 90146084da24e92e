"""A run folder from Python: its space, images, trained supernet, predictor and cost tables."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_run_recipe
from ofa.errors import UserError
from ofa.pipeline.artefacts.search import SearchRecord
from ofa.pipeline.manifest import RunManifest
from ofa.supernet.space import SearchSpace, Subnet

if TYPE_CHECKING:
    from torch import Tensor

    from ofa.config.target import Target
    from ofa.pipeline.job import Job
    from ofa.predictors.accuracy.predictor import AccuracyPredictor
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.supernet.supernet import Supernet

SPLITS = ("train", "validation", "test")


def open_run(folder: str | Path) -> OpenRun:
    """The run in ``folder``, to be read from Python; nothing in the folder is changed.

    It may be unfinished: what a stage has not made yet is refused when it is asked for.

    Raises ``UserError`` when ``folder`` is no run folder, or its recipe is damaged.
    """
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder}: not a run folder (it has no recipe.yaml); `ofa run RECIPE` makes one below runs/")
    return OpenRun(folder, load_run_recipe(folder))


class OpenRun:
    """What a run has made, by name. Made by ``open_run``.

    Every file is compared with what its stage wrote; ``UserError`` says which one is missing or damaged, and which
    command makes it.

    Attributes:
        folder: the run folder.
        recipe: as the run used it, with every default filled in.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self._tables: dict[tuple[str, str], CostTable] = {}

    def __repr__(self) -> str:
        return f"<ofa run {str(self.folder)!r}: targets {', '.join(self.recipe.targets)}>"

    @property
    def space(self) -> SearchSpace:
        """The search space; sizes of images are ``space.resolutions``."""
        return self.recipe.space

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return list(self._job.data.classes)

    def images(
        self, split: str, *, resolution: int | None = None, limit: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised batches, not augmented: images ``(b, channels, r, r)`` float32 and labels ``(b,)`` int64.

        They are on the device of ``supernet()``. ``train`` comes shuffled, always in the same way.

        Args:
            split: ``train``, ``validation`` or ``test``.
            resolution: ``r``; the space's largest when not given.
            limit: at most so many images, drawn evenly from the classes; all when not given.

        Raises ``UserError`` when ``split`` or a number is wrong, or the data is missing.
        """
        if split not in SPLITS:
            raise UserError(f"split is {split!r}; there are {', '.join(SPLITS)}")
        for name, value in (("resolution", resolution), ("limit", limit)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"{name} is {value!r}; give a whole number of at least 1")
        return self._job.images(split, resolution or self.space.resolutions[-1], limit=limit)

    def supernet(self) -> Supernet:
        """The trained supernet, in eval mode; ``supernet().extract(subnet)`` is a timm model to be calibrated."""
        self._check("train")
        return self._job.supernet

    def predictor(self) -> AccuracyPredictor:
        """The accuracy predictor, as fitted by the run: shares in [0, 1]."""
        self._check("predict")
        from ofa.predictors.accuracy.predictor import AccuracyPredictor

        return AccuracyPredictor.load(self.folder / "predictor")

    def cost_table(self, target: str, cost: str | None = None) -> CostTable:
        """A cost of ``target``'s device as a table: what was measured first, or the ``cost`` of that name.

        Measured is ``latency``, or of a microcontroller ``sram``, ``flash`` and ``instructions``; counted are
        ``macs``, ``params`` and ``flash``. Asked twice, it is the same object, so that it is one limit of a search.

        Raises ``UserError`` when there is no such target or cost, and when the table was measured on another machine.
        """
        tables = self._costs(target)
        name = next(iter(tables)) if cost is None else cost
        if name not in tables:
            raise UserError(f"{target} has no cost {name!r}; there are {', '.join(tables)}")
        return self._tables.setdefault((target, name), tables[name])

    def limits(self, target: str) -> dict[CostTable, float]:
        """The limits of ``target`` as the run's search used them: a number in the cost's unit for each table."""
        self._check("search")
        limits = SearchRecord.load(self.folder, self._named(target)).limits
        return {self.cost_table(target, cost): limit for cost, limit in limits.items()}

    def subnet(self, target: str) -> Subnet:
        """The network that the run chose for ``target``."""
        self._check("search")
        return SearchRecord.load(self.folder, self._named(target)).subnet

    @cached_property
    def _job(self) -> Job:
        from ofa.pipeline.job import Job

        return Job(self.recipe, self.folder)

    def _costs(self, target: str) -> dict[str, CostTable]:
        from ofa.targets.cost_files import load_tables
        from ofa.targets.deployment import deployment_of
        from ofa.targets.measuring import counted

        found = self._target(target)
        self._check("measure")
        # What was measured stands first; a measured flash replaces the counted one, as in the stage search.
        measured = load_tables(self.folder, target, found, threads=self.recipe.measure.threads)
        return measured | (counted(deployment_of(found), self.recipe.space, self._job.model_kwargs) | measured)

    def _target(self, name: str) -> Target:
        return self.recipe.targets[self._named(name)]

    def _named(self, target: str) -> str:
        if target not in self.recipe.targets:
            raise UserError(f"{self.folder} has no target {target!r}; there are {', '.join(self.recipe.targets)}")
        return target

    def _check(self, stage: str) -> None:
        """Raises ``UserError`` unless the stage is finished and its files are what it wrote."""
        remedy = f"`ofa {stage} {self.folder}` makes it"
        manifest = RunManifest(self.folder)
        if not manifest.finished(stage):
            raise UserError(f"{self.folder}: the stage {stage} is not finished; {remedy}")
        if broken := manifest.broken(stage):
            raise UserError(f"{broken[0]} is missing or damaged; {remedy} anew")
