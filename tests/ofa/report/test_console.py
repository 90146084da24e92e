"""What a terminal shows fits in 100 columns."""

from ofa.report.console import MAX_WIDTH, aligned, wrapped


def test_no_line_of_a_finished_run_is_wider_than_a_terminal(finished):
    lines = finished.out.splitlines()
    assert len(lines) > 40
    assert [line for line in lines if len(line) > MAX_WIDTH] == []
    assert f"\nphone: {finished.folder}/models/phone/model.onnx\n" in finished.out  # whole, to be copied


def test_a_table_that_fits_stays_one():
    rows = [["phone", "0.050", "9"], ["board", "0.030", "10"]]
    assert aligned(("target", "latency ms\nmeasured", "n"), rows, rule=True) == [
        "target  latency ms  n",
        "        measured",
        "----------------------",
        "phone   0.050       9",
        "board   0.030       10",
    ]


def test_what_does_not_fit_stands_below_with_the_first_column_again():
    columns = [f"column {number}" for number in range(30)]
    rows = [[f"{name}{number}" for number in range(30)] for name in ("a", "b")]
    lines = aligned(columns, rows, rule=True)
    tables = "\n".join(lines).split("\n\n")
    assert len(tables) == 4 and all(table.startswith("column 0  ") for table in tables)
    assert max(map(len, lines)) <= MAX_WIDTH
    shown = " ".join(lines).split()
    assert all(shown.count(row[number]) == 1 for row in rows for number in range(1, 30))


def test_a_cell_that_is_too_wide_by_itself_is_left_whole():
    lines = aligned(("target", "model", "n"), [["phone", "x" * 200, "1"]])
    assert lines == ["target  model", f"phone   {'x' * 200}", "", "target  n", "phone   1"]
    assert aligned(("target", "model"), [["x" * 200, "y"]])[1] == f"{'x' * 200}  y"


def test_sentences_are_wrapped_and_paths_are_not():
    path = "/" + "x" * 150 + "/model.onnx"
    lines = wrapped("latency on onnxruntime float32 of 8 unseen subnets: " * 4 + path, indent=4).splitlines()
    assert lines[-1] == f"    {path}"
    assert all(len(line) <= MAX_WIDTH for line in lines[:-1]) and lines[1].startswith("    ")
    assert wrapped("short") == "short"
