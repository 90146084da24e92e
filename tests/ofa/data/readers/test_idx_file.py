"""idx files that hold, or claim, more than a machine has."""

import gzip
import resource
import struct
import subprocess
import sys

import numpy as np
import pytest

from ofa.data.readers.idx_file import read_idx
from ofa.errors import UserError


def header(*shape):
    return struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)


def test_what_is_read_is_what_was_written(tmp_path):
    values = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for name, opened in (("plain", open), ("packed.gz", gzip.open)):
        with opened(tmp_path / name, "wb") as file:
            file.write(header(3, 4, 5) + values.tobytes())
        assert np.array_equal(read_idx(tmp_path / name, 3), values)


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        (header(5), r"holds more than 5 bytes but its header says 5; fetch it again"),
        (header(2**32 - 1), r"holds 41943040 bytes but its header says 4294967295; fetch it again"),
        (header(2**31, 2**31, 2**31), r"says that it holds 2147483648 x .* bytes; the limit is 4 GiB"),
    ],
)
def test_a_bomb_takes_no_more_memory_than_its_header_says_or_it_holds(tmp_path, claimed, message):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(claimed) + gzip.compress(bytes(2**20)) * 40)
    dimensions = (len(claimed) - 4) // 4
    with pytest.raises(UserError, match=message):
        read_idx(path, dimensions)


def test_a_bomb_leaves_memory_alone(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(5)) + gzip.compress(bytes(2**20)) * 300)

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (250 * 2**20,) * 2)

    imports = "import sys; from pathlib import Path; from ofa.data.readers.idx_file import read_idx"
    code = f"{imports}; read_idx(Path(sys.argv[1]), 1)"
    command = [sys.executable, "-c", code, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)
    assert "UserError" in done.stderr, done.stderr
