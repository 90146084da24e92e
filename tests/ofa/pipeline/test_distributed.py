"""Two processes on one recipe, started by torchrun: a whole run, and what happens when one of them dies."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import distributed as dist

from ofa.pipeline import distributed
from ofa.pipeline.checkpoints import PATTERN
from ofa.stages import STAGES

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available() and hasattr(os, "fork")), reason="torch has no gloo here"
)

# Odd numbers, so that ranks have uneven shares of a batch, and the last subnet is measured by one alone.
RECIPE = """
space:
  family: mobilenetv3
  resolutions: [12, 16]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
  head: {width: 32, features: 32}
train: {epochs: 2, lr: 0.1, batch_size: 127, mixup: 0.2, ema: 0.9, eval_images: 16, checkpoint: {steps: 3}}
collect: {subnets: 11, calibration_images: 128}
measure: {rounds: 2, fit_subnets: 3, test_subnets: 3}
search: {strategy: differentiable, method: gdas, epochs: 2}
targets:
  phone: {limits: {macs: 0.8x}}
"""

# Python runs this file of PYTHONPATH when it starts. It tells what of the run folder each rank opened or changed.
SITECUSTOMIZE = """
import atexit, os, sys
if "RANK" in os.environ:
    touched = []
    def look(event, arguments):
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.listdir", "os.scandir"):
            touched.extend(str(path) for path in arguments if str(path).startswith(os.environ["WATCHED"]))
    sys.addaudithook(look)
    @atexit.register
    def tell():
        with open(os.environ["TOLD"] + os.environ["RANK"], "w") as file:
            file.write("\\n".join(touched))
"""
# The command, whose models are written in milliseconds: other tests are about them.
QUICK = """
from quick_models import quick_models
from ofa.cli import main
with quick_models():
    main()
"""
# The command, with one rank that dies, once, in the middle of the third epoch; each says who it is and where it begins.
DYING = """
import json, os, signal, time
from pathlib import Path
from ofa.cli import main
from ofa.data.loader import Data

notes, dying, how = Path(os.environ["NOTES"]), int(os.environ["DYING"]), os.environ["HOW"]
real = Data.train_batches

def batches(self, epoch, batch_size, *, start=0, rank=0, ranks=1):
    with (notes / f"rank{rank}").open("a") as file:
        file.write(json.dumps({"process": os.getpid(), "time": time.time(), "epoch": [epoch, start]}) + "\\n")
    for step, batch in enumerate(real(self, epoch, batch_size, start=start, rank=rank, ranks=ranks), start):
        if (rank, epoch, step) == (dying, 2, 5) and not (notes / "died").exists():
            (notes / "died").touch()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("enough is enough")
        yield batch

Data.train_batches = batches
main()
"""

# Each rank broadcasts bytes of its own, in all combinations; what it got is in the file of its number.
BROADCASTING = """
import sys
from itertools import product
from pathlib import Path
from ofa.pipeline import distributed

rank, contents = distributed.rank(), (None, b"", b"[]", bytes(range(256)))
with distributed.group():
    got = [(pair[0], distributed.broadcast_bytes(pair[rank])) for pair in product(contents, repeat=2)]
Path(sys.argv[1], str(rank)).write_text("".join(f"{told == heard} {told!r} {heard!r}\\n" for told, heard in got))
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "two.yaml"
    path.write_text(RECIPE)
    return path


def torchrun(*arguments, options=(), **variables):
    """Exit code, standard output, standard error."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in variables.items()}
    process = subprocess.Popen(
        [*command, *map(str, arguments)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=150)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends its workers
        pytest.fail("torchrun hangs: {}\n{}".format(*process.communicate(timeout=60)))


@pytest.fixture(scope="module")
def two(recipe, tmp_path_factory):
    """A run by two ranks: its folder, what each rank printed, and what of the folder each touched."""
    place = tmp_path_factory.mktemp("two")
    (place / "site").mkdir()
    (place / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (place / "quick.py").write_text(QUICK)
    shared = Path(__file__).parents[2] / "shared"
    paths = os.pathsep.join([str(place / "site"), str(shared), *filter(None, [os.environ.get("PYTHONPATH")])])
    code, _, err = torchrun(
        *(place / "quick.py", "run", recipe, "--out", place / "run"),
        options=["--redirects", "3", "--log-dir", str(place / "logs")],
        PYTHONPATH=paths,
        WATCHED=place / "run",
        TOLD=place / "touched",
    )
    said = [next((place / "logs").glob(f"*/attempt_0/{rank}/stdout.log")).read_text() for rank in range(2)]
    errors = [path.read_text() for path in (place / "logs").glob("*/attempt_0/*/stderr.log")]
    assert code == 0, (err, errors)
    touched = [(place / f"touched{rank}").read_text().splitlines() for rank in range(2)]
    return SimpleNamespace(folder=place / "run", said=said, touched=touched)


def metrics(folder):
    return [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]


@needs_gloo
def test_a_whole_run(two, ran):
    assert ran(two.said[0]) == list(STAGES)
    assert (two.folder / "report.html").exists() and "Discretisation gap" in (two.folder / "report.md").read_text()
    figures = metrics(two.folder)
    epochs = [("full", 1), ("full", 2), ("kernel", 1), ("depth-2", 1), ("expand-2", 1)]
    assert [(row["phase"], row["epoch"]) for row in figures] == epochs
    for row in figures:  # of both ranks: mixup takes pairs, so it leaves one image of 127 out
        assert row["images_per_second"] * row["seconds"] == pytest.approx(8 * 126)
        assert two.said[0].count(f"  {row['phase']} {row['epoch']}/") == 1


@needs_gloo
def test_both_ranks_fine_tune(two):
    record = json.loads((two.folder / "finetune" / "phone.json").read_text())
    rows = (two.folder / "finetune" / record["network"] / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == record["epochs"] >= 1
    for row in map(json.loads, rows):
        assert row["images_per_second"] * row["seconds"] == pytest.approx(8 * 127)
    assert two.said[0].count("  finetune phone 1/") == 1


@needs_gloo
def test_both_ranks_learn_the_architecture(two):
    record = json.loads((two.folder / "relax" / "phone.json").read_text())
    assert two.said[0].count("  relax phone ") == len(record["history"]) == 2
    rows = (two.folder / "relax" / record["folder"] / "metrics.jsonl").read_text().splitlines()
    for row in map(json.loads, rows):  # the weights' half of the images, of both ranks
        assert row["images_per_second"] * row["seconds"] == pytest.approx(127 * round(1092 / 2 / 127))


@needs_gloo
def test_only_rank_0_writes_and_prints(two):
    assert two.said[1] == ""
    assert any(path.endswith("weights.safetensors") for path in two.touched[0])
    assert two.touched[1] == []  # nor does it read there: it may be on another machine


@needs_gloo
def test_accuracies_are_those_of_one_process(two, call, tmp_path):
    folder = Path(shutil.copytree(two.folder, tmp_path / "run"))
    (folder / "accuracy.csv").unlink()
    code, _, err = call("collect", folder)
    assert code == 0, err
    assert (folder / "accuracy.csv").read_bytes() == (two.folder / "accuracy.csv").read_bytes()
    assert len((folder / "accuracy.csv").read_text().splitlines()) == 1 + 11


@pytest.fixture
def dying(recipe, tmp_path):
    """``dying(rank, how, *options)``: training whose ``rank`` dies, and what is left of it."""

    def run(rank, how, *options):
        script, folder = tmp_path / "dying.py", tmp_path / "run"
        script.write_text(DYING)
        code, _, err = torchrun(
            *(script, "train", recipe, "--out", folder), options=options, NOTES=tmp_path, DYING=rank, HOW=how
        )
        notes = [[json.loads(line) for line in (tmp_path / f"rank{n}").open()] for n in range(2)]
        died = (tmp_path / "died").stat().st_mtime
        return SimpleNamespace(code=code, err=err, died=died, folder=folder, notes=notes)

    return run


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@needs_gloo
def test_when_a_rank_dies_the_other_ends(dying):
    left = dying(0, "kill")
    assert left.code != 0
    assert time.time() - left.died < 60
    assert not any(alive(note["process"]) for notes in left.notes for note in notes)
    assert len(metrics(left.folder)) == 2
    assert not (left.folder / "supernet").exists()
    newest = sorted((left.folder / "train").glob(PATTERN))[-1]
    assert newest.name == "checkpoint-000000021.safetensors"  # the last before the step that it died in


@needs_gloo
def test_torchrun_restarts_after_an_exception_from_the_newest_checkpoint(dying, two):
    left = dying(1, "raise", "--max-restarts", "1")
    assert left.code == 0, left.err
    assert "Traceback (most recent call last)" in left.err
    assert "ValueError: enough is enough" in left.err
    for notes in left.notes:
        assert [note["epoch"] for note in notes] == [[0, 0], [1, 0], [2, 0], [2, 5], [3, 0], [4, 0]]
        assert len({note["process"] for note in notes}) == 2
        assert notes[3]["time"] - left.died < 60
    weights = Path("supernet") / "weights.safetensors"
    assert (left.folder / weights).read_bytes() == (two.folder / weights).read_bytes()
    assert [row["phase"] for row in metrics(left.folder)] == [row["phase"] for row in metrics(two.folder)]


@needs_gloo
def test_only_rank_0s_bytes_are_broadcast(tmp_path):
    (script := tmp_path / "broadcasting.py").write_text(BROADCASTING)
    code, _, err = torchrun(script, tmp_path)
    assert code == 0, err
    for rank in "01":
        lines = (tmp_path / rank).read_text().splitlines()
        assert len(lines) == 4 * 4
        assert [line for line in lines if not line.startswith("True")] == []


@needs_gloo
def test_a_port_left_by_a_dead_rank_0_is_not_taken(monkeypatch):
    torchruns = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    with socket.create_server(("localhost", 0)) as dead:
        torchruns.set("ofa/port", str(dead.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(torchruns.port))
    monkeypatch.setattr(distributed, "rank", lambda: int(threading.current_thread() is not threading.main_thread()))
    with ThreadPoolExecutor() as pool:
        other = pool.submit(distributed.rendezvous_store)
        time.sleep(0.3)
        assert not other.done()
        own = distributed.rendezvous_store()  # it lives as long as this name
        own.set("who", "rank 0, alive")
        assert other.result(timeout=20).get("who") == b"rank 0, alive"


# -- without torchrun -------------------------------------------------------------------------------------------------


def test_alone_nothing_is_shared():
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    with distributed.group():
        assert not dist.is_initialized()
    assert (distributed.broadcast_bytes(b"content"), distributed.broadcast_bytes(None)) == (b"content", None)
    assert distributed.gather(2.5) == [2.5]
    distributed.broadcast_stage("train")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (1, 0)),
        ({"WORLD_SIZE": "4", "RANK": "3"}, (4, 3)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, (1, 0)),
        ({"WORLD_SIZE": "4"}, (1, 0)),  # set by other tools too
    ],
)
def test_torchruns_variables(monkeypatch, variables, expected):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (distributed.world_size(), distributed.rank()) == expected


@pytest.mark.parametrize("ends", ["released", "in a shared stage", "in a stage of its own"])
def test_the_others_are_told_once_that_they_may_leave(monkeypatch, ends):
    told = []
    monkeypatch.setattr(distributed, "broadcast_stage", told.append)
    followers = distributed.Followers()
    with followers.join("train"):
        pass
    assert told == ["train"]
    if ends == "in a shared stage":  # they are in the middle of it, and would take the word for something else
        with pytest.raises(ValueError, match="enough"), followers.join("collect"):
            raise ValueError("enough")
    elif ends == "in a stage of its own":
        with pytest.raises(ValueError, match="enough"), followers.join("predict"):
            raise ValueError("enough")
    followers.release()
    followers.release()
    assert told[1:] == {"in a shared stage": ["collect"]}.get(ends, [None])
