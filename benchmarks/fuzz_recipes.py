"""Changes recipes at random: each must be refused in one sentence, or run through every stage.

    python benchmarks/fuzz_recipes.py load 3000
    python benchmarks/fuzz_recipes.py run 200 --log runs.jsonl

``load`` reads each recipe in a process of its own and measures its time and memory. ``run`` runs those that `ofa check`
accepts through all stages, on a few images and for a few steps. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "mutations"))

import numpy as np
import torch  # before the processes are made, which then have it already
from PIL import Image
from recipe_mutations import BOMBS, bases, mutated, text_of

from ofa import stages  # noqa: F401
from ofa.cli import main as ofa
from ofa.config.recipe import Recipe
from ofa.config.recipe_file import dump_yaml, load_recipe
from ofa.errors import UserError
from ofa.pipeline import estimate, runner, stage_checks  # noqa: F401

RUN_SECONDS, RUN_MEMORY = 400, 6 * 2**30
MAX_PIXELS, MAX_WEIGHTS = 80, 2_000_000
# What keeps a run short. A mutated value below these stays.
CAPS = {"epochs": 1, "subnets": 2, "rounds": 2, "population": 20, "generations": 2, "eval_images": 8, "workers": 1}
CAPS |= {"fit_subnets": 39, "test_subnets": 4, "calibration_images": 40, "candidates": 2, "batch": 10}
SMALL = """
space:
  resolutions: [16, 20]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
  head: {width: 32, features: 16}
train: {epochs: 1, lr: 0.05, batch_size: 8, eval_images: 8}
collect: {subnets: 10, calibration_images: 16}
measure: {rounds: 2, fit_subnets: 3, test_subnets: 3}
search: {population: 20, generations: 2}
targets: {phone: {limits: {macs: 0.8x}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "run"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="a line for each recipe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = load_all if options.what == "load" else run_all
        rows = []
        for row in work(Path(folder), options.count, random.Random(options.seed)):
            rows.append(row)
            if options.log:
                with options.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(table(rows))


def load_all(folder: Path, count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    originals, path = bases(), folder / "my.yaml"
    files = list(BOMBS.values())
    files += [text_of(mutated(rng.choice(originals), rng, changes=rng.randint(1, 3)), rng) for _ in range(count)]
    for content in files:
        path.write_bytes(content)
        yield in_a_process(lambda: _load(path), seconds=30, memory=2**40)


def _load(path: Path) -> tuple[str, str]:
    try:
        load_recipe(path)
    except UserError as error:
        return "refused", str(error)[:500]
    return "accepted", ""


def run_all(folder: Path, count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    images(folder / "images")
    path = folder / "base.yaml"
    path.write_text(SMALL)
    base = capped(load_recipe(path, overrides=[f"data.folder={folder / 'images'}"]).to_dict())
    done = 0
    while done < count:
        values = capped(mutated(base, rng, changes=rng.randint(1, 4)))
        try:
            recipe = Recipe.from_dict(values)
        except UserError:
            continue
        elsewhere = str(recipe.data.folder) != base["data"]["folder"]  # that data is missing is another question
        if recipe.to_dict() == base or elsewhere or not _runs_here(recipe):
            continue
        path = folder / f"{done}.yaml"
        path.write_text(dump_yaml(recipe.to_dict()))
        row = in_a_process(lambda path=path: _check_and_run(path), seconds=RUN_SECONDS, memory=RUN_MEMORY)
        row["changes"] = [f"{key}: {new}" for key, new in differences(base, recipe.to_dict())]
        done += 1
        yield row


def capped(values: Any) -> Any:
    """``values`` with numbers that only take time cut down."""
    if isinstance(values, list):
        return [capped(value) for value in values]
    if not isinstance(values, dict):
        return values
    found = {}
    for key, value in values.items():
        number = isinstance(value, int) and not isinstance(value, bool) and key in CAPS
        least = 10 if key == "subnets" and "calibration_images" in values else 0
        found[key] = min(value, max(CAPS[key], least)) if number else False if key == "compile" else capped(value)
    return found


def _runs_here(recipe: Recipe) -> bool:
    from ofa.predictors.costs.cost_table import CostTable

    space = recipe.space
    weights = CostTable.params(space, num_classes=3).predict(space.encode(space.largest)[None])[0]
    remote = any(target.remote for target in recipe.targets.values())
    return space.resolutions[-1] <= MAX_PIXELS and weights <= MAX_WEIGHTS and not remote


def _check_and_run(path: Path) -> tuple[str, str]:
    code, _, said = command("check", path)
    if code:
        return "refused by check" if code == 2 else "check failed", said
    code, _, said = command("run", path, "--out", path.with_suffix(""))
    if code == 0:
        return "ran", ""
    return ("refused by a stage" if code == 2 else "failed"), said


def command(*words: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            ofa([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            return 1, out.getvalue(), traceback.format_exc()[-2000:]
    return code, out.getvalue(), err.getvalue()[-2000:]


def in_a_process(work: Callable[[], tuple[str, str]], *, seconds: float, memory: int) -> dict[str, Any]:
    """The result of ``work`` in a forked process, its processor seconds, and its additional memory in bytes."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        before = resource.getrusage(resource.RUSAGE_SELF)
        if memory < 2**40:
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        try:
            outcome, said = work()
        except BaseException:
            outcome, said = "failed", traceback.format_exc()[-2000:]
        after = resource.getrusage(resource.RUSAGE_SELF)
        answer = {
            "outcome": outcome,
            "said": said,
            "seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "bytes": 1024 * (after.ru_maxrss - before.ru_maxrss),
        }
        with os.fdopen(write, "w") as file:
            json.dump(answer, file)
        os._exit(0)
    os.close(write)
    started = time.monotonic()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - started > seconds:
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(0.002 if seconds < 60 else 0.1)
    with os.fdopen(read) as file:
        text = file.read()
    return json.loads(text) if text else {"outcome": "never ended", "said": "", "seconds": seconds, "bytes": 0}


def images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for number in range(16):
            Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}")
    elif old != new:
        yield key.removeprefix("."), json.dumps(new)[:100]


def table(rows: list[dict[str, Any]]) -> str:
    counts = Counter(row["outcome"] for row in rows)
    lines = ["| outcome | recipes |", "|---|---|"]
    lines += [f"| {outcome} | {count} |" for outcome, count in counts.most_common()]
    lines += [
        "",
        f"Most processor seconds for one: {max(row['seconds'] for row in rows):.2f}; most memory beyond what ",
    ]
    lines[-1] += f"Python and torch have: {max(row['bytes'] for row in rows) / 2**20:.0f} MiB."
    return "\n".join(lines)


if __name__ == "__main__":
    main()
