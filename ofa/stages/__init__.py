"""The stages of a run, in order: the one table of what each does, reads and leaves.

What a stage does is ``run(job)`` of the module of its name in this package. The table itself imports nothing, so that
``ofa run`` with nothing to do ends at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage does, what it is made from, and what it leaves.

    Attributes:
        help: one sentence, for the command line.
        sections: all of the recipe that it reads; ``finetuning``, ``relaxing`` and ``runtimes`` are what the targets
            say of it, and several sections together.
        needs: stages whose files it reads.
        splits: whose images it reads.
        partial: files that an interrupted stage leaves, and a later start goes on from.
        logs: files that grow while it runs.
        costly: whether it trains or measures for long. What such a stage made is never discarded without ``--update``.
            The other stages run again whenever something that they read has changed: in seconds, but for ``finetune``,
            which keeps each network that it would train alike.
        shared: whether all processes of torchrun do it together.
        renders: whether it only shows what files of other stages say: it is given no images and imports no torch.
        optional: whether a recipe can leave it out (``ofa.pipeline.stage_inputs.stages_of``).
    """

    help: str
    sections: tuple[str, ...]
    needs: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    costly: bool = False
    shared: bool = False
    renders: bool = False
    optional: bool = False


STAGE_TABLE: dict[str, Stage] = {
    "train": Stage(
        help="Train the supernet.",
        sections=("seed", "space", "data", "train"),
        splits=("train",),
        partial=("train/checkpoint-*.safetensors", "train/metrics.jsonl"),
        logs=("train/metrics.jsonl",),
        costly=True,
        shared=True,
    ),
    "collect": Stage(
        help="Measure the validation accuracy of sampled subnets.",
        sections=("seed", "space", "data", "collect"),
        needs=("train",),
        splits=("train", "validation"),
        partial=("accuracy.csv", "accuracy.digests"),
        costly=True,
        shared=True,
    ),
    "predict": Stage(
        help="Fit the accuracy predictor to the measured subnets.",
        sections=("seed", "space", "predictor"),
        needs=("collect",),
    ),
    "measure": Stage(
        help="Time the space's blocks on each target's runtime.",
        sections=("seed", "space", "data", "measure", "runtimes"),
        costly=True,
    ),
    "relax": Stage(
        help="Learn architecture parameters for each target's limits (differentiable search).",
        sections=("seed", "space", "data", "train", "collect", "relaxing", "runtimes"),
        needs=("train", "measure"),
        splits=("train", "validation"),
        partial=("relax/*/checkpoint-*.safetensors",),
        costly=True,
        shared=True,
        optional=True,
    ),
    "search": Stage(
        help="Search the best subnet inside each target's limits.",
        sections=("seed", "space", "data", "collect", "search", "targets"),
        needs=("train", "collect", "predict", "measure", "relax"),
        splits=("train", "validation"),
    ),
    "finetune": Stage(
        help="Train each target's network further.",
        sections=("seed", "space", "data", "train", "collect", "finetuning"),
        needs=("train", "search"),
        splits=("train", "validation"),
        partial=("finetune/*/checkpoint-*.safetensors",),
        shared=True,
        optional=True,
    ),
    "export": Stage(
        help="Write, verify and measure each target's model.",
        sections=("space", "data", "collect", "targets"),
        needs=("train", "search", "finetune"),
        splits=("train", "validation"),
    ),
    "evaluate": Stage(
        help="Time each target's model and score it on the test images.",
        sections=("data", "measure", "runtimes"),
        needs=("measure", "search", "export"),
        splits=("train", "validation", "test"),
    ),
    "report": Stage(
        help="Write the report and the model cards of what was measured.",
        sections=("name", "data"),
        needs=("predict", "measure", "relax", "search", "export", "evaluate"),
        renders=True,
    ),
}
STAGES = tuple(STAGE_TABLE)
