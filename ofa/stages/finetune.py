"""The stage ``finetune``: each target's network trains further, alone, with the full network as its teacher.

Targets with one network and the same settings share one training. It resumes from its newest checkpoint, as the stage
``train`` does; a network that is finished is kept while what it was made from is the same, whatever became of others.
What is no better on the validation images is left out: the target's network then is the one that was searched.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn
from tqdm import tqdm

from ofa.config.finetuning import Finetuning, finetunings
from ofa.config.schedule import training_phases, training_settings
from ofa.errors import UserError
from ofa.pipeline import checkpoints, distributed
from ofa.pipeline.artefacts.finetuning import FinetuningRecord, Scores
from ofa.pipeline.artefacts.search import SearchRecord
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.pipeline.manifest import RunManifest, file_digest
from ofa.pipeline.signals import catch_stop_signals, raise_for
from ofa.pipeline.stage_inputs import finetuned_from
from ofa.pipeline.threads import training_threads
from ofa.pipeline.training_log import EpochRows, epoch_line
from ofa.predictors.metrics import scores
from ofa.supernet.saving import save_weights
from ofa.supernet.space import Subnet
from ofa.supernet.training.errors import Diverged, OutOfMemory, Stopped
from ofa.supernet.training.finetune import finetune

FOLDER = "finetune"


@dataclass(frozen=True)
class Training:
    """A network that is trained further, and the targets that get it."""

    subnet: Subnet
    how: Finetuning
    targets: tuple[str, ...]

    @property
    def network(self) -> str:
        return network_folder(self.subnet, self.how)


def network_folder(subnet: Subnet, how: Finetuning) -> str:
    """The name of the folder below ``finetune/`` that is of this network and these settings alone."""
    return f"{subnet.id}-{how.epochs}-{how.lr:.6g}"


def load_finetuned(job: Job, subnet: Subnet, how: Finetuning) -> nn.Module:
    """The network that the stage left for its targets, in eval mode."""
    model = job.supernet.extract(subnet)
    content = (job.folder / FOLDER / network_folder(subnet, how) / "weights.safetensors").read_bytes()
    model.load_state_dict(safetensors.torch.load(content))
    return model.eval()


def run(job: Job) -> Outcome:
    first_rank = distributed.rank() == 0
    wanted = _trainings(job) if first_rank else []
    made_from = finetuned_from(RunManifest(job.folder), job.recipe) if first_rank else ""
    records = {training: record for training in wanted if (record := _finished(job, training, made_from))}

    # Rank 0 alone has the files that say which networks are left to train.
    left = _from_rank_0([training for training in wanted if training not in records])
    job.broadcast_supernet()
    taught = left and job.recipe.train.distill_weight > 0
    teacher = job.extract_calibrated(job.recipe.space.largest) if taught else None
    for training in left:
        job.check_interrupt()
        original = job.extract_calibrated(training.subnet)
        trained = _train(job, training, copy.deepcopy(original), teacher)
        if first_rank:
            records[training] = _record(job, training, original, trained, made_from)
    if not first_rank:
        return Outcome([], "")

    # Every target has a record; checkpoints are of no more use.
    files = []
    for training in wanted:
        folder = job.folder / FOLDER / training.network
        for path in folder.glob(checkpoints.PATTERN):
            path.unlink()
        files += [
            folder / "weights.safetensors",
            *(records[training].save(job.folder, name) for name in training.targets),
        ]
    return Outcome(files, _summary(records))


def _trainings(job: Job) -> list[Training]:
    """Each network and way to train it once, in the order of the targets."""
    targets: dict[tuple[Subnet, Finetuning], list[str]] = {}
    for name, how in finetunings(job.recipe).items():
        targets.setdefault((SearchRecord.load(job.folder, name).subnet, how), []).append(name)
    return [Training(subnet, how, tuple(names)) for (subnet, how), names in targets.items()]


def _from_rank_0(trainings: list[Training]) -> list[Training]:
    rows = [(each.subnet.to_dict(), each.how, each.targets) for each in trainings]
    content = distributed.broadcast_bytes(json.dumps(rows).encode())
    return [
        Training(Subnet.from_dict(subnet), Finetuning(*how), tuple(targets))
        for subnet, how, targets in json.loads(content)
    ]


def _finished(job: Job, training: Training, made_from: str) -> FinetuningRecord | None:
    """What an earlier start has made of this network, for whichever target, if it would be made alike now."""
    weights = job.folder / FOLDER / training.network / "weights.safetensors"
    for record in FinetuningRecord.readable(job.folder):
        alike = (record.network, record.made_from) == (training.network, made_from)
        if alike and weights.is_file() and file_digest(weights) == record.weights:
            return record
    return None


def _train(job: Job, training: Training, model: nn.Module, teacher: nn.Module | None) -> nn.Module | str:
    """``model``, trained in place by all processes; or where it diverged."""
    data, config, subnet = job.data, job.recipe.train, training.subnet
    folder, first_rank = job.folder / FOLDER / training.network, distributed.rank() == 0
    resume = checkpoints.newest_on_every_rank(folder)
    save_checkpoint, checkpoint_due = checkpoints.writing(folder, config.checkpoint)
    log = _log(training, folder, done=resume.epochs if resume else 0) if first_rank else None

    # Augmentation goes on where the supernet's ended.
    epochs_before = sum(phase.epochs for phase in training_phases(job.recipe))
    threads = training_threads(
        resume.values.get("threads") if resume else None, told=tqdm.write if first_rank else lambda sentence: None
    )
    with threads.used(), catch_stop_signals() as received_signal:
        try:
            finetune(
                model,
                teacher,
                lambda epoch, start: job.train_batches(epochs_before + epoch, start),
                epochs=training.how.epochs,
                steps_per_epoch=data.steps(config.batch_size),
                lr=training.how.lr,
                resolution=subnet.resolution,
                teacher_resolution=job.recipe.space.largest.resolution,
                normalize=data.normalize,
                settings=training_settings(job.recipe),
                resume=resume,
                save_checkpoint=save_checkpoint if first_rank else None,
                checkpoint_due=checkpoint_due,
                on_epoch=log,
                stop=lambda: bool(received_signal()),
                threads=threads,
            )
        except Stopped:
            raise_for(received_signal())
        except Diverged as error:
            return str(error)
        except OutOfMemory as error:
            text = f"targets.{training.targets[0]}: fine-tuning stopped: {error} (train.batch_size)"
            raise UserError(text) from error
    return model


def _log(training: Training, folder: Path, *, done: int) -> Callable[[dict[str, Any]], None]:
    """What keeps an epoch's figures and shows them; ``done``: epochs of an earlier start."""
    rows = EpochRows(folder / "metrics.jsonl", done=done)

    def log(figures: dict[str, Any]) -> None:
        rows.append(figures)
        tqdm.write(epoch_line(f"finetune {', '.join(training.targets)}", training.how.epochs, figures))

    return log


def _record(
    job: Job, training: Training, original: nn.Module, trained: nn.Module | str, made_from: str
) -> FinetuningRecord:
    """Writes the better of two networks, and for each target the record that is returned."""
    subnet, path = training.subnet, job.folder / FOLDER / training.network / "weights.safetensors"
    before, outcome, kept = _scores(job, original, subnet), {"diverged": trained}, False
    if not isinstance(trained, str):
        after = _scores(job, job.calibrated(trained, subnet.resolution), subnet)
        outcome, kept = {"after": after}, _better(after, before)
    save_weights(trained if kept else original, path)
    record = FinetuningRecord(
        id=subnet.id,
        network=training.network,
        epochs=training.how.epochs,
        lr=training.how.lr,
        kept=kept,
        before=before,
        **outcome,
        weights=file_digest(path),
        made_from=made_from,
    )
    for name in training.targets:
        record.save(job.folder, name)
    return record


def _scores(job: Job, model: nn.Module, subnet: Subnet) -> Scores:
    accuracy, loss, _ = scores(model, job.images("validation", subnet.resolution))
    return Scores(accuracy=accuracy, loss=loss)


def _better(one: Scores, other: Scores) -> bool:
    """More accurate; of equal accuracies, as few images give them, that with the lower cross-entropy."""
    return (one.accuracy, -one.loss) > (other.accuracy, -other.loss)


def _summary(records: dict[Training, FinetuningRecord]) -> str:
    """One line of what changed."""
    if not records:
        return "no target asks for it"
    texts = []
    for training, record in records.items():
        change = f"{record.before.accuracy:.1%} to {record.after.accuracy:.1%}" if record.after else "diverged"
        texts.append(f"{', '.join(training.targets)} {change}{'' if record.kept else ' (not kept)'}")
    return f"validation accuracy: {'; '.join(texts)}"
