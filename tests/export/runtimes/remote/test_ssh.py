"""Timing over ssh: with a real sshd on this machine, and with one that ends after a number of rounds."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch import nn

pytest.importorskip("ai_edge_litert", reason="pip install 'once-for-all[tflite]'")

from ofa.export.runtimes import litert
from ofa.export.runtimes.remote.connect import connect, timed
from ofa.export.runtimes.remote.link import DeviceLost, RemoteError
from ofa.export.runtimes.remote.rounds import Plan, Rounds
from ofa.predictors.costs.latency import table as latency
from ofa.supernet.space import SearchSpace

SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
needs_sshd = pytest.mark.skipif(
    not (SSHD and shutil.which("ssh")), reason="apt-get install openssh-server openssh-client"
)
SPACE = SearchSpace.from_dict(
    {
        "resolutions": [16, 24],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": 16, "stride": 2, "depths": [1, 2], "kernels": [3], "expands": [1, 4]}],
        "head": {"width": 16, "features": 16},
    }
)
SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
SetEnv TMPDIR={folder}/there
"""
CLIENT = """
Host silent
  Port {closed}
Host changed
  UserKnownHostsFile /dev/null
Host nowhere
  HostName no-such-host.invalid
Host * !stranger
  IdentityFile {folder}/user
Host *
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentitiesOnly yes
  IdentityFile none
  UserKnownHostsFile {folder}/known
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A folder with a program ``ssh`` that knows the host ``board``, this machine; its files go to ``there``."""
    folder = tmp_path_factory.mktemp("ssh")
    (folder / "there").mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", folder / name], check=True)
    port, closed = free_port(), free_port()
    (folder / "server").write_text(SERVER.format(port=port, folder=folder))
    settings = {"port": port, "closed": closed, "folder": folder, "user": getpass.getuser()}
    (folder / "client").write_text(CLIENT.format(**settings))
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    (folder / "ssh").chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it goes before a login; Debian makes it at start
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "server"], stderr=log)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    yield folder, process.pid
    process.terminate()
    process.wait()


@pytest.fixture
def board(server, monkeypatch):
    """See ``server``; the program is found first."""
    monkeypatch.setenv("PATH", f"{server[0]}:{os.environ['PATH']}")
    monkeypatch.setenv("OFA_REMOTE_PYTHON", sys.executable)
    return server[0]


@pytest.fixture(scope="module")
def models():
    """A slow one and a fast one."""
    slow, fast = nn.Conv2d(3, 64, 5, padding=2).eval(), nn.Conv2d(3, 4, 1).eval()
    return [(litert.convert(nn.Sequential(module), (3, 32, 32)), (3, 32, 32)) for module in (slow, fast)]


@needs_sshd
def test_a_host_says_what_it_is(board):
    found = connect("ssh:board").environment(threads=2)
    assert found.items() >= litert.environment(threads=2).items()
    assert found["device"] == "ssh:board" and found["host"] == os.uname().nodename


@needs_sshd
@pytest.mark.parametrize("threads", [1, 2])
def test_a_host_times_models(board, models, threads):
    calls = [*models, models[0]]
    times = timed("ssh:board", calls, rounds=4, threads=threads, cold=[2], reference=1, progress=False)
    assert times.shape == (4, 3)
    slow, fast, cold = np.median(times, axis=0)
    assert 0 < fast < slow < 1000 and cold > 0
    assert not list((board / "there").iterdir())


@needs_sshd
def test_int8_models(board):
    pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")
    model = litert.convert_int8(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (3, 8, 8))
    assert (timed("ssh:board", [(model, (3, 8, 8))], rounds=2, progress=False) > 0).all()


@needs_sshd
def test_a_table_of_another_host(board):
    seen = []

    def timer(parts, **settings):
        seen.append(len(parts))
        return timed("ssh:board", parts, **settings)

    settings = {"num_classes": 3, "runtime": litert, "progress": False}
    table = latency.measure(
        SPACE, **settings, rounds=3, fit_subnets=3, test_subnets=3, timer=timer, info={"device": "ssh:board"}
    )
    subnets = [SPACE.smallest, SPACE.largest]
    small, large = latency.time_subnets(SPACE, subnets, num_classes=3, runtime=litert, timer=timer, rounds=5)
    assert table.info["device"] == "ssh:board" and len(seen) == 2
    assert (table.predict(np.stack([SPACE.encode(subnet) for subnet in subnets])) > 0).all()
    assert 0 < small < large


TROUBLES = {
    "nowhere": "^nowhere is not a known host; check the name",
    "silent": "^silent refuses connections; start sshd",
    "changed": "^changed has an unknown or changed host key; connect once with `ssh changed`",
    "stranger": "^stranger refuses your key; `ssh-copy-id stranger`",
}


@needs_sshd
@pytest.mark.parametrize("host", TROUBLES)
def test_hosts_that_cannot_be_used(board, models, host):
    with pytest.raises(RemoteError, match=TROUBLES[host]) as caught:
        timed(f"ssh:{host}", models, rounds=1, progress=False)
    assert "\n" not in str(caught.value)


@needs_sshd
def test_a_host_without_python(board, models, monkeypatch):
    monkeypatch.setenv("OFA_REMOTE_PYTHON", "no such python")
    with pytest.raises(
        RemoteError, match=r"^board has no no such python; install it there, or name another one in OFA_"
    ):
        timed("ssh:board", models, rounds=1, progress=False)


@needs_sshd
def test_a_host_without_litert(board, models, monkeypatch):
    bare = board / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("OFA_REMOTE_PYTHON", str(bare))
    with pytest.raises(
        RemoteError, match=r"^board has no LiteRT .*: run there `.*/bare-python -m pip install ai-edge-li"
    ):
        timed("ssh:board", models, rounds=1, progress=False)
    assert not list((board / "there").iterdir())


@needs_sshd
def test_a_model_that_the_host_cannot_load(board):
    with pytest.raises(RemoteError, match=r"^board: LiteRT \S+ there cannot load a model: .* \(here it is ") as caught:
        timed("ssh:board", [(b"no model", (1, 1, 1))], rounds=1, progress=False)
    assert not isinstance(caught.value, DeviceLost) and not list((board / "there").iterdir())


@needs_sshd
def test_a_connection_that_is_cut(board, server, models, tmp_path, monkeypatch):
    """Sshd's own process for the connection is killed in the middle; the same call measures what is missing."""
    store, add = tmp_path / "store.jsonl", Rounds.add

    def add_and_cut(self, one):
        add(self, one)
        if one.number == 3:
            for pid in children(server[1]):
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(Rounds, "add", add_and_cut)
    settings = {"threads": 1, "progress": False, "store": store}
    with pytest.raises(DeviceLost, match=r"^the device went away after \d+ of 3000 rounds, which are kept") as caught:
        timed("ssh:board", models, rounds=3000, **settings)
    monkeypatch.setattr(Rounds, "add", add)
    kept = store.read_text()
    done = len(kept.splitlines()) - 1
    assert f"after {done} of 3000" in str(caught.value) and 4 <= done < 3000
    times = timed("ssh:board", models, rounds=done + 2, **settings)
    assert times.shape == (done + 2, 2) and store.read_text().startswith(kept)
    for _ in range(100):  # the host notices by itself that nobody listens
        if not list((board / "there").iterdir()):
            break
        time.sleep(0.1)
    assert not list((board / "there").iterdir())


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


# Runs what it is asked here, and with a LIMIT ends after as many rounds.
FAKE = """#!/bin/sh
for last; do :; done
echo "Welcome to this host"
if [ -z "$LIMIT" ]; then exec sh -c "$last"; fi
sh -c "$last" | awk -v limit="$LIMIT" '/"round"/ && ++n > limit { exit } { print; fflush() }'
echo "client_loop: send disconnect: Broken pipe" >&2
exit 255
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A program ``ssh`` that runs the command on this machine."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(FAKE)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("OFA_REMOTE_PYTHON", sys.executable)


@pytest.mark.usefixtures("fake")
def test_only_missing_rounds_are_measured(models, tmp_path, monkeypatch):
    store = tmp_path / "store.jsonl"
    settings = {"rounds": 5, "progress": False, "store": store, "cold": [0], "reference": 1}
    monkeypatch.setenv("LIMIT", "2")
    for done in (2, 4):
        with pytest.raises(DeviceLost, match=rf"after {done} of 5 rounds, .* \(.*send disconnect: Broken pipe\)$"):
            timed("ssh:pi", models, **settings)
        assert len(store.read_text().splitlines()) == 1 + done
    times = timed("ssh:pi", models, **settings)
    monkeypatch.setenv("LIMIT", "0")
    assert np.array_equal(timed("ssh:pi", models, **settings), times)  # nothing is left to measure


@pytest.mark.usefixtures("fake")
def test_without_a_store_nothing_is_kept(models, monkeypatch):
    monkeypatch.setenv("LIMIT", "1")
    with pytest.raises(DeviceLost, match=r"after 1 of 2 rounds, connect it again \("):
        timed("ssh:pi", models, rounds=2, progress=False)
    monkeypatch.setattr(Plan, "order", lambda *_: [7])
    monkeypatch.delenv("LIMIT")
    with pytest.raises(RemoteError, match=r"^pi: IndexError") as caught:
        timed("ssh:pi", models, rounds=2, progress=False)
    assert not isinstance(caught.value, DeviceLost)
