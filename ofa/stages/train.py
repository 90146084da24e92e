"""The stage ``train``: trains the supernet by the recipe's schedule; resumes from the newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ofa.config.schedule import training_phases, training_settings
from ofa.config.train import TrainConfig
from ofa.errors import UserError
from ofa.pipeline import checkpoints, distributed
from ofa.pipeline.context import Outcome
from ofa.pipeline.job import Job
from ofa.pipeline.signals import catch_stop_signals, raise_for
from ofa.pipeline.threads import training_threads
from ofa.pipeline.training_log import TrainingLog
from ofa.supernet.supernet import Supernet
from ofa.supernet.training.checkpoint import check_space
from ofa.supernet.training.errors import Diverged, OutOfMemory, Stopped, TooFewImages
from ofa.supernet.training.initial_weights import load_initial
from ofa.supernet.training.opened import save_supernet
from ofa.supernet.training.phases import Phase
from ofa.supernet.training.pretrained_weights import check_pretrained, load_pretrained
from ofa.supernet.training.weight_sharing import train_supernet


def run(job: Job) -> Outcome:
    config, data = job.recipe.train, job.data
    phases, first_rank = training_phases(job.recipe), distributed.rank() == 0

    # Every rank starts from the same weights: a checkpoint's, or initial ones.
    resume = checkpoints.newest_on_every_rank(job.folder / "train")
    net = job.new_supernet()
    if resume:
        check_space(resume, net.space)
    elif config.init:
        left_out = start_from(net, config, phases[0])
        if left_out and first_rank:
            print(f"{config.init}: all weights taken but {', '.join(left_out)}", flush=True)
    save_checkpoint, checkpoint_due = checkpoints.writing(job.folder / "train", config.checkpoint)

    # While training, signals write a checkpoint and threads are measured; rank 0 keeps the log.
    with ExitStack() as stack:
        log = stack.enter_context(TrainingLog(job, done=resume.epochs if resume else 0)) if first_rank else None
        threads = training_threads(
            resume.values.get("threads") if resume else None,
            told=log.threads_changed if log else lambda sentence: None,
            compiled=config.compile,
        )
        stack.enter_context(threads.used())
        received_signal = stack.enter_context(catch_stop_signals())
        stack.enter_context(_user_errors(job, received_signal))
        train_supernet(
            net,
            phases,
            job.train_batches,
            steps_per_epoch=data.steps(config.batch_size),
            normalize=data.normalize,
            settings=training_settings(job.recipe),
            macs=job.macs.predict,
            resume=resume,
            save_checkpoint=save_checkpoint if first_rank else None,
            checkpoint_due=checkpoint_due,
            on_epoch=log,
            stop=lambda: bool(received_signal()),
            threads=threads,
        )

    if first_rank:
        save_supernet(net, job.weights)
    broken = f", {len(data.broken)} unreadable images left out" if data.broken else ""
    epochs = sum(phase.epochs for phase in phases)
    return Outcome([job.weights], f"{epochs} epochs in {len(phases)} phases on {data.counts['train']} images{broken}")


def start_from(net: Supernet, config: TrainConfig, first: Phase, *, download: bool = True) -> list[str]:
    """Loads ``train.init`` into the network; returns the names of the weights that it lacks.

    Without ``download``, timm's pretrained weights are not loaded, but whether there are any is looked up.

    Raises ``UserError`` when the weights do not fit, or when the ``first`` phase would learn from missing ones.
    """
    try:
        if config.init == "pretrained":
            left_out = load_pretrained(net) if download else check_pretrained(net)
        else:
            left_out = load_initial(net, config.init)
    except ValueError as error:
        raise UserError(f"train.init: {error}") from error
    if left_out and first.teacher == "full":
        remedy = "take train.skip_first_phase out" if config.skip_first_phase else "give that phase another teacher"
        raise UserError(
            f"train.init: {config.init} is of a network with another number of classes than the {net.num_classes} of "
            f"the data, so {', '.join(left_out)} would be random, and phase {first.name} learns from them; {remedy}, "
            "or give weights trained on these classes"
        )
    return left_out


@contextmanager
def _user_errors(job: Job, received_signal: Callable[[], int]) -> Iterator[None]:
    """Turns what ends training early into ``UserError``, or into the exception of the signal that was received."""
    try:
        yield
    except Stopped:
        raise_for(received_signal())
    except Diverged as error:
        kept = sorted((job.folder / "train").glob(checkpoints.PATTERN))
        where = f"; the last good checkpoint is {kept[-1]}, which train.init takes" if kept else ""
        raise UserError(f"training stopped: {error} (train.lr, train.clip_grad){where}") from error
    except TooFewImages as error:
        count = job.data.counts["train"]
        raise UserError(f"training stopped: {error}, of {count} in the training split") from error
    except OutOfMemory as error:
        raise UserError(f"training stopped: {error} (train.batch_size, train.grad_accum_steps)") from error
