"""Cuts the network between the two hosts of a torchrun run, and checks when each process ends and what it prints.

    sudo python benchmarks/two_hosts.py --out benchmarks/results/two_hosts.md

The hosts are two network namespaces joined by a pair of virtual cables (`ip netns`, root). One cable is taken down
while both train: packets are lost, and no connection is closed. Afterwards the same command resumes the run.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch

from ofa.pipeline import heartbeat

RECIPE = """
space:
  family: mobilenetv3
  resolutions: [12, 16]
  stem: {width: 8, first_width: 8, stride: 2}
  stages:
    - {width: 16, stride: 2, act: relu, depths: [1, 2], kernels: [3, 5], expands: [2, 3]}
  head: {width: 32, features: 32}
train: {epochs: EPOCHS, lr: 0.1, batch_size: 127, checkpoint: {steps: 5}}
targets:
  phone: {limits: {macs: 0.8x}}
"""
HOSTS, ADDRESSES, CABLES = ("ofa-a", "ofa-b"), ("10.99.7.1", "10.99.7.2"), ("ofa-va", "ofa-vb")
PATIENCE = 400


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_hosts():
    try:
        for host in HOSTS:
            ip("netns", "add", host)
        ip("link", "add", CABLES[0], "type", "veth", "peer", "name", CABLES[1])
        for host, cable, address in zip(HOSTS, CABLES, ADDRESSES, strict=True):
            ip("link", "set", cable, "netns", host)
            ip("-n", host, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", host, "link", "set", cable, "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def start(host: int, recipe: Path, folder: Path) -> subprocess.Popen:
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "1"]
    options += ["--rdzv-endpoint", f"{ADDRESSES[0]}:29517", "--local-addr", ADDRESSES[host]]
    options += ["--rdzv-conf", f"is_host={int(host == 0)}"]
    command = [sys.executable, "-m", "torch.distributed.run", *options]
    return subprocess.Popen(
        ["ip", "netns", "exec", HOSTS[host], *command, "-m", "ofa", "train", str(recipe), "--out", str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": CABLES[host]},
        stdout=(folder.parent / f"out{host}").open("a"),
        stderr=(folder.parent / f"err{host}").open("a"),
    )


def experiment() -> str:
    rows = []
    with tempfile.TemporaryDirectory() as place, two_hosts():
        recipe, folder = Path(place) / "two.yaml", Path(place) / "run"
        recipe.write_text(RECIPE.replace("EPOCHS", "300"))
        processes = [start(host, recipe, folder) for host in range(2)]
        rows_there = folder / "train" / "metrics.jsonl"
        wait(rows_there.exists, processes, place)
        ip("-n", HOSTS[1], "link", "set", CABLES[1], "down")
        cut, ended = time.monotonic(), [None, None]
        while None in ended and time.monotonic() - cut < PATIENCE:
            for host, process in enumerate(processes):
                if ended[host] is None and process.poll() is not None:
                    ended[host] = time.monotonic() - cut
            time.sleep(0.2)
        for host, process in enumerate(processes):
            process.kill()
            said = (Path(place) / f"err{host}").read_text()
            print(said[-3000:])
            found = re.findall(r"^.*?((?:stopped: |another process of this).*)$", said, re.MULTILINE)
            after = f"{ended[host]:.0f} s" if ended[host] is not None else f"not in {PATIENCE} s"
            rows.append(f"| {host} | {after} | {process.returncode} | {found[-1] if found else 'NOTHING'} |")
        kept = len(list(folder.glob("train/checkpoint-*")))
        ip("-n", HOSTS[1], "link", "set", CABLES[1], "up")
        epochs = len(rows_there.read_text().splitlines())
        processes = [start(host, recipe, folder) for host in range(2)]
        wait(lambda: len(rows_there.read_text().splitlines()) > epochs, processes, place)
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)
    return "\n".join(
        [
            "# Two hosts, the network cut in the middle of training",
            "",
            "`python benchmarks/two_hosts.py`: torchrun on two network namespaces joined by veth, one end set down "
            "while both train (packets vanish, no connection is closed).",
            "",
            f"The bound: {heartbeat.SILENT_SECONDS:.0f} s without a heartbeat, and what torchrun's agent takes then.",
            "",
            "| host | torchrun ended after | exit code | its process said |",
            "|---|---|---|---|",
            *rows,
            "",
            f"{kept} checkpoints were kept. With the network up again, the same commands went on after epoch {epochs}.",
            "",
            f"Python {platform.python_version()}, torch {torch.__version__}, Linux.",
            "",
        ]
    )


def wait(ready, processes, place: str) -> None:
    end = time.monotonic() + 180
    while not ready():
        if time.monotonic() > end or any(process.poll() is not None for process in processes):
            raise SystemExit("\n".join((Path(place) / f"err{host}").read_text()[-3000:] for host in range(2)))
        time.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = experiment()
    print(text)
    if options.out:
        options.out.write_text(text)
