"""Five networks of one supernet against the networks that an engineer would have picked by hand.

    python benchmarks/by_hand.py RESULTS --cifar10 FOLDER --fashion_mnist FOLDER [--epochs 60] [--seeds 1 2 3]
    python benchmarks/by_hand_tables.py RESULTS

Three ways to five networks of 5 to 40 million multiply-accumulates, on the whole training set:

``supernet``: one supernet, by the default schedule for twice ``--epochs``; search finds a network for each limit; each
is trained on with the full network as teacher.
``alone``: the same five networks from nothing, ``--epochs`` each.
``hand``: networks made by hand (``hand_made.py``), each with the supernet's whole compute, fine-tuning included,
divided by five, trained with the supernet's optimizer, weight decay and label smoothing, and one cosine.

Compute is the multiply-accumulates of forward and backward passes (three times a forward pass); a pass without a
backward one, the teacher's, counts a third. Accuracy on test images is not looked at before the rows are written; what
is chosen, is chosen by validation images. Rows are appended to RESULTS/rows.jsonl, supernets are kept beside them and
go on where they stopped: the same command resumes. Data and augmentation are on the device, so that a few ``--workers``
feed one GPU. ``--minutes`` ends it early.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_hand_jobs import Job, begin, read_rows, run
from hand_made import HAND_MADE
from small_images import READERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="RESULTS")
    for name in READERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"the images of {name}")
    parser.add_argument("--epochs", type=int, default=60, help="of each network trained alone; half the supernet's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--images", type=int, help="use so many of each split only, to try it out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="end after so long, finished or not")
    options = parser.parse_args()
    ends = time.time() + 60 * options.minutes

    # Images are decoded once, for all workers.
    options.out.mkdir(parents=True, exist_ok=True)
    folder, names = Path(tempfile.mkdtemp()), [name for name in READERS if getattr(options, name)]
    for name in names:
        arrays = READERS[name](getattr(options, name))
        np.savez(folder / f"{name}.npz", **{key: array[: options.images] for key, array in arrays.items()})

    # Hand-made networks need no supernet to be there; those trained alone need the search's results.
    work = {"images": folder, "out": options.out, "device": options.device, "ends": ends}
    with multiprocessing.get_context("spawn").Pool(options.workers, begin, [work]) as pool:
        of_seeds = [
            [Job(name, way, network, options.epochs, seed) for name in names for way, network in ways]
            for ways in ([("supernet", "")], [("hand", network) for network in HAND_MADE])
            for seed in options.seeds
        ]
        run_all(pool, [job for jobs in of_seeds for job in jobs], options.out)
        done = [row for row in read_rows(options.out) if row.stage == "finetuned"]
        alone = [Job(row.job["data"], "alone", row.network, options.epochs, row.job["seed"]) for row in done]
        run_all(pool, alone, options.out)


def run_all(pool: Any, jobs: Sequence[Job], out: Path) -> None:
    """Runs those that have no rows yet and appends their rows."""
    done = {json.dumps(row.job) for row in read_rows(out)}
    todo = [job for job in jobs if json.dumps(asdict(job)) not in done]
    for rows in pool.imap_unordered(run, todo):
        with (out / "rows.jsonl").open("a") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
        for row in rows:
            name = f"{row.job['data']} {row.job['way']} seed {row.job['seed']} {row.network} {row.stage}"
            print(f"{name}: {row.macs / 1e6:.1f} M, test {100 * row.test:.2f}, {row.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
