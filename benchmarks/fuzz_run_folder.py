"""Damages every file of a run folder in many ways and runs the commands again: nothing may be lost or go unreported.

    python benchmarks/fuzz_run_folder.py --cases 200 --out benchmarks/results/fuzz_run_folder.md

There are four states of one tiny run: finished, and stopped in train, in collect and in export. A case copies one,
damages one file, and calls `ofa show` and `ofa run`. Each must end without a traceback and with exit code 0 or 2. With
0 the files must be those of the undamaged run; with 2 there must be one sentence, and no file may change. Nothing
outside the folder may be touched.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import platform
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from kill_moments import RECIPE, made, replace_the_clock

from ofa.cli import main
from ofa.pipeline.manifest import RunManifest
from ofa.pipeline.stage_inputs import all_needs
from ofa.stages import STAGE_TABLE, STAGES


def command(words: list[str], log: Path) -> tuple[int, str]:
    """Runs a command in a forked process; returns its exit code and its output."""
    child = os.fork()
    if not child:
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = 0
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, log.read_text(errors="replace")


def flip(path: Path, rng: random.Random, _: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random, _: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) or 1)])


def garbage(path: Path, rng: random.Random, _: Path) -> None:
    path.write_bytes(rng.randbytes(rng.choice([0, 1, 50, 5000])))


def delete(path: Path, _: random.Random, __: Path) -> None:
    path.unlink()


def folder(path: Path, _: random.Random, __: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path, _: random.Random, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "precious")


def deep(path: Path, _: random.Random, __: Path) -> None:
    path.write_text("[" * 100_000)


DAMAGES: dict[str, Callable[[Path, random.Random, Path], None]] = {
    "a bit flipped": flip,
    "cut short": cut,
    "garbage": garbage,
    "deleted": delete,
    "a folder in its place": folder,
    "a link in its place": link,
    "nested 100,000 deep": deep,
}


def stopped(whole: Path, place: Path, stage: str) -> Path:
    """A copy of the finished run in the state it has while ``stage`` runs."""
    copy = Path(shutil.copytree(whole, place))
    journal = RunManifest(copy)
    later = [name for name in STAGES if stage in all_needs(name)]
    for name in later:
        for path in journal.broken(name) or [copy / file for file in journal.outputs(name)]:
            path.unlink(missing_ok=True)
    for path in [copy / file for file in journal.outputs(stage)]:
        path.unlink()
    journal.forget(later)
    journal.start(stage, journal.inputs(stage))
    if stage == "train":
        last = sorted((copy / "train").glob("checkpoint-*"))[-1]
        last.unlink()
        rows = (copy / "train" / "metrics.jsonl").read_text().splitlines(keepends=True)
        (copy / "train" / "metrics.jsonl").write_text("".join(rows[:-1]))
    if stage == "collect":
        from ofa.pipeline.subnet_csv import _digest

        lines = (whole / "accuracy.csv").read_text().splitlines()[:7]
        (copy / "accuracy.csv").write_text("\n".join(lines) + "\n")
        (copy / "accuracy.digests").write_text("".join(f"{_digest(line)}\n" for line in lines[1:]))
    return copy


def contents(run: Path) -> dict[str, str]:
    return {
        path.relative_to(run).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def case(run: Path, name: str, how: str, rng: random.Random, outside: Path, expected: dict) -> tuple[str, list[str]]:
    """How the run of a case ended, and what is wrong with that."""
    costly = [file for stage in STAGES if STAGE_TABLE[stage].costly for file in made_by(run, stage)]
    valuable = {file: digest for file, digest in contents(run).items() if file in costly and file != name}
    DAMAGES[how](run / name, rng, outside)
    before, wrong, log = contents(run), [], outside / "log"
    code, text = command(["show", str(run)], log)
    if code not in (0, 2) or "Traceback" in text:
        wrong.append(f"show: exit {code}: {text[-800:]}")
    code, text = command(["run", str(run)], log)
    after = contents(run)
    if code not in (0, 2) or "Traceback" in text:
        wrong.append(f"run: exit {code}: {text[-800:]}")
    elif code == 2 and after != before and not moved_only(before, after):
        wrong.append(f"run: exit 2, yet files changed: {text[-300:]}")
    elif code == 0:
        spared = name.startswith("train/checkpoint-") and after.get(name) == before.get(name)
        if spared:  # of a training that is finished: nothing reads it any more
            (run / name).unlink(missing_ok=True)
        now = {file: value for file, value in made(run).items() if ".damaged" not in file and ".old" not in file}
        differing = sorted(file for file in now.keys() | expected.keys() if now.get(file) != expected.get(file))
        differing = [file for file in differing if not (spared and file == name)]
        # Rows of epochs that were trained before are gone with a damaged log.
        log_file = "train/metrics.jsonl"
        wrong += [f"run: {file} differs" for file in differing if name != log_file or file not in (name, "report.json")]
    lost = [file for file, digest in valuable.items() if digest not in after.values()]
    wrong += [f"lost: {file}" for file in lost if code != 0]  # else all files are those of the whole run
    if (outside / "precious").read_text() != "precious" or (outside / "precious").is_symlink():
        wrong.append("a file outside was changed")
    return ("refused in a sentence" if code == 2 else "the same files at the end"), wrong


def made_by(run: Path, stage: str) -> list[str]:
    journal = RunManifest(run)
    half = [path.relative_to(run).as_posix() for pattern in STAGE_TABLE[stage].partial for path in run.glob(pattern)]
    return [*half, *(journal.outputs(stage) if journal.finished(stage) else ())]


def moved_only(before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether all files are still there; stages before the refusal may have been repaired."""
    return set(before.values()) - set(after.values()) <= {before.get("run.json"), before.get("run.copy.json")}


def experiment(cases: int, seed: int) -> str:
    rng, table, wrong = random.Random(seed), collections.Counter(), []
    with tempfile.TemporaryDirectory() as place:
        outside, whole = Path(place) / "outside", Path(place) / "run"
        outside.mkdir()
        recipe = Path(place) / "fuzz.yaml"
        recipe.write_text(RECIPE.replace("  counted: {runtime: torch, limits: {macs: 0.8x}}\n", ""))
        code, text = command(["run", str(recipe), "--out", str(whole)], outside / "log")
        assert code == 0, text
        expected = made(whole)
        states = {"finished": whole}
        for stage in ("train", "collect", "export"):
            states[f"stopped in {stage}"] = stopped(whole, Path(place) / f"in-{stage}", stage)
        todo = [(state, name, how) for state, run in states.items() for name in contents(run) for how in DAMAGES]
        for state, run in states.items():  # undamaged, the stopped ones end as the whole one
            todo.insert(0, (state, None, None)) if run is not whole else None
        chosen = [one for one in todo if one[1] is None] + rng.sample([one for one in todo if one[1]], cases)
        for number, (state, name, how) in enumerate(chosen, 1):
            copy = Path(place) / "fuzzed" / "run"
            shutil.rmtree(copy.parent, ignore_errors=True)
            shutil.copytree(states[state], copy)
            (outside / "precious").write_text("precious")
            if name is None:
                code, text = command(["run", str(copy)], outside / "log")
                differing = [file for file in expected if made(copy).get(file) != expected[file]]
                found = [f"undamaged: exit {code} {differing} {text[-500:]}"] if code or differing else []
                ended = "the same files at the end"
            else:
                ended, found = case(copy, name, how, rng, outside, expected)
            table[state, how or "nothing", ended] += 1
            wrong += [f"{state}, {name} {how}: {one}" for one in found]
            print(number, state, name, how, ended, *found, flush=True)
    hows = ["nothing", *DAMAGES]
    ends = ("the same files at the end", "refused in a sentence")
    rows = [
        f"| {state} | {how} | " + " | ".join(str(table[state, how, end]) for end in ends) + " |"
        for state in states
        for how in hows
        if any(table[state, how, end] for end in ends)
    ]
    return "\n".join(
        [
            "# A run folder, damaged file by file",
            "",
            f"`python benchmarks/fuzz_run_folder.py --cases {cases} --seed {seed}`: `ofa show` and `ofa run` on "
            f"{len(chosen)} copies of one run, of {len(todo)} that there are (file x damage x state).",
            "",
            f"**{len(wrong)} faults**: a traceback, an exit code other than 0 and 2, other files at the end of a run "
            "that says it is finished, a file of a stage that trains or measures that is gone, a file outside touched.",
            "",
            f"| state | damage | {' | '.join(ends)} |",
            "|---|---|---|---|",
            *rows,
            "",
            *(f"- {line}" for line in wrong),
            "Refused are links, folders in a file's place, and a journal or recipe that is not whole: nothing is "
            "thrown away unasked.",
            "",
            f"Python {platform.python_version()}, torch {torch.__version__}, {platform.system()}.",
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    replace_the_clock()
    text = experiment(options.cases, options.seed)
    print(text)
    if options.out:
        options.out.write_text(text)
