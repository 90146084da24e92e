"""What the accuracy of an int8 file depends on, in words for its card."""

from __future__ import annotations

from ofa.pipeline.artefacts.verification import Quantization


def cpu_note(int8: Quantization) -> str | None:
    """What a reader of the accuracy must know about the processor, from ``verify.json``'s ``int8``; None: nothing."""
    if not int8.depends_on_cpu:
        return None
    here = {True: "this processor has VNNI", False: "this processor has no VNNI", None: "this processor is no x86"}
    return (
        "The accuracy depends on the processor: on x86 without VNNI, ONNX Runtime's products of 8 bits saturate, and "
        f"the error of int8 is 2 to 5 times as large ({here[int8.cpu_has_vnni]}; with optimisations off, where no "
        f"product saturates, {100 * int8.unoptimised[int8.used]:.2f} %). `onnx: {{weights: reduced}}` in the "
        "recipe makes a file that computes alike on all."
    )
