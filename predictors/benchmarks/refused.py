"""Published files that are not read, and what to do instead: a sentence for each kind."""

from __future__ import annotations

import re

_SCRIPT = (
    "Unpickling can run any program, so ofa never does: in an environment of your own, with the benchmark's own "
    "package, write a CSV file with a row a network (docs/python.md has the lines), and load that"
)


def reason(head: bytes) -> str | None:
    """Why a file that starts with ``head`` is not read, and the remedy; None for one that may be."""
    if re.match(rb"\x80[\x02-\x05]", head):
        return f"is a pickle, as HW-NAS-Bench and LightGBM surrogates of NAS-Bench-301 are published. {_SCRIPT}"
    if head.startswith(b"BZh"):
        return f"is a compressed pickle, as NATS-Bench is published. {_SCRIPT}"
    if head.startswith(b"PK") and b"data.pkl" in head:
        return f"is a torch file, as NAS-Bench-201 is published, which is a pickle inside. {_SCRIPT}"
    if head.startswith(b"binf") or b'"learner"' in head or head.startswith(b"tree\n"):
        return (
            "is a boosted-tree surrogate of NAS-Bench-301 or alike: which choice each of its inputs is stands in no "
            "such file; load the folder of its trained networks (results_*.json), or a CSV file of what it predicts"
        )
    return None
