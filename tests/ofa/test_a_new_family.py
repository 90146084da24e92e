"""A whole run with a family from outside the product: the folder in ``tests/extending/toy_family``, and a recipe."""

import pytest

from ofa.supernet.files import read_json

RECIPE = """
space: toy_small
train: {epochs: 1, lr: 0.1}
collect: {subnets: 10, calibration_images: 256}
measure: {rounds: 2, fit_subnets: 3, test_subnets: 3}
search: {population: 20, generations: 3}
targets:
  phone: {limits: {macs: 0.8x}}
"""


@pytest.fixture
def recipe(toy_family, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(RECIPE)
    return path


def test_a_run_from_recipe_to_report(recipe, call, tmp_path):
    folder = tmp_path / "run"
    code, _, err = call("run", recipe, "--out", folder)
    assert code == 0, err
    assert (folder / "accuracy.csv").read_text().startswith("resolution,depths,widths,accuracy\n")
    assert "is a `toy.Toy`" in (folder / "models" / "phone" / "card.md").read_text()
    target = read_json(folder / "report.json")["targets"]["phone"]
    assert set(target["subnet"]) == {"resolution", "depths", "widths"}
    assert target["verified"]["file"] == "model.onnx"


def test_a_mistake_is_told_by_the_family_s_own_keys(recipe, call):
    code, _, err = call("check", recipe, "--set", "space.width=3")
    assert code == 2 and 'space.width: unknown key; did you mean "widths"?' in err
