"""A report of a differentiable search: the gap from step to step, what went wrong, one figure a search."""

import pytest

from ofa.report.relaxation import gap, gap_notes, probabilities, progress

SUBNET = {"resolution": 16, "depths": [1], "kernels": [3], "expands": [2]}


def relaxation(**values):
    epoch = {"entropy": 0.5, "skip_share": 0.25, "chosen": "0", "probabilities": [[0.4, 0.6], [1.0]]}
    return {
        "method": "gdas",
        "epochs": 2,
        "architecture_share": 0.5,
        "alternates": False,
        "limits": {},
        "genes": [{"name": "kernel_0_1", "options": ["3", "5"]}, {"name": "resolution", "options": ["16"]}],
        "history": [{"epoch": 1, **epoch}, {"epoch": 2, **epoch}],
        "subnet": SUBNET,
        "id": "0",
        "accuracies": {"relaxed": 0.9, "inherited": 0.5, "calibrated": 0.8, "supernet": 0.7},
        **values,
    }


def target(**values):
    scores = {"accuracy": 0.7, "loss": 1.0}
    finetuned = {"epochs": 1, "lr": 0.1, "kept": True, "before": scores, "after": scores | {"accuracy": 0.85}}
    return {"relaxation": relaxation(**values), "verified": {"finetuned": finetuned}}


def test_the_gap_from_the_relaxed_network_to_the_one_that_was_trained_further(report_of):
    report = report_of({"targets": {"phone": target(), "board": target(id="1")}})
    first, second = gap(report).rows
    assert [cell.text for cell in first] == ["phone", "gdas", "90.0", "50.0", "80.0", "70.0", "85.0", "+10.0"]
    assert second[6].text == "-"  # another network was trained
    assert any("another candidate (0) did better than the most probable one (1)" in line for line in gap_notes(report))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"alternates": True}, "k-fold architecture validation"),
        ({"stopped": "skips dominate"}, "! phone: the search stopped early: skips dominate."),
        ({"warnings": ["it did not move"]}, "! phone: it did not move."),
    ],
)
def test_what_went_wrong_is_said(report_of, values, words):
    report = report_of({"targets": {"phone": target(**values)}})
    assert any(words in line for line in gap_notes(report))
    assert not any(words in line for line in gap_notes(report_of({"targets": {"phone": target()}})))


def test_targets_that_shared_a_search_have_one_figure(report_of):
    report = report_of({"targets": {"phone": target(), "tv": target(), "board": target(method="darts")}})
    figures = probabilities(report)
    assert len(figures) == 2 and "phone, tv: probabilities of each choice (gdas)" in figures[0]
    assert len(progress(report)) == 2


def test_other_strategies_have_none_of_it(report_of):
    report = report_of({"targets": {"phone": {}}})
    assert (gap(report).rows, probabilities(report), progress(report)) == ([], [], [])
