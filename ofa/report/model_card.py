"""``models/TARGET/card.md``: what a model is, what it was measured to do, and how to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ofa.export.runtimes import RUNTIMES
from ofa.pipeline.artefacts.evaluation import Evaluation, Preprocessing
from ofa.pipeline.artefacts.finetuning import Finetuned
from ofa.pipeline.artefacts.report import Report, TargetReport
from ofa.pipeline.artefacts.verification import Quantization, Verified
from ofa.report.card_snippets import snippets
from ofa.report.classes import class_tables
from ofa.report.escape import fenced, markdown, markdown_line, without_folders
from ofa.report.int8_note import cpu_note
from ofa.report.intervals import wide, wilson
from ofa.report.pace import pace_note
from ofa.report.text import markdown_table
from ofa.report.units import measured_costs, missing_measurement, with_unit
from ofa.supernet.files import write_atomic
from ofa.supernet.space import SearchSpace

_MAX_CLASSES = 20


def write_card(folder: Path, report: Report, target: str, evaluation: Evaluation, *, licence: str | None) -> Path:
    """Writes ``models/TARGET/card.md`` of a run folder; ``licence`` is that of the data, where the recipe states it."""
    path = folder / "models" / target / "card.md"
    write_atomic(path, render_card(report, target, evaluation, licence=licence))
    return path


def render_card(report: Report, target: str, evaluation: Evaluation, *, licence: str | None) -> str:
    """The card of one target."""
    chosen, classes = report.targets[target], evaluation.classes
    verified, subnet, predicted = chosen.verified, chosen.subnet, chosen.predicted
    # A report of an older version lacks the space.
    timm_class = SearchSpace.from_dict(report.space).timm_class if report.space else "timm model"
    names = ", ".join(map(markdown, classes[:_MAX_CLASSES])) + (", ..." if len(classes) > _MAX_CLASSES else "")
    parts = [
        f"# {markdown(report.name)}: {markdown(target)}",
        f"`{verified.file}` ({verified.bytes / 1024:.0f} KB) is a `{timm_class}` found by "
        f"once-for-all, subnet `{chosen.id}`: {subnet.resolution} pixels, "
        f"stages of {', '.join(map(str, subnet.depths))} blocks, {predicted.cost('macs') / 1e6:.2f} M "
        f"multiply-accumulates, {predicted.cost('params') / 1e3:.0f} k parameters. `subnet.json` and "
        "`weights.safetensors` are the same network for PyTorch.",
        f"It tells {len(classes)} classes apart: {names} (`labels.txt`, in the order of the logits).",
        "## Data",
        _data(report, evaluation.preprocessing, licence, subnet.resolution),
        "## Accuracy",
        _accuracy(report, chosen),
        *_classes(report, target),
        "## Cost",
        _cost(report, chosen),
        "## Run it",
        *_code(chosen, evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _data(report: Report, pixels: Preprocessing, licence: str | None, resolution: int) -> str:
    images = report.data.images
    unknown = "not stated in the recipe (`data.licence`); ask the source before you publish"
    return (
        f"{markdown_line(report.data.source)}: {images['train']} training, {images['validation']} validation and "
        f"{images['test']} test images. Licence: {markdown(licence or '') or unknown}.\n\n"
        "Images are seen as people see them: turned upright as their EXIF says, 8 bits a channel (of 16 the upper "
        "eight), transparency on white. They are "
        f"scaled ({pixels.interpolation}, antialiased) so that the shorter side has floor({resolution} / "
        f"{pixels.crop_pct:g}) pixels and the longer its share, truncated; cropped at the centre, divided by "
        f"255 and normalised: mean {_rounded(pixels.mean)}, standard "
        f"deviation {_rounded(pixels.std)}."
    )


def _accuracy(report: Report, target: TargetReport) -> str:
    verified, measured, images = target.verified, target.measured, report.data.images
    runtime = markdown(f"{verified.runtime} {verified.version}")
    kind = "int8" if verified.int8 else "float32"

    # One row a measurement, with its interval where so few images make that wide.
    rows = [("validation", "float32, onnxruntime", verified.validation_accuracy_float32)] if verified.int8 else []
    rows.append(("validation", f"{kind}, {runtime}", verified.validation_accuracy))
    rows.append(("test", f"{kind}, {runtime}", measured.test_accuracy))
    lines = ["| images | where | top-1 % | 95 % interval |", "|---|---|---|---|"]
    intervals = [wilson(accuracy, images[split]) for split, _, accuracy in rows]
    for (split, where, accuracy), interval in zip(rows, intervals, strict=True):
        shown = f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}" if wide(interval) else ""
        lines.append(f"| {split} ({images[split]}) | {where} | {100 * accuracy:.2f} | {shown} |")

    paragraphs = ["\n".join(lines)]
    if any(map(wide, intervals)):
        paragraphs.append(
            "Intervals (Wilson) say how well so few images tell an accuracy; those within half a point to each side "
            "are left out."
        )
    spec = RUNTIMES.get(verified.runtime)  # of an unknown one there is nothing to say
    if spec and spec.scored_by:
        program = verified.program
        if program.verified:
            result = f"gave the same bytes on {program.images} images under QEMU ({program.machine})"
        else:
            result = f"was NOT verified: {markdown(without_folders(program.reason))}"
        paragraphs.append(f"Scored with {RUNTIMES[spec.scored_by].name}'s kernels; the C program {result}.")
    if verified.finetuned:
        paragraphs.append(_finetuned(verified.finetuned))
    if verified.int8:
        paragraphs += _quantization(verified.int8)
    return "\n\n".join(paragraphs)


def _finetuned(found: Finetuned) -> str:
    """What training the network further has changed."""
    before = f"{100 * found.before.accuracy:.2f} %"
    trained = f"After the search it was trained for {found.epochs} epochs more, with the full network as its teacher"
    if not found.after:
        return f"{trained}, which diverged: this is the network before it."
    after = f"{100 * found.after.accuracy:.2f} %"
    if found.kept:
        return f"{trained}: in float32 its validation accuracy was {before} before and {after} after."
    return (
        f"{trained}, which was no better ({after} validation accuracy, {before} before): this is the network before it."
    )


def _quantization(int8: Quantization) -> list[str]:
    """How the file was quantised, and whether it lost more than it may."""
    within = "within" if int8.within else "MORE THAN"
    requested = int8.calibration_images_asked
    fewer = f" (there are no more; {requested} were asked for)" if int8.calibration_images < requested else ""
    text = (
        f"Quantised on {int8.calibration_images} training images{fewer} ({markdown(int8.used)}); "
        f"the loss is {within} the {100 * int8.allowed_drop:g} points that the recipe allows."
    )
    if int8.trained:
        (other, accuracy), training = int8.untrained, int8.training
        text += (
            f" However the network was quantised before, it lost more: float32 had {100 * training.float32_before:.2f} "
            f"%, int8 at best {100 * accuracy:.2f} % ({markdown(other)}). So it was trained for {training.epochs} "
            "epochs more as int8 computes it; weights.safetensors and model.onnx are of the network after that."
        )
    if int8.not_trained:
        text += f" {markdown(int8.not_trained)}."
    return [text, *([note] if (note := cpu_note(int8)) else [])]


def _classes(report: Report, target: str) -> list[str]:
    """Accuracy by class and the confusion matrix, on the test images."""
    alone = report.model_copy(update={"targets": {target: report.targets[target]}})
    parts = []
    for table in class_tables(alone):
        parts += [f"### {markdown(table.title)}", markdown_table(table)]
    return parts


def _cost(report: Report, target: TargetReport) -> str:
    verified: Verified = target.verified
    lines = ["| cost | limit | predicted | measured |", "|---|---|---|---|"]
    for cost in dict.fromkeys([*measured_costs(report), *target.limits]):
        known = [target.limits.get(cost), target.predicted.cost(cost), target.measured.cost(cost)]
        if any(value is not None for value in known):
            absent = ("-", "-", missing_measurement(cost, target))
            pairs = zip(known, absent, strict=True)
            cells = " | ".join(markdown(none) if value is None else with_unit(cost, value) for value, none in pairs)
            lines.append(f"| {cost} | {cells} |")

    where = f"{verified.runtime} {verified.version}, {verified.threads} thread(s), {verified.cpu}"
    text = f"One image; {markdown(where)}; {markdown(report.machine.system)}, {report.date}."
    if note := pace_note(target.measured):
        text += f" When it was timed, {note}."
    if verified.resident_bytes is not None:
        text += f" A process grows by {verified.resident_bytes / 2**20:.1f} MiB to load and run it."
    if verified.runtime in RUNTIMES and "instructions" in RUNTIMES[verified.runtime].measures:
        text += " Instructions are not cycles: how long one takes depends on the chip and its memory."
    return "\n".join(lines) + f"\n\n{text}"


def _code(target: TargetReport, evaluation: Evaluation) -> list[str]:
    """For each language the lines that run the model."""
    verified, pixels = target.verified, evaluation.preprocessing
    # What an image becomes, as the templates of code name it.
    preprocessing: dict[str, Any] = {
        "resolution": target.subnet.resolution,
        "channels": pixels.channels,
        "crop_pct": pixels.crop_pct,
        "input_type": verified.input_type,
        "mean": [round(value, 6) for value in pixels.mean],
        "std": [round(value, 6) for value in pixels.std],
    }
    prefix = verified.program.name if verified.program else "model"
    runs = snippets(
        verified.file, preprocessing, runtime=verified.runtime, classes=len(evaluation.classes), prefix=prefix
    )
    parts = []
    for heading, (language, code) in runs.items():
        parts += [f"{heading}:", fenced(language, code)]
    return parts


def _rounded(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
