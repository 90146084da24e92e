from xml.etree import ElementTree

import pytest

from ofa.report.small_multiples import Panel, small_multiples


def test_a_panel_a_gene_a_line_an_option():
    panels = [Panel(f"gene {number}", ["3", "<5>"], [[0.5, 0.2, 0.1], [0.5, 0.8, 0.9]]) for number in range(8)]
    figure = ElementTree.fromstring(small_multiples("t & u", panels, x="epochs"))
    paths = [one.attrib["d"] for one in figure.iter("path") if one.attrib["class"] == "line"]
    assert len(paths) == 16 and len(set(paths)) == 2
    texts = [one.text for one in figure.iter("text")]
    assert texts.count("<5>: 0.90") == 8 and "gene 7" in texts
    # The surer an option, the higher its line ends; both begin alike.
    first, second = ([tuple(map(float, pair.split())) for pair in path[1:].split("L")] for path in paths[:2])
    assert first[0] == second[0] and second[-1][1] < second[0][1] < first[-1][1]
    width, height = map(float, figure.find("svg").attrib["viewBox"].split()[2:])
    places = [one.attrib["transform"] for one in figure.iter("g") if "transform" in one.attrib]
    corners = [tuple(map(float, place[10:-1].split())) for place in places]
    assert len(set(corners)) == 8 and all(0 < x < width and 0 < y < height for x, y in corners)


@pytest.mark.parametrize(("panels", "drawn"), [([], False), ([Panel("g", ["a"], [[1.0]])], True)], ids=["none", "one"])
def test_no_panels_are_no_figure_and_one_epoch_is_a_level_line(panels, drawn):
    figure = small_multiples("t", panels, x="epochs")
    assert bool(figure) == drawn and "nan" not in figure
