"""``ofa models``: what works with its numbers, and of what does not the first thing in the way."""

import re

import numpy as np
import pytest
import timm

from ofa.catalogue import models
from ofa.catalogue.models import ModelFacts, NoSpace, facts_of, matching_names, model_lines
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet import families
from ofa.supernet.space import SearchSpace


def test_a_model_is_listed_with_its_networks_and_macs(call):
    code, out, _ = call("models", "resnet10t")
    space = SearchSpace.from_timm("resnet10t")
    table = CostTable.macs(space, num_classes=1000)
    ends = table.predict(np.stack([space.encode(space.smallest), space.encode(space.largest)]))
    found = facts_of("resnet10t")
    assert code == 0 and len(out.splitlines()) == 1
    assert found.size == space.size and [found.smallest, found.largest] == pytest.approx(ends)
    assert f"{space.resolutions[0]} to {space.resolutions[-1]} px" in out and f"{space.size:,} networks" in out


def test_lines_come_one_by_one_and_the_last_counts_them():
    asked = []

    def space_of(name):
        asked.append(name)
        if name.endswith("50"):
            raise ValueError("layer1.0: it is in the way")
        return SearchSpace.preset("tiny_mbv3")

    lines = model_lines("lcnet_*", space_of=space_of, progress=False)
    first = next(lines)
    assert len(asked) == 1 and first.startswith(asked[0])
    *_, last = lines
    names = timm.list_models("lcnet_*")
    assert asked == names and len(names) > 4
    refused = [name for name in names if name.endswith("50")]
    assert last.startswith(f"{len(names) - len(refused)} models of timm {timm.__version__} work, and {len(refused)}")
    assert f"{refused[0]}: layer1.0: it is in the way" in last


def test_models_of_other_classes_are_left_out_unbuilt(monkeypatch):
    known = families.derived_classes().keys()
    names = matching_names(None)
    assert 200 < len(names) < len(timm.list_models())
    assert not [name for name in names if name.startswith(("swin", "regnet", "vgg"))]
    # Every class that timm builds under a supported module's name is still there.
    for name in ("resnet18", "hardcorenas_a", "tf_efficientnet_lite0"):
        assert name in names and type(timm.create_model(name)).__name__ in known


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("regnetx_002", r"regnetx_002 is a RegNet.*first module in the way is s1, a RegStage of timm\.models\.regnet"),
        ("rsnet18", r"no model called 'rsnet18'; did you mean resnet18"),
        ("qqqqqq", r"no model called 'qqqqqq'; `ofa models` lists"),
    ],
)
def test_what_does_not_work_is_one_sentence(call, wanted, words):
    code, out, err = call("models", wanted)
    assert code == 2 and not out
    assert re.search(words, err) and len(err.strip().splitlines()) == 1


def test_a_model_that_breaks_torch_does_not_end_the_list():
    def space_of(name):
        raise RuntimeError("shape\nand more")

    assert facts_of("resnet18", space_of) == NoSpace("resnet18", "shape")
    with pytest.raises(UserError, match="shape"):
        list(model_lines("resnet18", space_of=space_of, progress=False))


def test_huge_numbers_of_networks_fit_the_line():
    line = models.model_line(ModelFacts("name", 10**400, (128, 224), 1e6, 2.5e9), 6)
    assert line == "name      1.0e400 networks     1 M to  2.5 G MACs  128 to 224 px"
