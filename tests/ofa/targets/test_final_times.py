"""The last timing of models on a machine whose pace is not that of the table, by a clock that the tests hold."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ofa.pipeline.artefacts.evaluation import Evaluation
from ofa.pipeline.artefacts.report import Measured, Report
from ofa.report.model_card import render_card
from ofa.report.notes import notes
from ofa.report.pace import drift_words, pace_note
from ofa.report.tables import summary
from ofa.supernet.files import write_json
from ofa.targets import final_times as module
from ofa.targets.deployment import Deployment
from ofa.targets.final_times import Ready, final_times


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """``timed({target: (clock ms, reference ms in its table or None)}, pace)``: what the report would be told."""

    def run(models, pace, *, remote=False):
        for name, (_, reference) in models.items():
            info = {} if reference is None else {"reference": {"subnet": {"of": reference}, "ms": reference}}
            write_json(tmp_path / "costs" / f"{name}.json", {"info": info})
        runtime = SimpleNamespace(
            bind=lambda session, shape: session, load=lambda model, threads: model, convert=lambda *_: None
        )
        monkeypatch.setattr(Deployment, "module", property(lambda self: runtime))
        # A model stands for its own time.
        monkeypatch.setattr(
            module, "reference_model", lambda space, reference, part: (reference["ms"] * pace, (1, 8, 8))
        )
        monkeypatch.setattr(module, "interleaved", lambda calls, **_: 1e-3 * np.array([calls, calls], float))
        monkeypatch.setattr(
            module, "measure_remote_latency", lambda _, models, threads, rounds: [time for time, _ in models]
        )
        address = "ssh:board" if remote else None
        ready = {
            name: Ready(Deployment("litert", 32, address), clock, clock, (1, 8, 8))
            for name, (clock, _) in models.items()
        }
        return final_times(ready, None, {}, threads=1, folder=tmp_path / "costs")

    return run


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("pace", [0.6, 1.0, 1.6])
def test_the_latency_is_at_the_tables_pace_and_the_clocks_is_beside_it(timed, pace, remote):
    found = timed({"phone": (0.4 * pace, 0.8), "board": (0.2 * pace, 0.5)}, pace, remote=remote)
    assert found["phone"] == pytest.approx({"latency": 0.4, "latency_clock": 0.4 * pace, "pace": pace})
    assert found["board"] == pytest.approx({"latency": 0.2, "latency_clock": 0.2 * pace, "pace": pace})


def test_a_table_without_a_reference_network_has_the_clocks_time_alone(timed):
    found = timed({"phone": (0.4, None), "board": (0.3, 0.5)}, 1.5)
    assert found["phone"] == pytest.approx({"latency": 0.4})
    assert found["board"] == pytest.approx({"latency": 0.2, "latency_clock": 0.3, "pace": 1.5})


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        (1.62, "the machine ran 1.62 times slower than when the latency table was measured"),
        (1 / 1.62, "the machine ran 1.62 times faster than when the latency table was measured"),
        (1.05, None),
        (0.95, None),
    ],
)
def test_table_notes_card_and_report_name_a_pace_that_changed(finished, pace, said):
    values = json.loads((finished.folder / "report.json").read_text())
    measured = values["targets"]["phone"]["measured"]
    assert measured["latency"] * measured["pace"] == pytest.approx(measured["latency_clock"])
    measured |= {"latency": 0.371, "latency_clock": 0.371 * pace, "pace": pace}
    report = Report.model_validate(values)
    card = render_card(report, "phone", Evaluation.load(finished.folder), licence=None)
    latency = next(cell.text for cell in summary(report).rows[0] if " / 0.371" in cell.text)
    clock = f"{0.371 * pace:.3f}"
    found = [note for note in notes(report) if "the machine ran" in note]
    if said is None:
        assert not found and "the machine ran" not in card and latency.endswith("0.371")
    else:
        assert found == [f"! phone: {pace_note(report.targets['phone'].measured)}."] and said in found[0]
        assert f"the clock said {clock} ms, which is 0.371 ms at the table's pace" in card
        assert latency.endswith(f"0.371 (clock {clock})") or latency.endswith(f"0.371! (clock {clock})")


def test_a_report_of_before_has_no_pace_and_no_note():
    assert pace_note(Measured(validation_accuracy=0.5, test_accuracy=0.5, latency=0.4)) is None


@pytest.mark.parametrize(("drift", "said"), [(None, ""), (1.05, ""), (1.4, "changed by 1.40 times meanwhile")])
def test_a_table_measured_while_the_pace_changed_says_so(drift, said):
    assert drift_words(drift).endswith(said) and bool(drift_words(drift)) == bool(said)
