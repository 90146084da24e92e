"""Every number of a recipe has bounds, and every name is one that a folder can have."""

import dataclasses
import types
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import load_recipe
from ofa.config.search import SearchConfig
from ofa.errors import UserError
from ofa.predictors.costs.cost_table import CostTable
from ofa.stages import measure
from ofa.strategies.table import STRATEGIES, all_settings
from ofa.supernet import families
from ofa.supernet.space import SearchSpace
from ofa.targets.deployment import Deployment


def numbers(model: type[BaseModel], where: str = ""):
    """Every field that holds a number, with what is known of its bounds."""
    for name, field in model.model_fields.items():
        yield from _numbers(field.annotation, list(field.metadata), f"{where}.{name}".lstrip("."))


def _numbers(kind: Any, known: list[Any], where: str):
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        yield from _numbers(inner, [*known, *more], where)
    elif get_origin(kind) in (Union, types.UnionType):
        for one in get_args(kind):
            yield from _numbers(one, known, where)
    elif get_origin(kind) in (tuple, dict):
        yield from _numbers(get_args(kind)[0 if get_origin(kind) is tuple else 1], [], where)
    elif kind in (int, float):
        yield where, known
    elif kind is SearchSpace:
        for family in families.names():
            yield from numbers(families.space_class(family), where)
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from numbers(kind, where)


def bounds_of(known):
    found = {}
    for one in known:
        for part in [one, *getattr(one, "metadata", ())]:
            found |= {name: getattr(part, name) for name in ("ge", "gt", "le", "lt") if hasattr(part, name)}
    return found


def test_every_number_has_two_bounds():
    fields = dict(numbers(Recipe))
    assert len(fields) > 60
    checked = {"data.channels", "targets.limits_config.latency"}  # by validators of their own
    loose = {
        where
        for where, known in fields.items()
        if where not in checked
        and not where.startswith("targets.limits_config.")
        and not ({"ge", "gt"} & bounds_of(known).keys() and {"le", "lt"} & bounds_of(known).keys())
    }
    assert loose == set()


@pytest.mark.parametrize("name", all_settings())
def test_a_search_takes_what_a_recipe_takes(name):
    field = all_settings()[name]
    low, high = field.metadata["range"]
    assert getattr(SearchConfig(), name) == field.default and SearchConfig.model_fields[name].description
    assert getattr(SearchConfig(**{name: high}), name) == high
    with pytest.raises(ValueError, match=name):
        SearchConfig(**{name: 2 * high + 1})
    for settings in {each.settings for each in STRATEGIES.values()}:
        if name in {field.name for field in dataclasses.fields(settings)}:
            assert {getattr(settings(**{name: value}), name) for value in (low, high)} == {low, high}
            with pytest.raises(UserError, match=f"{name} is"):
                settings(**{name: 2 * high + 1})


@pytest.mark.parametrize(
    "option",
    [
        *("space.stem.width=9223372036854775808", "space.resolutions=[1000000]", "data.crop_pct=5e-324", "seed=1e30"),
        *(
            "train.momentum=0",
            "train.momentum=5e-324",
            "train.grad_accum_steps=9223372036854775808",
            "train.grad_accum_steps=33",
        ),
        *("train.mixup=5e-324", "train.cutmix=5e-324", "train.mixup=1e-3", "train.warmup_epochs=1.7e308"),
        *("train.lr=1.7e308", "train.lr=5e-324", "data.augment.color_jitter=1.7e308", "search.parents=1.0"),
        *(
            "train.dropout=0.9999999999999999",
            "train.distill_weight=1e300",
            "train.clip_grad=5e-324",
            "train.ema=5e-324",
        ),
        *("measure.threads=100000", "measure.rounds=1e9", "collect.calibration_images=1", "data.workers=100000"),
        *("collect.subnets=1000000", "search.population=9223372036854775808", "search.seconds=5e-324"),
        *("targets.phone.limits={macs: 1e300}", "targets.phone.limits={macs: 5e-324}", "seed=4294967296"),
        *("targets.phone.limits={latency_ms: 5e-324}", "targets.phone.limits={macs: 0.000000000000000001x}"),
        "targets.phone.limits={macs: " + 3000 * "1" + "x}",
        *(f"space.stages=[{{width: 8, expands: [{ratio}]}}]" for ratio in ("1e308", "1e-30", "5e-324", "0.001")),
        *(f"space.stages=[{{width: 8, depths: {depths}}}]" for depths in ("[1000000]", "[1, 4000]", "[33]")),
        "space.stages=[" + ", ".join(5 * ["{width: 8, depths: [32]}"]) + "]",
        "space.stages=[{width: 16000, depths: [4], expands: [100]}]",
        "space.resolutions=[" + ", ".join(map(str, range(16, 140))) + "]",  # with the stages below: too many blocks
        "data.augment.auto_augment=rand-m9-n999",
        "data.augment.auto_augment=augmix-w999",
        *(f"name={name}" for name in ("con", "'NUL.txt'", "x.", "'a\\b'", "a" * 300, "é" * 200, '"a\\nb"', '"a\\0b"')),
        *(f"name={name}" for name in ('"a\\u2028b"', '"a\\u202eb"', "..", "''")),
        *(f"targets.{name}={{limits: {{macs: 1x}}}}" for name in ("con", "-rf", "a" * 100, "a b")),
        *(f'data.licence="{text}"' for text in ("a\\0b", "a\\nb", "\\u2028", 400 * "x", " ")),
        *(f'data.folder="{text}"' for text in ("a\\0b", "a\\nb", "~nobody_at_all/x", 300 * "x", 2100 * "x/")),
        *('train.init="a\\0b"', 'targets.phone.costs="a\\0b"', 'data.test="a\\0b"'),
    ],
)
def test_what_no_stage_could_take_is_refused_in_one_sentence(small, option):
    many = "space.stages=[" + ", ".join(8 * ["{width: 64, depths: [8], expands: [2, 3, 4, 5, 6]}"]) + "]"
    overrides = [many, option] if option.startswith("space.resolutions=[16") else [option]
    with pytest.raises(UserError) as caught:
        load_recipe(small, overrides=overrides)
    (line,) = str(caught.value).splitlines()
    assert option.split("=")[0].split(".")[0] in line
    assert len(line) < 400


def test_a_space_of_few_networks_can_be_measured(small):
    """With one network left to check on, a repeated measurement has no rank correlation."""
    space = load_recipe(small).space
    quality = {"test_subnets": 1, "mape": 0.1, "kendall_tau": None, "repeat_mape": 0.1, "repeat_kendall_tau": None}
    table = CostTable.macs(space, num_classes=2)
    table.info["quality"] = quality
    assert measure._line(Deployment("onnxruntime", 32), table).endswith("(a repeated measurement: 10.0%)")
