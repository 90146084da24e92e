"""Look-up tables and CSV files measured elsewhere become cost tables; what is wrong in them is named."""

import csv

import numpy as np
import pytest
import yaml

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.imported import published_table, read_costs, table_from_csv
from ofa.supernet.space import SearchSpace, Subnet

SPACE = SearchSpace.from_dict(
    {
        "resolutions": [64, 80, 96],
        "stem": {"width": 24, "first_width": 24},
        "stages": [
            {"width": 32, "stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [3, 4]},
            {"width": 48, "stride": 1, "depths": [1], "kernels": [3], "expands": [6], "act": "hard_swish", "se": True},
        ],
        "head": {"width": 64, "features": 128},
    }
)

# At 64 pixels, as the published files write it; each mean is one of a kind.
AT_64 = """\
AvgPool2D-input:16x16x64-output:1x1x64:
  count: 491
  mean: 0.001
  std: 0.0001
Conv-input:64x64x3-output:32x32x24:
  mean: 0.002
Conv_1-input:16x16x48-output:16x16x64:
  mean: 0.004
Conv_2-input:1x1x64-output:1x1x128:
  mean: 0.008
Logits-input:1x1x128-output:1000:
  mean: 0.016
expanded_conv-input:32x32x24-output:32x32x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0:
  mean: 0.032
expanded_conv-input:32x32x24-output:16x16x32-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0:
  mean: 1
expanded_conv-input:32x32x24-output:16x16x32-expand:72-kernel:5-stride:2-idskip:0-se:0-hs:0:
  mean: 2
expanded_conv-input:32x32x24-output:16x16x32-expand:96-kernel:3-stride:2-idskip:0-se:0-hs:0:
  mean: 4
expanded_conv-input:32x32x24-output:16x16x32-expand:96-kernel:5-stride:2-idskip:0-se:0-hs:0:
  mean: 8
expanded_conv-input:16x16x32-output:16x16x32-expand:96-kernel:3-stride:1-idskip:1-se:0-hs:0:
  mean: 16
expanded_conv-input:16x16x32-output:16x16x32-expand:96-kernel:5-stride:1-idskip:1-se:0-hs:0:
  mean: 32
expanded_conv-input:16x16x32-output:16x16x32-expand:128-kernel:3-stride:1-idskip:1-se:0-hs:0:
  mean: 64
expanded_conv-input:16x16x32-output:16x16x32-expand:128-kernel:5-stride:1-idskip:1-se:0-hs:0:
  mean: 128
expanded_conv-input:16x16x32-output:16x16x48-expand:192-kernel:3-stride:1-idskip:0-se:1-hs:1:
  mean: 256
"""
FIXED = 0.063


def at(side, *, scale):
    """The same file of another resolution, ``scale`` times as slow."""
    entries = yaml.safe_load(AT_64)
    sizes = {f"{old}x{old}x": f"{old * side // 64}x{old * side // 64}x" for old in (64, 32, 16)}
    for name in list(entries):
        new = name.replace("64x64x3", f"{side}x{side}x3")
        for old in (32, 16):
            new = new.replace(f"{old}x{old}x", f"<{old}>")
        for old in (32, 16):
            new = new.replace(f"<{old}>", sizes[f"{old}x{old}x"])
        entries[new] = {"mean": scale * entries.pop(name)["mean"]}
    return yaml.safe_dump(entries)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "small.yaml", tmp_path / "large.yaml"]
    paths[0].write_text(AT_64)
    paths[1].write_text(at(96, scale=3))
    return paths


def subnet(resolution, depth, *choices):
    kernels, expands = zip(*choices, strict=True)
    return SPACE.encode(Subnet(resolution, (depth, 1), (*kernels, 3), (*expands, 6)))[None]


def test_entries_are_summed_over_blocks_that_run(files):
    for order in (files, files[::-1]):
        table = published_table(SPACE, order)
        assert table.predict(subnet(64, 1, (5, 3), (3, 3))) == pytest.approx(FIXED + 2 + 256)
        assert table.predict(subnet(64, 2, (3, 4), (5, 4))) == pytest.approx(FIXED + 4 + 128 + 256)
        assert table.predict(subnet(64, 2, (5, 4), (3, 3))) == pytest.approx(FIXED + 8 + 16 + 256)
        assert table.predict(subnet(96, 2, (5, 4), (3, 3))) == pytest.approx(3 * (FIXED + 8 + 16 + 256))


def test_between_resolutions_costs_are_linear_in_area(files):
    table = published_table(SPACE, files)
    share = (80**2 - 64**2) / (96**2 - 64**2)
    assert table.predict(subnet(80, 1, (3, 3), (3, 3))) == pytest.approx((1 + 2 * share) * (FIXED + 1 + 256))


def test_extrapolation_only_when_allowed(files):
    wide = SearchSpace.from_dict({**SPACE.to_dict(), "resolutions": [48, 64, 112]})
    with pytest.raises(ValueError, match=r"reach from 64 to 96, not the resolutions \[48, 112\]; .*extrapolate=True"):
        published_table(wide, files)
    table = published_table(wide, files, extrapolate=True)
    assert table.info["extrapolated_resolutions"] == [48, 112]
    share = (112**2 - 64**2) / (96**2 - 64**2)
    code = wide.encode(Subnet(112, (1, 1), (3, 3, 3), (3, 3, 6)))[None]
    assert table.predict(code) == pytest.approx((1 + 2 * share) * (FIXED + 1 + 256))


def test_one_file_serves_its_own_resolution(files):
    only = SearchSpace.from_dict({**SPACE.to_dict(), "resolutions": [96]})
    code = only.encode(only.smallest)[None]
    assert published_table(only, files[1:]).predict(code) == pytest.approx(3 * (FIXED + 1 + 256))
    with pytest.raises(ValueError, match="pass the tables of two resolutions"):
        published_table(SPACE, files[1:], extrapolate=True)


def test_the_source_is_recorded_and_saved(files, tmp_path):
    table = published_table(SPACE, files)
    assert (table.name, table.unit, table.space) == ("latency", "ms", SPACE)
    assert table.info["files"] == ["small.yaml", "large.yaml"] and table.info["measured_resolutions"] == [64, 96]
    assert table.info["entry_spread"] == pytest.approx(0.1)
    table.save(tmp_path / "table.json")
    codes = SPACE.sample(50, np.random.default_rng(0))
    assert np.array_equal(CostTable.load(tmp_path / "table.json").predict(codes), table.predict(codes))


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda text: text.replace("mean: 64\n", "mean: .nan\n"), ["small.yaml, line 27: expanded_conv", "mean nan"]),
        (lambda text: text.replace("mean: 0.002", "mean: fast"), ["small.yaml, line 5: Conv-input", "mean fast"]),
        (lambda text: text.replace("mean: 0.002", "mean: -1"), ["line 5: Conv-input", "mean -1"]),
        (lambda text: text.replace("mean: 0.002", "median: 1"), ["line 5: Conv-input", "mean None"]),
        (
            lambda text: text.replace("16x16x32-expand:128", "16x16x32-expand:130"),
            ["no entry expanded_conv", "expand:128"],
        ),
        (lambda text: text.replace("Logits-input:1x1x128-output:1000", "Logits"), ["no entry Logits-input:1x1x128"]),
        (lambda text: text.replace("Conv-input:64x64x3", "Conv-input:nine"), ["must have one first convolution"]),
        (lambda text: text + "Conv-input:32x32x3-output:16x16x24:\n  mean: 1\n", ["must have one first convolution"]),
        (lambda _text: "- 1\n- 2\n", ["is no look-up table"]),
        (lambda _text: "", ["is no look-up table"]),
        (lambda _text: "a: [1", ["is no YAML file", "line 1"]),
    ],
)
def test_what_is_wrong_in_a_look_up_table_is_named(damage, words, files):
    files[0].write_text(damage(AT_64))
    with pytest.raises(ValueError) as caught:
        published_table(SPACE, files)
    assert "small.yaml" in str(caught.value) and all(word in str(caught.value) for word in words)


def test_wrong_files(files):
    with pytest.raises(ValueError, match="there is no look-up table"):
        published_table(SPACE, [])
    with pytest.raises(ValueError, match=r"two look-up tables have one resolution: \[64, 64\]"):
        published_table(SPACE, [files[0], files[0]])
    with pytest.raises(FileNotFoundError):
        published_table(SPACE, [files[0].with_name("none.yaml")])
    other = SearchSpace.from_dict({**SPACE.to_dict(), "stem": {"width": 16, "first_width": 16}})
    with pytest.raises(ValueError, match=r"no entry Conv-input:64x64x3-output:32x32x16; it was measured on another"):
        published_table(other, files)


TINY = SearchSpace.preset("tiny_mbv3")
HEADER = ["id", "resolution", "depths", "kernels", "expands", "latency"]


def line(code, cost):
    choice = TINY.decode(code)
    lists = ("-".join(map(str, values)) for values in (choice.depths, choice.kernels, choice.expands))
    return [choice.id, choice.resolution, *lists, cost]


def written(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def measured():
    codes = TINY.sample(60, np.random.default_rng(0))
    return codes, CostTable.macs(TINY, num_classes=10).predict(codes) / 1e6


def test_csv_is_read_back(tmp_path, measured):
    codes, costs = measured
    path = written(tmp_path / "a.csv", map(line, codes, costs))
    got = read_costs(TINY, path)
    assert np.array_equal(got[0], codes) and np.array_equal(got[1], costs) and got[0].dtype == codes.dtype
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as spreadsheets write it
    assert np.array_equal(read_costs(TINY, path)[0], codes)


def test_csv_becomes_a_table(tmp_path, measured):
    codes, costs = measured
    path = written(tmp_path / "a.csv", map(line, codes, costs), [*HEADER[:-1], "joule"])
    table = table_from_csv(TINY, path, column="joule", unit="J")
    assert (table.name, table.unit, table.info["files"]) == ("joule", "J", ["a.csv"])
    assert table.predict(codes) == pytest.approx(costs, rel=0.05)
    short = written(tmp_path / "b.csv", map(line, codes[:5], costs))
    with pytest.raises(ValueError, match=r"b\.csv: 5 rows of 5 networks are too few"):
        table_from_csv(TINY, short)


@pytest.mark.parametrize(
    "column, value, words",
    [
        ("latency", "nan", "latency is nan; it must be a positive number"),
        ("latency", "-1", "latency is -1.0"),
        ("latency", "", "latency has ''"),
        ("latency", "1 ms", "latency has '1 ms', which is no number"),
        ("resolution", "17", "resolution is 17"),
        ("depths", "1-2", "depths has 2 values; this space has 3"),
        ("depths", "1-2-9", "depths[2] is 9"),
        ("kernels", "3-3-3-3-x-3", "kernels has 'x'"),
        ("expands", "", "expands has ''"),
    ],
)
def test_bad_lines_are_named(column, value, words, tmp_path, measured):
    rows = [*map(line, *measured)]
    rows[7][HEADER.index(column)] = value
    with pytest.raises(ValueError) as caught:
        read_costs(TINY, written(tmp_path / "a.csv", rows))
    assert "a.csv, line 9: " in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize("change", [lambda row: row[:-1], lambda row: [*row, "1"]])
def test_lines_of_another_length_are_named(change, tmp_path, measured):
    rows = [*map(line, *measured)]
    rows[3] = change(rows[3])
    with pytest.raises(ValueError, match=r"a\.csv, line 5: .*number of columns"):
        read_costs(TINY, written(tmp_path / "a.csv", rows))


def test_missing_columns_are_named(tmp_path, measured):
    path = written(tmp_path / "a.csv", map(line, *measured), ["id", "side", "depths", "kernels", "ratios", "latency"])
    with pytest.raises(ValueError, match=r"a\.csv, line 1: the columns resolution, expands are missing"):
        read_costs(TINY, path)
    with pytest.raises(ValueError, match=r"the columns resolution, expands, joule are missing"):
        read_costs(TINY, path, column="joule")
    path.write_text("")
    with pytest.raises(ValueError, match="line 1: the columns resolution, depths"):
        read_costs(TINY, path)
    path.write_text(",".join(HEADER) + "\n")
    with pytest.raises(ValueError, match="has no rows"):
        read_costs(TINY, path)
