"""What a report and a card say where the machine was not as fast as when its cost table was measured."""

from __future__ import annotations

from typing import Any

from ofa.report.units import with_unit

NOTABLE = 1.1  # times slower or faster


def changed(measured: dict[str, Any]) -> bool:
    """Whether a target's last timing was at another pace than its table's."""
    pace = measured.get("pace")
    return pace is not None and not 1 / NOTABLE <= pace <= NOTABLE


def pace_note(measured: dict[str, Any]) -> str | None:
    """One sentence on a pace that changed; ``None`` where it did not."""
    if not changed(measured):
        return None
    pace = measured["pace"]
    how = f"{pace:.2f} times slower" if pace > 1 else f"{1 / pace:.2f} times faster"
    clock, latency = (with_unit("latency", measured[key]) for key in ("latency_clock", "latency"))
    return (
        f"the machine ran {how} than when the latency table was measured (by the table's reference network, timed in "
        f"the same rounds): the clock said {clock}, which is {latency} at the table's pace"
    )


def drift_words(drift: float | None) -> str:
    """Of a cost table: how much the pace changed while it was measured; nothing where it hardly did."""
    if drift is None or drift <= NOTABLE:
        return ""
    return f"; the machine's pace changed by {drift:.2f} times meanwhile"
