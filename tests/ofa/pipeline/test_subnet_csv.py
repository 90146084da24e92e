import os

import numpy as np
import pytest

from ofa.pipeline import subnet_csv
from ofa.pipeline.subnet_csv import append, read, read_scores, recover
from ofa.predictors.metrics import Scores
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
HEADER = "resolution,depths,kernels,expands,accuracy,loss,smoothed_accuracy"
OLD_HEADER = "resolution,depths,kernels,expands,accuracy"
CODES = SPACE.sample(6, np.random.default_rng(0))
ACCURACIES = [0.0, 0.123456, 1 / 3, 0.5, 0.999999, 1.0]


def measured(accuracy: float) -> Scores:
    return Scores(accuracy, 3 - 2 * accuracy, 0.25 + accuracy / 2)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "accuracy.csv"
    for code, accuracy in zip(CODES, ACCURACIES, strict=True):
        append(path, SPACE.decode(code), measured(accuracy))
    return path


def test_rows_come_back(path):
    codes, accuracies = read(path, SPACE)
    assert np.array_equal(codes, CODES)
    assert np.abs(accuracies - ACCURACIES).max() < 1e-6
    assert path.read_text().splitlines()[0] == HEADER
    expected = np.array([measured(accuracy) for accuracy in ACCURACIES]).T
    assert np.abs(read_scores(path, SPACE)[1] - expected).max() < 1e-6


def test_rows_grow_one_by_one_and_reach_the_disk(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), real(descriptor)))
    path = tmp_path / "accuracy.csv"
    for number, code in enumerate(CODES, start=1):
        append(path, SPACE.decode(code), measured(0.5))
        assert len(read(path, SPACE)[0]) == number
        assert synced[-2:] == [path.stat().st_size, path.with_suffix(".digests").stat().st_size]


def test_nothing_is_wrong_with_a_good_file_or_with_none(path):
    before = path.read_bytes()
    assert recover(path, SPACE) == (6, None)
    assert path.read_bytes() == before
    assert recover(path.with_name("none.csv"), SPACE) == (0, None)


def test_a_last_row_cut_anywhere_is_dropped(path):
    whole = path.read_bytes()
    for end in range(len(HEADER), len(whole)):
        path.write_bytes(whole[:end])
        rows, problem = recover(path, SPACE)
        assert problem is None
        assert rows == max(0, whole[:end].count(b"\n") - 1)
        codes, _ = read(path, SPACE)
        assert np.array_equal(codes, CODES[:rows])
        for code, accuracy in zip(CODES[rows:], ACCURACIES[rows:], strict=True):
            append(path, SPACE.decode(code), measured(accuracy))
        assert path.read_bytes() == whole


GOOD_ROW = "16,1-1-1,3-3-3-3-3-3,2-2-2-2-2-2,0.5,1.25,0.75"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("garbage", "1 columns instead of 7"),
        (f"{GOOD_ROW},1", "8 columns instead of 7"),
        ("", "1 columns instead of 7"),
        (GOOD_ROW.replace("0.5,", "1.5,"), "accuracy 1.5 is not between 0 and 1"),
        (GOOD_ROW.replace("0.5,", "-inf,"), "accuracy -inf is not between 0 and 1"),
        (GOOD_ROW.replace("0.5,", ","), "could not convert string to float"),
        (GOOD_ROW.replace("1.25", "-1"), "loss -1.0 is not between 0 and inf"),
        (GOOD_ROW.replace("0.75", "2"), "smoothed_accuracy 2.0 is not between 0 and 1"),
        (GOOD_ROW.removesuffix(",0.75"), "6 columns instead of 7"),
        (GOOD_ROW.replace("16,", "17,"), "17"),
        (GOOD_ROW.replace("16,", "x,"), "invalid literal"),
        (GOOD_ROW.replace("1-1-1", "1-1"), ""),
        (GOOD_ROW.replace("1-1-1", "1-9-1"), ""),
        (GOOD_ROW.replace("3-3-3-3-3-3", "3-3-3-3-3-4"), ""),
        (GOOD_ROW.replace("2-2-2-2-2-2", "inf-2-2-2-2-2"), ""),
        ("\ufffd\x00\x1c", ""),
    ],
)
def test_a_bad_row_is_named_and_the_rows_before_it_stay(path, row, expected):
    lines = path.read_text().splitlines()
    read_before = read(path, SPACE)
    text = "\n".join([*lines[:3], row, *lines[3:]]) + "\n"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path}, line 4: .*{expected}"):
        read(path, SPACE)
    rows, problem = recover(path, SPACE)
    assert rows == 2
    assert problem.startswith(f"{path}, line 4: ")
    assert problem.endswith("; moved to accuracy.csv.damaged, 2 rows before it kept")
    assert expected in problem
    assert path.with_name("accuracy.csv.damaged").read_text() == text
    assert all(np.array_equal(now, before[:2]) for now, before in zip(read(path, SPACE), read_before, strict=True))


def test_the_row_that_the_table_above_breaks_is_good(path):
    with path.open("a") as file:
        file.write(GOOD_ROW + "\n")
    path.with_suffix(".digests").unlink()  # which tells what was written
    assert recover(path, SPACE) == (7, None)


def test_another_header(path):
    path.write_text(path.read_text().replace("resolution", "size", 1))
    with pytest.raises(ValueError, match="line 1: the header must be resolution,"):
        read(path, SPACE)
    rows, problem = recover(path, SPACE)
    assert (rows, problem.count("line 1: the header must be resolution,")) == (0, 1)
    assert path.read_text() == HEADER + "\n"


def test_a_network_that_could_not_be_measured_is_a_row(tmp_path):
    path = tmp_path / "accuracy.csv"
    for accuracy in (0.5, float("nan"), 0.25):
        append(path, SPACE.decode(CODES[0]), measured(accuracy))
    assert recover(path, SPACE) == (3, None)
    np.testing.assert_array_equal(read(path, SPACE)[1], [0.5, np.nan, 0.25])


def test_no_flipped_bit_of_a_row_goes_unnoticed(tmp_path):
    path = tmp_path / "accuracy.csv"
    subnets = [SPACE.largest, SPACE.smallest, SPACE.largest]
    for subnet, accuracy in zip(subnets, (0.75, 0.5, 0.875), strict=True):
        subnet_csv.append(path, subnet, measured(accuracy))
    whole, digests = path.read_bytes(), path.with_suffix(".digests").read_bytes()
    start = whole.index(b"\n") + 1
    for place in range(start, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        path.with_suffix(".digests").write_bytes(digests)
        rows, _ = subnet_csv.recover(path, SPACE)
        assert rows <= whole[start:place].count(b"\n") or path.read_bytes() == whole  # a line break of another kind
        assert whole.startswith(path.read_bytes())


def test_a_row_without_its_digest_is_dropped(tmp_path):
    """Killed between the two: as a row that was never written."""
    path = tmp_path / "accuracy.csv"
    for accuracy in (0.75, 0.5):
        subnet_csv.append(path, SPACE.largest, measured(accuracy))
    beside = path.with_suffix(".digests")
    beside.write_text(beside.read_text().splitlines(keepends=True)[0])
    assert subnet_csv.recover(path, SPACE) == (1, None)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["accuracy.csv", "accuracy.digests"]
    assert subnet_csv.recover(path, SPACE) == (1, None)
    subnet_csv.finish(path)
    assert not beside.exists()


def test_widths_that_parts_share_have_a_column(tmp_path, wide_family):
    space, path = SearchSpace.preset("wide_small"), tmp_path / "accuracy.csv"
    codes = space.sample(5, np.random.default_rng(0))
    for code in codes:
        append(path, space.decode(code), measured(0.5))
    assert path.read_text().splitlines()[0] == "resolution,depths,expands,widths,accuracy,loss,smoothed_accuracy"
    assert np.array_equal(read(path, space)[0], codes)
    path.write_text(path.read_text().replace(",8-", ",9-").replace(",12-", ",9-"))
    with pytest.raises(ValueError, match=r"accuracy\.csv, line 2: widths\[0\] is 9"):
        read(path, space)


def test_a_file_of_before_has_accuracies_alone_and_goes_on_so(tmp_path):
    path = tmp_path / "accuracy.csv"
    path.write_text("\n".join([OLD_HEADER, "16,1-1-1,3-3-3-3-3-3,2-2-2-2-2-2,0.250000"]) + "\n")
    assert recover(path, SPACE) == (1, None)
    append(path, SPACE.largest, measured(0.75))
    assert path.read_text().splitlines()[0] == OLD_HEADER
    codes, scores = read_scores(path, SPACE)
    assert SPACE.decode(codes[1]) == SPACE.largest
    assert scores.accuracy.tolist() == [0.25, 0.75]
    assert np.isnan([scores.loss, scores.smoothed_accuracy]).all()
    assert recover(path, SPACE) == (2, None)


def test_a_loss_that_is_no_number_is_kept_as_it_is(tmp_path):
    path = tmp_path / "accuracy.csv"
    for loss in (np.inf, np.nan, 0.5):
        append(path, SPACE.largest, Scores(0.5, loss, np.nan))
    assert recover(path, SPACE) == (3, None)
    np.testing.assert_array_equal(read_scores(path, SPACE)[1].loss, [np.inf, np.nan, 0.5])
