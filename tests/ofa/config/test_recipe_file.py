from pathlib import Path

import pytest
import yaml

from ofa.config.recipe_file import dump_yaml, find_recipe, load_recipe, recipe_differences
from ofa.errors import UserError

GOOD = """
space: tiny_mbv3
train: {epochs: 2, lr: 0.1}
targets: {phone: {limits: {latency: 0.5x}}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides=overrides)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("5e-1", 0.5), ("1.5E-2", 0.015), ("1", 1.0), ("1e+0", 1)])
def test_numbers_that_yaml_1_1_reads_as_text(tmp_path, text, value):
    recipe = load_recipe(write(tmp_path, GOOD), overrides=[f"train.lr={text}"])
    assert recipe.train.lr == value
    assert isinstance(recipe.train.lr, float)


def test_text_that_looks_like_a_number_stays_text(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD), overrides=['name="1e5"', "data.folder=x", 'data.test="2e3"'])
    again = load_recipe(write(tmp_path, dump_yaml(recipe.to_dict())))
    assert (again.name, again.data.test) == ("1e5", "2e3")


def test_empty_sections_and_byte_order_marks_are_no_mistakes(tmp_path):
    assert load_recipe(write(tmp_path, "\ufeff" + GOOD + "data:\nsearch:\n")) == load_recipe(write(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the recipe is empty"),
        ("# nothing\n", "the recipe is empty"),
        ("- 1\n", "a recipe is a mapping of keys such as space, train and targets, not [1]"),
        ("space: tiny\n\ttrain: 1\n", "line 2, column 1: not valid YAML: found character '\\t'"),
        ("seed: 1\nspace: [1\n", "line 3, column 1: not valid YAML: expected ',' or ']'"),
        ("seed: 1\nspace: x\nseed: 2\n", 'line 3, column 1: not valid YAML: "seed" is given twice'),
        ("1: 2\n", "line 1, column 1: not valid YAML: a key that is not text"),
        ("seed: 1\nname: a\x01b\n", "line 2, column 8: not valid YAML: the character U+0001"),
        pytest.param(f"a: {5000 * '['}", "line 1, column 24: not valid YAML: nested deeper than 20 levels", id="deep"),
        ("a: &x [*x]\n", "line 1, column 8: not valid YAML: *x refers to a value that contains it"),
        (
            "a: !!python/object:os.system x\n",
            "line 1, column 4: not valid YAML: the tag tag:yaml.org,2002:python/object:os.syste; a recipe has",
        ),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, expected):
    (line,) = problems(write(tmp_path, text))
    assert line.startswith(expected)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "my.yaml").write_bytes(b"name: \xff\xfe")
    assert problems(tmp_path / "my.yaml") == ["cannot be read as a recipe: not UTF-8 text"]
    assert problems(tmp_path / "none.yaml") == ["cannot be read as a recipe: No such file or directory"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.total_epochs", "--set train.total_epochs: write it as key=value, such as train.total_epochs=3"),
        ("=3", "--set =3: write it as key=value, such as train.total_epochs=3"),
        ("train..lr=3", "--set train..lr=3: write it as key=value, such as train.total_epochs=3"),
        ("train.lr.x=3", "--set train.lr.x=3: train.lr is 0.1, which has no keys"),
        ("train.lr=[", "--set train.lr=[: line 1, column 2: not valid YAML: "),
        ("train.phases.0.lr=3", "--set train.phases: must be a list; it is a mapping"),
    ],
)
def test_bad_overrides(tmp_path, override, expected):
    (line,) = problems(write(tmp_path, GOOD), override)
    assert line.startswith(expected)


def test_overrides_reach_into_lists_and_leave_shared_anchors_alone(tmp_path):
    listed = "&p {name: a, epochs: 1, lr: 1}, {<<: *p, name: b}, *p"
    path = write(tmp_path, GOOD.replace("epochs: 2, lr: 0.1", f"phases: [{listed}]"))
    phases = load_recipe(path, overrides=["train.phases.0.lr=1e-2"]).train.phases
    assert [(phase.name, phase.lr) for phase in phases] == [("a", 0.01), ("b", 1), ("a", 1)]
    expected = "--set train.phases.3.lr=1: train.phases is a list; name its items by 0 to 2"
    assert problems(path, "train.phases.3.lr=1") == [expected]


def test_find_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()  # a folder of that name hides nothing
    assert find_recipe("quickstart").name == "quickstart.yaml"
    (tmp_path / "own.yaml").write_text(GOOD)
    assert find_recipe("own.yaml") == Path("own.yaml")
    for wrong in ("quikstart", "recipes/quickstrat.yaml"):
        with pytest.raises(UserError, match=rf'^{wrong}: no such recipe.* did you mean "quickstart"\?'):
            find_recipe(wrong)
    with pytest.raises(UserError, match="a folder, not a recipe file"):
        find_recipe(tmp_path)


def test_differences_name_keys_and_both_values(tmp_path):
    path = write(tmp_path, GOOD)
    overrides = ["train.lr=1e-3", "space.resolutions=[16]", "targets.x.limits.macs=5e6", "space.stages.0.se=true"]
    old = load_recipe(path).to_dict()
    values = yaml.safe_load(GOOD) | {"space": old["space"]}
    new = load_recipe(write(tmp_path, yaml.safe_dump(values)), overrides=overrides).to_dict()
    assert sorted(recipe_differences(old, new)) == [
        "space.resolutions: [16, 20, 24, 28, 32], now [16]",
        "space.stages.0.se: false, now true",
        "targets.x.int8_drop: absent, now 0.01",
        "targets.x.limits.macs: absent, now 5000000.0",
        "targets.x.onnx.symmetric: absent, now false",
        'targets.x.quantization_aware.epochs: absent, now "0.05x"',
        "targets.x.quantization_aware.lr: absent, now 3e-05",
        'targets.x.runtime: absent, now "onnxruntime"',
        "train.lr: 0.1, now 0.001",
    ]
    assert len(recipe_differences(new, old)) == 9
