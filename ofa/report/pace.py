"""What a report and a card say where the machine was not as fast as when its cost table was measured."""

from __future__ import annotations

from ofa.pipeline.artefacts.report import Measured
from ofa.report.units import with_unit

NOTABLE = 1.1  # times slower or faster


def changed(measured: Measured) -> bool:
    """Whether a target's last timing was at another pace than its table's."""
    return measured.pace is not None and not 1 / NOTABLE <= measured.pace <= NOTABLE


def pace_note(measured: Measured) -> str | None:
    """One sentence on a pace that changed; ``None`` where it did not."""
    if not changed(measured):
        return None
    pace = measured.pace
    how = f"{pace:.2f} times slower" if pace > 1 else f"{1 / pace:.2f} times faster"
    clock, latency = (with_unit("latency", time) for time in (measured.latency_clock, measured.cost("latency")))
    return (
        f"the machine ran {how} than when the latency table was measured (by the table's reference network, timed in "
        f"the same rounds): the clock said {clock}, which is {latency} at the table's pace"
    )


def drift_words(drift: float | None) -> str:
    """Of a cost table: how much the pace changed while it was measured; nothing where it hardly did."""
    if drift is None or drift <= NOTABLE:
        return ""
    return f"; the machine's pace changed by {drift:.2f} times meanwhile"
