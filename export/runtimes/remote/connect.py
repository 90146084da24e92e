"""Timing on another device: a board over ssh, or a phone over adb. It runs LiteRT there; no accuracy is measured there.

``address.py`` says what an address is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ofa.export.runtimes.remote.adb import AdbLink
from ofa.export.runtimes.remote.address import valid_address
from ofa.export.runtimes.remote.link import DeviceLost, Link
from ofa.export.runtimes.remote.rounds import Plan, Rounds, Shape
from ofa.export.runtimes.remote.ssh import SshLink


def connect(address: str) -> Link:
    """The way to a device; nothing is contacted yet. Raises ``ValueError`` when it is no address."""
    if not valid_address(address):
        raise ValueError(f"{address!r} is no device; write ssh:HOST, adb or adb:SERIAL")
    kind, _, name = address.partition(":")
    if kind == "ssh":
        return SshLink(name)
    return AdbLink(name or None)


def timed(
    address: str,
    models: Sequence[tuple[Path | bytes, Shape]],
    *,
    rounds: int,
    threads: int = 1,
    cold: Collection[int] = (),
    reference: int | None = None,
    seed: int = 0,
    store: Path | None = None,
    progress: bool = True,
    on_pace: Callable[[np.ndarray], None] | None = None,
) -> np.ndarray:
    """Milliseconds ``(rounds, len(models))`` of TFLite models on the device, as ``timing.interleaved`` measures them.

    ``models``: files or their bytes with shapes (channels, height, width); one may stand there twice, once ``cold``.

    With ``store``, a file, each round is written there as it ends, and a later call with the same models, device and
    settings measures only the rounds that are missing. Rounds are keyed by their number.

    Raises ``RemoteError`` in one sentence that says what to do.
    """
    link = connect(address)
    plan = Plan.of(models, cold=cold, reference=reference, seed=seed, threads=threads)
    kept = Rounds(store, plan.key(link.environment(threads=threads)) if store else "")
    missing = kept.missing(rounds)
    show = {"total": rounds, "initial": rounds - len(missing), "unit": "round", "disable": None if progress else True}
    with tqdm(desc=f"time on {address}", **show) as bar:
        try:
            for one in link.rounds(plan, missing) if missing else ():
                kept.add(one)
                bar.update()
        except DeviceLost as error:
            done = rounds - len(kept.missing(rounds))
            also = "which are kept: connect it again, and the same command goes on" if store else "connect it again"
            raise DeviceLost(f"the device went away after {done} of {rounds} rounds, {also} ({error})") from error
    if on_pace and reference is not None:
        on_pace(kept.reference_times(rounds))
    return kept.milliseconds(rounds)
