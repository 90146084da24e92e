"""The stage ``relax``: for each target's limits, architecture parameters learn beside a copy of the supernet's weights.

Targets with equal limits on equal cost tables share one search. It resumes from its newest checkpoint, as the stage
``train`` does; one that is finished is kept while what it was made from is the same. Training images alone teach, in
two parts. The stage ``search`` then proposes the most probable networks inside the limits. The trained supernet stays
as it is: the search's weights are of no more use.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ofa.config.relaxing import Relaxing, relaxing
from ofa.config.schedule import training_phases, training_settings
from ofa.data.architecture import SearchImages, few_images
from ofa.errors import UserError
from ofa.pipeline import checkpoints, distributed
from ofa.pipeline.artefacts.relaxation import GeneOptions, RelaxationRecord, RelaxedEpoch
from ofa.pipeline.context import Outcome
from ofa.pipeline.discretisation_gap import gap_accuracies
from ofa.pipeline.job import Job
from ofa.pipeline.manifest import RunManifest, file_digest
from ofa.pipeline.signals import catch_stop_signals, raise_for
from ofa.pipeline.stage_inputs import relaxed_from
from ofa.pipeline.threads import training_threads
from ofa.pipeline.training_log import EpochRows, epoch_line
from ofa.report.console import wrapped
from ofa.report.units import format_value
from ofa.strategies.differentiable import adapted, share_of, start
from ofa.strategies.limits import InfeasibleLimit
from ofa.strategies.proposals import probabilities_of, proposals
from ofa.supernet.relaxation.architecture import gene_names
from ofa.supernet.relaxation.figures import Collapsed, collapse
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.relaxation.saving import load_architecture, save_architecture
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.space import Subnet
from ofa.supernet.training.errors import Diverged, OutOfMemory, Stopped
from ofa.targets.limit_sets import LimitSet, limit_sets, of_json, to_json
from ofa.targets.target_costs import target_costs

FOLDER, FILE, LOG = "relax", "architecture.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Learned:
    """How a search ended: ``stopped`` says why it did so early, ``warnings`` why it should not be trusted."""

    relaxed: Relaxed
    resolution: int
    alternates: bool
    share: float
    stopped: str | None
    warnings: tuple[str, ...]


def learned_probabilities(job: Job, target: str) -> list[np.ndarray]:
    """Of each gene's options, as the stage left them for a target. Raises ``UserError`` when they are damaged."""
    record = RelaxationRecord.load(job.folder, target)
    try:
        return probabilities_of(load_architecture(job.folder / FOLDER / record.folder / FILE, job.recipe.space))
    except (ValueError, OSError) as error:
        raise UserError(f"{error}; `ofa relax {job.folder}` makes it anew") from error


def run(job: Job) -> Outcome:
    first_rank, how = distributed.rank() == 0, relaxing(job.recipe)
    wanted = _searches(job) if first_rank else []
    made_from = relaxed_from(RunManifest(job.folder), job.recipe) if first_rank else ""
    records = {search: record for search in wanted if (record := _finished(job, search, made_from))}

    # Rank 0 alone has the files that say which searches are left, and what networks cost.
    left = [search for search in wanted if search not in records]
    left = of_json(distributed.broadcast_bytes(to_json(left)))
    job.broadcast_supernet()
    for search in left:
        job.check_interrupt()
        learned = _learn(job, how, search)
        if first_rank:
            records[search] = _record(job, how, search, learned, made_from)
    if not first_rank:
        return Outcome([], "")

    # Every target has a record; checkpoints are of no more use.
    files = []
    for search in wanted:
        folder = job.folder / FOLDER / search.digest
        for path in folder.glob(checkpoints.PATTERN):
            path.unlink()
        files += [folder / FILE, *(records[search].save(job.folder, name) for name in search.targets)]
    return Outcome(files, _summary(records))


def _searches(job: Job) -> list[LimitSet]:
    """The limits of all targets, each set of them once."""
    return limit_sets(
        {name: target_costs(job.recipe, job.folder, name, job.model_kwargs).limits for name in job.recipe.targets}
    )


def _finished(job: Job, search: LimitSet, made_from: str) -> RelaxationRecord | None:
    """What an earlier start has learned for these limits, for whichever target, if it would learn the same now."""
    path = job.folder / FOLDER / search.digest / FILE
    for record in RelaxationRecord.readable(job.folder):
        alike = (record.folder, record.made_from) == (search.digest, made_from)
        if alike and path.is_file() and file_digest(path) == record.architecture:
            return record
    return None


def _learn(job: Job, how: Relaxing, search: LimitSet) -> Learned:
    """All processes learn together, on a copy of the trained supernet."""
    data, config, first_rank = job.data, job.recipe.train, distributed.rank() == 0
    folder, where = job.folder / FOLDER / search.digest, f"targets.{search.targets[0]}"
    resume = checkpoints.newest_on_every_rank(folder)
    save_checkpoint, checkpoint_due = checkpoints.writing(folder, config.checkpoint)
    epochs_before = sum(phase.epochs for phase in training_phases(job.recipe))  # augmentation goes on there
    ranks = {"rank": distributed.rank(), "ranks": distributed.world_size()}
    threads = training_threads(
        resume.values.get("threads") if resume else None, told=tqdm.write if first_rank else lambda sentence: None
    )
    log = None
    with threads.used(), catch_stop_signals() as received_signal:
        try:
            images = SearchImages(data, share=share_of(how.how), batch_size=config.batch_size)
            method = adapted(how.how, steps=how.epochs * images.steps)
            relaxed, resolution = start(
                copy.deepcopy(job.supernet), how.how, limits=search.by_table, seed=job.recipe.seed
            )
            if first_rank and images.alternates and not resume:
                tqdm.write(wrapped(few_images(data.counts["train"]), indent=10))
            if first_rank:
                log = _log(search, relaxed, how, folder, done=resume.epochs if resume else 0)
            ended = search_architecture(
                relaxed,
                method,
                lambda epoch, start: images.batches(epochs_before + epoch, start, **ranks),
                epochs=how.epochs,
                steps_per_epoch=images.steps,
                normalize=data.normalize,
                settings=training_settings(job.recipe),
                lr=how.lr,
                resolution=resolution,
                limits=search.by_table,
                max_skip_share=how.how.dominance,
                resume=resume,
                save_checkpoint=save_checkpoint if first_rank else None,
                checkpoint_due=checkpoint_due,
                on_epoch=log,
                stop=lambda: bool(received_signal()),
                threads=threads,
            )
            stopped, warnings = ended.ended, ended.collapsed
        except Stopped:
            raise_for(received_signal())
        except Collapsed as error:
            stopped, warnings = str(error), tuple(collapse(relaxed.architecture))
        except (Diverged, OutOfMemory) as error:
            raise UserError(f"{where}: differentiable search stopped: {error} (train.lr, train.batch_size)") from error
        except ValueError as error:
            raise UserError(f"{where}: search: {error}") from error
    return Learned(relaxed, resolution, images.alternates, images.share, stopped, warnings)


def _log(
    search: LimitSet, relaxed: Relaxed, how: Relaxing, folder: Path, *, done: int
) -> Callable[[dict[str, Any]], None]:
    """What keeps an epoch's figures and shows them; ``done``: epochs of an earlier start."""
    rows = EpochRows(folder / LOG, done=done)

    def log(figures: dict[str, Any]) -> None:
        chosen = _most_probable(relaxed, search).id
        # The loop counts the epochs of a stage of the method, a row those of the search.
        row = figures | {"epoch": len(rows.rows) + 1, "chosen": chosen}
        rows.append(row)
        costs = (f"{name} {format_value(name, value)}" for name, value in row["costs"].items())
        parts = [f"entropy {row['entropy']:.3f}", *costs]
        parts += [] if row["skip_share"] is None else [f"skipped {row['skip_share']:.0%}"]
        tqdm.write(epoch_line(f"relax {', '.join(search.targets)}", how.epochs, row, "  ".join([*parts, chosen])))

    return log


def _most_probable(relaxed: Relaxed, search: LimitSet) -> Subnet:
    codes = proposals(relaxed.space, probabilities_of(relaxed.architecture), search.by_table, count=1)
    return relaxed.space.decode(codes[0])


def _record(job: Job, how: Relaxing, search: LimitSet, learned: Learned, made_from: str) -> RelaxationRecord:
    """Writes the architecture parameters, and for each target the record that is returned."""
    folder, relaxed, space = job.folder / FOLDER / search.digest, learned.relaxed, job.recipe.space
    try:
        subnet = _most_probable(relaxed, search)
    except InfeasibleLimit as error:
        raise UserError(f"targets.{search.targets[0]}: {error}") from error
    save_architecture(relaxed.architecture, folder / FILE)
    rows = map(json.loads, EpochRows(folder / LOG, done=how.epochs).rows)
    names = gene_names(space.genes)
    record = RelaxationRecord(
        method=how.how.method,
        epochs=how.epochs,
        architecture_share=learned.share,
        alternates=learned.alternates,
        limits={table.name: limit for table, limit in search.by_table.items()},
        genes=tuple(
            GeneOptions(name=name, options=tuple(map(str, gene.options)))
            for name, gene in zip(names, space.genes, strict=True)
        ),
        history=tuple(map(RelaxedEpoch.model_validate, rows)),
        subnet=subnet,
        id=subnet.id,
        accuracies=gap_accuracies(job, relaxed, subnet, resolution=learned.resolution),
        stopped=learned.stopped,
        warnings=learned.warnings,
        folder=search.digest,
        architecture=file_digest(folder / FILE),
        made_from=made_from,
    )
    for name in search.targets:
        record.save(job.folder, name)
    named = ", ".join(search.targets)
    for sentence in (*([f"the search stopped early: {record.stopped}"] if record.stopped else []), *record.warnings):
        tqdm.write(wrapped(f"! {named}: {sentence}"))
    return record


def _summary(records: dict[LimitSet, RelaxationRecord]) -> str:
    texts = []
    for search, record in records.items():
        found = record.accuracies
        texts.append(
            f"{', '.join(search.targets)} {record.id}, {record.method}, relaxed {found.relaxed:.1%}, as one network "
            f"{found.calibrated:.1%} validation accuracy"
        )
    return "; ".join(texts)
