"""Several processes on one recipe, started by torchrun: ``torchrun --nproc-per-node 2 -m ofa run RECIPE``.

Rank 0 does what a single process does: it keeps the run folder, prints, and decides which stages run. The others take
part in the stages that are shared, and leave after the last of them.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from ofa.errors import UserError
from ofa.pipeline.heartbeat import watched
from ofa.stages import STAGE_TABLE

if TYPE_CHECKING:
    import torch
    from torch import distributed as dist

SHARED_STAGES = tuple(name for name, stage in STAGE_TABLE.items() if stage.shared)
_LEAVE = -1
# To find each other.
_PATIENCE = timedelta(minutes=30)
# Rank 0 measures accuracies between two epochs, and searches before the last shared stage, while the others wait. A
# rank that died is noticed at once, by its closed connection; one that is out of reach within a minute, by its missing
# heartbeat.
_LONGEST_STAGE = timedelta(days=7)


def world_size() -> int:
    """How many torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def rank() -> int:
    """This process's number; 0 without torchrun."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def device() -> torch.device:
    """This process's own GPU, or the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0)


@contextmanager
def group() -> Iterator[None]:
    """The processes joined; alone, nothing happens."""
    if world_size() == 1:
        yield
        return
    import torch
    from torch import distributed as dist

    if (own := device()).type == "cuda":
        torch.cuda.set_device(own)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        place = {"store": rendezvous_store(), "rank": rank(), "world_size": world_size()}
    else:
        place = {}
    dist.init_process_group(backend, timeout=_LONGEST_STAGE, **place)
    host = os.environ.get("MASTER_ADDR", "localhost")
    try:
        with watched(rank=rank(), processes=world_size(), host=host, broadcast_number=_broadcast_number):
            yield
    except RuntimeError as error:
        if "gloo" not in str(error).lower():
            raise
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"another process of this run ended, or does not answer any more ({first[:200]}); what was finished is "
            "intact, start the same command again"
        ) from error
    finally:
        dist.destroy_process_group()


def rendezvous_store() -> dist.Store:
    """Where the processes of this attempt find each other.

    torchrun's own store outlives a restart and still holds the addresses of the processes that died: new ones that read
    them wait for ever. So rank 0 opens a store of its own and leaves its port in torchrun's; a port of the attempt
    before is known by nobody answering there. (A count of restarts would not do: it differs between machines.)
    """
    from torch import distributed as dist

    host, key = os.environ["MASTER_ADDR"], "ofa/port"
    known = dist.TCPStore(host, int(os.environ["MASTER_PORT"]), is_master=False, timeout=_PATIENCE)
    if rank() == 0:
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
        known.set(key, str(store.port))
        return store
    while True:
        port = int(known.get(key))
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return dist.TCPStore(host, port, is_master=False, timeout=_PATIENCE)


def broadcast_stage(stage: str | None) -> None:
    """Rank 0 tells the others which shared stage begins; ``None``: that they may leave."""
    if world_size() > 1:
        _broadcast_number(_LEAVE if stage is None else SHARED_STAGES.index(stage))


class Followers:
    """The other processes, as rank 0 leads them: they wait for its word, or work at a shared stage."""

    def __init__(self) -> None:
        self._wait = True

    @contextmanager
    def join(self, stage: str) -> Iterator[None]:
        """They do ``stage`` too, when it is a shared one."""
        if stage not in SHARED_STAGES:
            yield
            return
        broadcast_stage(stage)
        self._wait = False
        yield
        self._wait = True  # after an exception they are in the middle of it, and hear no word

    def release(self) -> None:
        """They may leave; said once."""
        if self._wait:
            broadcast_stage(None)
        self._wait = False


def run_worker(do: Callable[[str], object]) -> None:
    """What the other ranks do: the stages that rank 0 announces."""
    while (number := _broadcast_number(0)) != _LEAVE:
        do(SHARED_STAGES[number])


def broadcast_bytes(content: bytes | None) -> bytes | None:
    """Rank 0's bytes (or ``None``) on every rank, so that no rank needs rank 0's disk.

    What the others call it with is of no account, of whatever size.
    """
    if world_size() == 1:
        return content
    import torch
    from torch import distributed as dist

    size = _broadcast_number(_LEAVE if content is None else len(content))
    if size == _LEAVE:
        return None
    data = torch.empty(size, dtype=torch.uint8)
    if rank() == 0 and content:
        data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(data, src=0)
    return data.numpy().tobytes()


def gather(number: float) -> list[float]:
    """Every rank's number, in the order of ranks."""
    if world_size() == 1:
        return [number]
    import torch
    from torch import distributed as dist

    everyone = [torch.zeros(1, dtype=torch.float64) for _ in range(world_size())]
    dist.all_gather(everyone, torch.tensor([number], dtype=torch.float64))
    return [float(each) for each in everyone]


def _broadcast_number(number: int) -> int:
    import torch
    from torch import distributed as dist

    tensor = torch.tensor([number])
    dist.broadcast(tensor, src=0)
    return int(tensor)
