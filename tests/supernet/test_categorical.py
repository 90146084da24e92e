"""The plain categorical space: the calls that predictors and searches share with SearchSpace."""

import json

import numpy as np
import pytest

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

SPACE = CategoricalSpace([3, 2, 3, 4], roles=["kernel", "excite", "kernel", "depth"])


def test_size_is_what_enumeration_finds():
    codes = np.unique(SPACE.sample(5000, np.random.default_rng(0)), axis=0)
    assert len(codes) == SPACE.size == 72
    assert (codes.min(axis=0) == 0).all() and (codes.max(axis=0) == SPACE.num_options - 1).all()


def test_codes_are_like_those_of_a_search_space():
    other = SearchSpace.preset("tiny_mbv3")
    codes, theirs = (space.sample(9, np.random.default_rng(0)) for space in (SPACE, other))
    assert codes.dtype == theirs.dtype and codes.shape == (9, SPACE.num_genes)
    assert np.array_equal(codes, SPACE.sample(9, np.random.default_rng(0)))
    canonical = SPACE.canonical(codes)
    assert np.array_equal(canonical, codes) and not np.shares_memory(canonical, codes)


def test_one_hot_has_one_column_an_option():
    codes = SPACE.sample(50, np.random.default_rng(1))
    columns = SPACE.one_hot(codes)
    assert columns.shape == (50, 12) and columns.dtype == np.float32 and (columns.sum(axis=1) == SPACE.num_genes).all()
    starts = np.cumsum([0, 3, 2, 3])
    assert (np.take_along_axis(columns, starts + codes, axis=1) == 1).all()


def test_there_and_back():
    for code in SPACE.sample(20, np.random.default_rng(2)):
        choices = SPACE.decode(code)
        assert json.loads(json.dumps(choices)) == code.tolist() and hash(choices)
        assert np.array_equal(SPACE.encode(choices), code) and SPACE.encode(choices).dtype == code.dtype
    again = CategoricalSpace.from_dict(json.loads(json.dumps(SPACE.to_dict())))
    assert again == SPACE and hash(again) == hash(SPACE)
    assert again != CategoricalSpace([3, 2, 3, 4]) and SPACE != "SPACE"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: CategoricalSpace([]), "option_counts"),
        (lambda: CategoricalSpace([3, 0]), r"\[3, 0\]"),
        (lambda: CategoricalSpace([128]), "127"),
        (lambda: CategoricalSpace([3, 2], roles=["one"]), "1 roles for 2 genes"),
        (lambda: CategoricalSpace([3, 2], roles=["one", "one"]), r"'one' have \[2, 3\] options"),
        (lambda: CategoricalSpace.from_dict({"option_counts": [3]}), "family.*roles"),
        (lambda: CategoricalSpace.from_dict({**SPACE.to_dict(), "family": "mobilenetv3"}), "mobilenetv3"),
        (lambda: SPACE.encode([0, 0, 0]), "3 choices"),
        (lambda: SPACE.encode([0, 2, 0, 0]), r"choices\[1\] is 2.*0 to 1"),
        (lambda: SPACE.encode([0, 0, -1, 0]), r"choices\[2\] is -1"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
