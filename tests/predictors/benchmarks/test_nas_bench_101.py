"""NAS-Bench-101's file: framing, checksums, protocol buffers, and which cells are the same network."""

import base64
import itertools
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from ofa.predictors.benchmarks.cell_graphs import graph_keys
from ofa.predictors.benchmarks.load import load_benchmark
from ofa.predictors.benchmarks.nas_bench_101 import OPERATIONS, code_of
from ofa.predictors.benchmarks.protobuf import double, fields
from ofa.predictors.benchmarks.tfrecord import masked_crc, records

CONV1, CONV3, POOL = OPERATIONS
# Input to a convolution to output, and a pool besides.
CHAIN = ("010001000", f"input,{CONV3},output")
WIDE = ("0110000100010000", f"input,{CONV1},{POOL},output")


def crc(text: bytes) -> int:
    """A TFRecord's checksum, bit by bit."""
    state = 0xFFFFFFFF
    for byte in text:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    state ^= 0xFFFFFFFF
    return ((state >> 15 | state << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", crc(length)) + record + struct.pack("<I", crc(record))


def metrics(*evaluations: tuple[float, float], params: int) -> str:
    """ModelMetrics in base64, of validation and test accuracies at the start, half way and the end."""
    message = b""
    for validation, test in evaluations:
        numbers = {1: 108.0, 2: 50.0, 3: 1.0, 4: validation, 5: test}
        inner = b"".join(bytes([number << 3 | 1]) + struct.pack("<d", value) for number, value in numbers.items())
        message += b"\x0a" + bytes([len(inner)]) + inner
    low, high = params & 0x7F | 0x80, params >> 7
    return base64.b64encode(message + bytes([0x10, low, high]) + b"\x19" + struct.pack("<d", 99.0)).decode()


def row(cell: tuple[str, str], epochs: int, validation: float, test: float) -> bytes:
    end = metrics((0.1, 0.1), (0.5, 0.5), (validation, test), params=3000)
    return json.dumps([cell[0], epochs, *cell, end]).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a file of another name"
    rows = [row(CHAIN, 4, 0.2, 0.2), row(CHAIN, 108, 0.9, 0.8), row(WIDE, 108, 0.7, 0.6), row(CHAIN, 108, 0.92, 0.9)]
    file.write_bytes(b"".join(map(framed, rows)))
    return file


def test_checksums_of_texts_of_any_length():
    assert masked_crc([b"123456789"])[0] == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    texts = [b"abc", b"", b"a longer text", b"\0\0", b"abc"]
    assert masked_crc(texts).tolist() == list(map(crc, texts))


def test_accuracies_are_the_mean_of_trainings_of_the_most_epochs(path):
    benchmark = load_benchmark(path)
    codes = np.stack([code_of(*WIDE), code_of(*CHAIN)])
    assert benchmark.name == "NAS-Bench-101"
    assert benchmark.datasets == ("cifar10", "cifar10-val")
    assert benchmark.accuracy(codes) == pytest.approx([60, 85])
    assert benchmark.accuracy(codes, dataset="cifar10-val") == pytest.approx([70, 91])
    assert benchmark.costs["params"].predict(codes).tolist() == [3000, 3000]
    assert benchmark.costs["training_time"].unit == "s"
    assert benchmark.network(codes[1], num_classes=7).classifier.out_features == 7


def test_isomorphic_cells_and_loose_vertices_are_one_network(path):
    benchmark = load_benchmark(path)
    other = ("0110000100010000", f"input,{POOL},{CONV1},output")
    loose = ("0100000100010000", f"input,{CONV3},{POOL},output")  # the pool reads nothing, and so is dropped
    unknown = ("0100001000010000", f"input,{CONV3},{POOL},output")
    assert benchmark.accuracy(np.stack([code_of(*other), code_of(*loose)])) == pytest.approx([60, 85])
    assert np.isnan(benchmark.accuracy(code_of(*unknown)[None])).all()
    assert np.isnan(benchmark.costs["params"].predict(np.zeros((1, 26), np.int8))).all()  # no path at all


def test_keys_are_equal_for_all_orders_of_inner_vertices_and_for_no_other_cell():
    space = np.random.default_rng(0)
    codes = np.c_[space.integers(2, size=(40, 21)), space.integers(3, size=(40, 5))].astype(np.int8)
    keys = graph_keys(codes, operations=3)[:, 0]
    upper = np.triu_indices(7, 1)
    for code, key in zip(codes, keys, strict=True):
        matrix = np.zeros((7, 7), int)
        matrix[upper] = code[:21]
        for order in itertools.islice(itertools.permutations(range(5)), 0, 120, 7):
            places = [0, *(1 + place for place in order), 6]
            moved = matrix[np.ix_(places, places)]
            if not np.tril(moved).any():
                same = np.r_[moved[upper], code[21:][list(order)]][None]
                assert graph_keys(same, operations=3)[0, 0] == key
    changed = codes.copy()
    changed[:, 21] = (changed[:, 21] + 1) % 3
    alive = keys != 0
    used = graph_keys(changed, operations=3)[:, 0] != keys
    assert alive.sum() > 20 and used.sum() > 10  # a vertex that is used changes the key


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-7], "cut short.*download it again"),
        (lambda content: content[:-40] + b"x" + content[-39:], "another checksum"),
        (lambda content: framed(b'["hash", 108, "01", "input,output", ""]'), "record 0.*no row of NAS-Bench-101"),
        (lambda content: framed(b"no JSON"), "record 0"),
        (lambda content: framed(row(("0000", "input,output"), 108, 0.5, 0.5)), "no path joins"),
        (lambda content: framed(row(("0100", "input,other"), 108, 0.5, 0.5)), "between its ends"),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(path, damage, said):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=said):
        load_benchmark(path)


def test_many_records_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("ofa.predictors.benchmarks.tfrecord._CHUNK", 3)
    file, texts = tmp_path / "records", [b"x" * number for number in range(8)]
    file.write_bytes(b"".join(map(framed, texts)))
    assert list(records(file)) == texts


def test_messages_of_every_kind_of_field():
    message = b"\x08\x96\x01" + b"\x11" + struct.pack("<d", 2.5) + b"\x1a\x02hi" + b"\x25" + b"abcd"
    assert [(number, value) for number, value in fields(message) if number != 2] == [(1, 150), (3, b"hi"), (4, b"abcd")]
    assert double(dict(fields(message))[2]) == 2.5
    with pytest.raises(ValueError, match="cut short"):
        list(fields(message[:-1]))
