"""``models/TARGET/card.md``: what a model is, what it was measured to do, and how to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ofa.export.runtimes import RUNTIMES
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


def write_card(path: Path, values: dict[str, Any], target: str, data: dict[str, Any]) -> Path:
    """Writes the card of one target.

    Args:
        values: the run's report.
        data: ``classes``, ``mean``, ``std``, ``interpolation``, ``crop_pct``, ``channels`` and ``licence`` (or None).
    """
    found = values["targets"][target]
    verified, subnet = found["verified"], found["subnet"]
    timm_class = SearchSpace.from_dict(values["space"]).timm_class
    classes = data["classes"]
    names = ", ".join(map(markdown, classes[:_MAX_CLASSES])) + (", ..." if len(classes) > _MAX_CLASSES else "")
    parts = [
        f"# {markdown(values['name'])}: {markdown(target)}",
        f"`{verified['file']}` ({verified['bytes'] / 1024:.0f} KB) is a `{timm_class}` found by "
        f"once-for-all, subnet `{found['id']}`: {subnet['resolution']} pixels, "
        f"stages of {', '.join(map(str, subnet['depths']))} blocks, {found['predicted']['macs'] / 1e6:.2f} M "
        f"multiply-accumulates, {found['predicted']['params'] / 1e3:.0f} k parameters. `subnet.json` and "
        "`weights.safetensors` are the same network for PyTorch.",
        f"It tells {len(classes)} classes apart: {names} (`labels.txt`, in the order of the logits).",
        "## Data",
        _data(values, data, subnet["resolution"]),
        "## Accuracy",
        _accuracy(values, found),
        *_classes(values, target),
        "## Cost",
        _cost(values, target),
        "## Run it",
    ]
    given = {"resolution": subnet["resolution"], **{key: data[key] for key in ("channels", "crop_pct")}}
    given["input_type"] = verified.get("input_type")
    given |= {key: [round(float(value), 6) for value in data[key]] for key in ("mean", "std")}
    prefix = verified.get("program", {}).get("name", "model")
    runs = snippets(verified["file"], given, runtime=verified["runtime"], classes=len(classes), prefix=prefix)
    for heading, (language, code) in runs.items():
        parts += [f"{heading}:", fenced(language, code)]
    write_atomic(path, "\n\n".join(parts) + "\n")
    return path


def _data(values: dict[str, Any], data: dict[str, Any], resolution: int) -> str:
    images = values["data"]["images"]
    unknown = "not stated in the recipe (`data.licence`); ask the source before you publish"
    licence = markdown(data["licence"] or "") or unknown
    return (
        f"{markdown_line(values['data']['source'])}: {images['train']} training, {images['validation']} validation and "
        f"{images['test']} test images. Licence: {licence}.\n\n"
        "Images are seen as people see them: turned upright as their EXIF says, 8 bits a channel (of 16 the upper "
        "eight), transparency on white. They are "
        f"scaled ({data['interpolation']}, antialiased) so that the shorter side has floor({resolution} / "
        f"{data['crop_pct']:g}) pixels and the longer its share, truncated; cropped at the centre, divided by 255 and "
        f"normalised: mean {_rounded(data['mean'])}, standard "
        f"deviation {_rounded(data['std'])}."
    )


def _accuracy(values: dict[str, Any], found: dict[str, Any]) -> str:
    verified, measured, images = found["verified"], found["measured"], values["data"]["images"]
    runtime = markdown(f"{verified['runtime']} {verified['version']}")
    rows = []
    if "int8" in verified:
        rows.append(("validation", "float32, onnxruntime", verified["validation_accuracy_float32"]))
    kind = "int8" if "int8" in verified else "float32"
    rows.append(("validation", f"{kind}, {runtime}", verified["validation_accuracy"]))
    rows.append(("test", f"{kind}, {runtime}", measured["test_accuracy"]))
    lines = []
    for split, where, value in rows:
        interval = wilson(value, images[split])
        shown = f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}" if wide(interval) else ""
        lines.append(f"| {split} ({images[split]}) | {where} | {100 * value:.2f} | {shown} |")
    text = "| images | where | top-1 % | 95 % interval |\n|---|---|---|---|\n" + "\n".join(lines)
    if any(wide(wilson(value, images[split])) for split, _, value in rows):
        text += "\n\nIntervals (Wilson) say how well so few images tell an accuracy; "
        text += "those within half a point to each side are left out."
    if scorer := RUNTIMES[verified["runtime"]].scored_by:
        text += f"\n\nScored with {RUNTIMES[scorer].name}'s kernels; {_program(verified['program'])}"
    if "int8" in verified:
        used = verified["int8"]
        within = "within" if used["within"] else "MORE THAN"
        text += (
            f"\n\nQuantised on {used['calibration_images']} training images{_fewer(used)} ({markdown(used['used'])}); "
            f"the loss is {within} the {100 * used['allowed_drop']:g} points that the recipe allows."
        )
        if note := cpu_note(used):
            text += f"\n\n{note}"
    return text


def _classes(values: dict[str, Any], target: str) -> list[str]:
    """Accuracy by class and the confusion matrix, on the test images."""
    parts = []
    for table in class_tables({**values, "targets": {target: values["targets"][target]}}):
        parts += [f"### {markdown(table.title)}", markdown_table(table)]
    return parts


def _fewer(used: dict[str, Any]) -> str:
    asked = used["calibration_images_asked"]
    return f" (there are no more; {asked} were asked for)" if used["calibration_images"] < asked else ""


def _program(program: dict[str, Any]) -> str:
    if not program["verified"]:
        return f"the C program was NOT verified: {markdown(without_folders(program['reason']))}."
    return f"the C program gave the same bytes on {program['images']} images under QEMU ({program['machine']})."


def _cost(values: dict[str, Any], target: str) -> str:
    found = values["targets"][target]
    verified, machine = found["verified"], values["machine"]
    rows = []
    for cost in dict.fromkeys([*measured_costs(values), *found["limits"]]):
        known = [group.get(cost) for group in (found["limits"], found["predicted"], found["measured"])]
        if any(value is not None for value in known):
            absent = ("-", "-", missing_measurement(cost, found))
            pairs = zip(known, absent, strict=True)
            cells = " | ".join(markdown(none) if value is None else with_unit(cost, value) for value, none in pairs)
            rows.append(f"| {cost} | {cells} |")
    text = "| cost | limit | predicted | measured |\n|---|---|---|---|\n" + "\n".join(rows)
    where = f"{verified['runtime']} {verified['version']}, {verified['threads']} thread(s), {verified['cpu']}"
    text += f"\n\nOne image; {markdown(where)}; {markdown(machine['system'])}, {values['date']}."
    if note := pace_note(found["measured"]):
        text += f" When it was timed, {note}."
    if "resident_bytes" in verified:
        text += f" A process grows by {verified['resident_bytes'] / 2**20:.1f} MiB to load and run it."
    if "instructions" in RUNTIMES[verified["runtime"]].measures:
        text += " Instructions are not cycles: how long one takes depends on the chip and its memory."
    return text


def _rounded(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
