import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from ofa.report.charts import Band, Series, chart, ticks


def drawn(figure: str) -> list[dict[str, str]]:
    """The attributes of every element of a figure, which must be well-formed."""
    return [
        element.attrib | {"tag": element.tag, "text": element.text} for element in ElementTree.fromstring(figure).iter()
    ]


@pytest.mark.parametrize(
    ("low", "high", "most", "texts"),
    [
        (0, 1, 6, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.031, 0.089, 6, ["0.04", "0.06", "0.08"]),
        (-0.3, 0.3, 7, ["-0.3", "-0.2", "-0.1", "0.0", "0.1", "0.2", "0.3"]),
        (0, 1, 5, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (1.2e6, 4.9e6, 5, ["2000000", "3000000", "4000000"]),
    ],
)
def test_ticks_are_round(low, high, most, texts):
    assert [text for _, text in ticks(low, high, most=most)] == texts


@pytest.mark.parametrize("span", [1e-7, 0.003, 0.07, 1, 3, 8.5, 99, 12345, 7e9])
@pytest.mark.parametrize("most", [3, 5, 7])
def test_ticks_are_inside_evenly_apart_and_tell_apart(span, most):
    for low in (0, span / 3, -span / 2, 17 * span):
        found = ticks(low, low + span, most=most)
        values, texts = zip(*found, strict=True)
        assert 1 <= len(values) <= most and len(set(texts)) == len(texts)
        assert min(values) >= low - span * 1e-6 and max(values) <= low + span * (1 + 1e-6)
        assert [float(text) for text in texts] == pytest.approx(values, abs=span * 1e-6)
        assert all(b - a == pytest.approx(values[1] - values[0], rel=1e-6) for a, b in pairwise(values))
        whole = [value for value, _ in ticks(low, low + max(span, 1), most=most, whole=True)]
        assert all(value == round(value) for value in whole)


def test_a_point_stands_where_the_ticks_say():
    figure = chart("t", [Series("s", [(0, 0), (5, 2), (10, 4)], 0)], x="x", y="y")
    elements = drawn(figure)
    dots = [(float(one["cx"]), float(one["cy"])) for one in elements if one.get("class") == "dot"][:3]
    by_text = {one["text"]: one for one in elements if one["tag"] == "text" and one["text"]}
    across = {one["text"]: float(one["x"]) for one in elements if one.get("text-anchor") == "middle" and "x" in one}
    up = {one["text"]: float(one["y"]) - 4 for one in elements if one.get("text-anchor") == "end"}
    assert dots[1][0] == pytest.approx((across["4"] + across["6"]) / 2, abs=0.2)
    assert dots[1][1] == pytest.approx(up["2"], abs=0.2) and dots[2][1] < dots[0][1]
    assert by_text["x"]["class"] == by_text["y"]["class"] == "name"


def test_a_shade_is_inside_the_picture_and_around_its_line():
    series = Series("s", [(0, 1), (1, 2)], 0, marker="none", line=True, area=[(0, 3), (-5, 9)])
    shade = next(one["d"] for one in drawn(chart("t", [series], x="x", y="y")) if one.get("class") == "shade")
    corners = [tuple(map(float, corner.split())) for corner in shade.strip("MZ").split("L")]
    (left, low), (right, lowest), (_, highest), (_, high) = corners
    assert left < right and highest < high < low < lowest  # pixels are counted from above
    assert highest > 0 and lowest < 270


def test_what_cannot_be_drawn_is_left_out():
    nan = float("nan")
    assert chart("t", [Series("s", [], 0), Series("r", [(nan, 1), (1, float("inf"))], 1)], x="x", y="y") == ""
    series = Series("s", [(1, 1), (nan, 2), (3, 3)], 0, spread=[0.1, 0.2, 0.3], labels=["one", "two", "three"])
    figure = chart("t", [series, Series("empty", [], 1)], x="x", y="y", joined=[((1, 1), (nan, 2))])
    titles = [one["text"] for one in drawn(figure) if one["tag"] == "title"]
    assert titles == ["one", "three"] and "nan" not in figure and "empty" not in figure


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-12, 1e9])
def test_equal_values_are_drawn(value):
    figure = chart("t", [Series("s", [(value, value), (value, value)], 0, line=True)], x="x", y="y", diagonal="same")
    assert figure.count('class="dot"') == 3  # two points, one in the legend
    assert not re.search("nan|inf", figure)


def test_names_are_escaped_and_explained_in_the_legend():
    bad = "<b>&"
    figure = chart(
        bad,
        [Series(bad, [(0, 0), (1, 1)], 9, labels=[bad, bad])],
        x=bad,
        y=bad,
        bands=[Band(bad, 0, 1), Band("second", 1, 2)],
        limit=(0.5, bad),
        diagonal=bad,
    )
    elements = drawn(figure)
    assert "b" not in {one["tag"] for one in elements}
    legend = "".join(ElementTree.fromstring(figure).find("ul").itertext())
    assert legend == f"{bad}{bad}{bad}1: {bad}2: second"


def test_a_limit_outside_the_points_is_inside_the_picture():
    figure = chart("t", [Series("s", [(1, 1), (2, 2)], 0)], x="x", y="y", limit=(9, "limit"))
    line = next(one["d"] for one in drawn(figure) if one.get("class") == "limit")
    right = float(re.search(r"viewBox=\"0 0 (\d+)", figure)[1])
    assert 0 < float(re.match(r"M([\d.]+)", line)[1]) < right
