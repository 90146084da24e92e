import math
import warnings
from pathlib import Path

import pytest
import yaml

from ofa.config.recipe import Recipe
from ofa.config.recipe_file import dump_yaml, find_recipe, load_recipe, recipe_differences
from ofa.config.target import Limit
from ofa.errors import UserError
from ofa.supernet.space import SearchSpace
from ofa.supernet.training.phases import progressive_shrinking

SHIPPED = ["fashion_mnist", "fashion_mnist_devices", "image_folder", "imagenet_ofa_mbv3", "pretrained", "quickstart"]
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


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_and_survive_the_run_folder(name, tmp_path):
    recipe = load_recipe(find_recipe(name))
    assert recipe.name == name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = write(tmp_path, dump_yaml(recipe.to_dict()))
    assert load_recipe(stored) == recipe
    assert yaml.safe_load(stored.read_text()) == recipe.to_dict()
    assert recipe_differences(recipe.to_dict(), load_recipe(stored).to_dict()) == []


def test_every_shipped_file_is_in_the_table_above():
    assert sorted(path.stem for path in find_recipe("quickstart").parent.glob("*.yaml")) == SHIPPED


def test_imagenet_recipe_lists_the_published_schedule():
    recipe = load_recipe(find_recipe("imagenet_ofa_mbv3"))
    # The published peak for a batch of 2048; one machine has 256.
    expected = progressive_shrinking(recipe.space, epochs=180, lr=2.6 * 256 / 2048)
    assert len(recipe.train.phases) == len(expected) == 6
    for given, phase in zip(recipe.train.phases, expected, strict=True):
        assert given.lr == pytest.approx(phase.lr)
        for key in ("name", "epochs", "subnets", "sort_channels"):
            assert getattr(given, key) == getattr(phase, key), (phase.name, key)
        opened = given.open.model_dump()
        assert {role: opened.pop(role) for role in recipe.space.shrinking} == {
            role: phase.num_open(role) for role in recipe.space.shrinking
        }
        assert set(opened.values()) <= {1}  # roles of other families
    assert sum(phase.epochs for phase in recipe.train.phases) == 590
    assert (recipe.data.test, recipe.train.batch_size) == ("val", 256)


def test_the_recipe_for_images_is_short_and_says_where_every_key_is():
    text = find_recipe("image_folder").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40 and "docs/recipe.md" in text
    recipe = load_recipe(find_recipe("image_folder"))
    assert recipe.data.folder.name == "my_images" and list(recipe.targets) == ["server", "phone", "board"]


def test_space_by_name_by_change_and_whole(tmp_path):
    tiny = SearchSpace.preset("tiny_mbv3")
    path = write(tmp_path, GOOD)
    assert load_recipe(path).space == tiny
    changed = load_recipe(path, overrides=["space.resolutions=[16, 32]"]).space
    assert changed.resolutions == (16, 32)
    assert changed.stages == tiny.stages
    values = yaml.safe_load(GOOD) | {"space": tiny.to_dict()}
    assert load_recipe(write(tmp_path, yaml.safe_dump(values))).space == tiny


def test_limits_of_microcontrollers_are_in_bytes_and_instructions(tmp_path):
    (problem,) = problems(write(tmp_path, GOOD), "targets.phone.runtime=tflm", "targets.phone.limits={sram_kb: 9}")
    assert problem.endswith(
        "targets.phone.runtime: tflm runs relu and relu6, not hard_swish, squeeze_excite; use a space such as mcu or "
        "mcu_32"
    )
    for written, expected in (
        ("{runtime: tflm, limits: {latency: 1x}}", "limits: latency cannot be limited on tflm, only on onnxruntime, t"),
        ("{runtime: tflm, precision: float32, limits: {macs: 1x}}", "precision: tflm runs int8; leave precision out"),
    ):
        (problem,) = problems(tmp_path / "my.yaml", "space=mcu_32", f"targets.phone={written}")
        assert f"targets.phone.{expected}" in problem
    written = "{runtime: cortex_m4, limits: {sram_kb: 22, flash_kb: 0.5x, instructions: 40e6}}"
    target = load_recipe(write(tmp_path, GOOD), overrides=["space=mcu_32", f"targets.phone={written}"]).targets["phone"]
    assert target.limits == (
        Limit("sram", 22 * 1024, False),
        Limit("flash", 0.5, True),
        Limit("instructions", 40e6, False),
    )
    assert target.bits == 8


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("{latency_ms: 0.8}", [Limit("latency", 0.8, False)]),
        ("{latency: 0.5x}", [Limit("latency", 0.5, True)]),
        ("{latency: 1x}", [Limit("latency", 1.0, True)]),
        ("{latency: .25x}", [Limit("latency", 0.25, True)]),
        ("{macs: 5e6}", [Limit("macs", 5e6, False)]),
        ("{macs: 5000000}", [Limit("macs", 5e6, False)]),
        ("{params: 0.3x, macs: 4.5E+6}", [Limit("macs", 4.5e6, False), Limit("params", 0.3, True)]),
    ],
)
def test_limits(tmp_path, limits, expected):
    recipe = load_recipe(write(tmp_path, GOOD), overrides=[f"targets.phone.limits={limits}"])
    assert sorted(recipe.targets["phone"].limits, key=lambda limit: limit.cost) == expected
    assert Recipe.from_dict(recipe.to_dict()).targets["phone"].limits == recipe.targets["phone"].limits


def test_paths_start_at_the_working_directory_and_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "elsewhere").mkdir()
    path = write(tmp_path / "elsewhere", GOOD)
    assert load_recipe(path, overrides=["data.folder=pictures"]).data.folder == tmp_path / "pictures"
    assert load_recipe(path, overrides=["data.idx=~/idx"]).data.idx == Path("/home/someone/idx")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epohcs=3", 'train.epohcs: unknown key; did you mean "epochs"? Allowed: phases, total_epochs, epochs, '),
        ("serch.population=3", 'serch: unknown key; did you mean "search"? Allowed: name, seed, space, '),
        ("space.stem.with=3", 'space.stem.with: unknown key; did you mean "width"? Allowed: width, stride, '),
        ("targets.phone.limit=3", 'targets.phone.limit: unknown key; did you mean "limits"? Allowed: runtime, '),
        ("targets.limits={limit: 3, limits: {macs: 1x}}", "targets.limits.limit: unknown key; did you mean "),
        ("targets.phone.limits.mac=3", 'targets.phone.limits.mac: unknown key; did you mean "macs"? Allowed: latency_'),
        (
            "space={preset: ofa_mbv3, resolutions: [16], stages: [{width: 8, depths: [1], kernels: [3, 5]}]}",
            "space: has 6 networks, too few to predict from; give it options for 10",
        ),
        ("train.zzz=3", "train.zzz: unknown key. Allowed: phases, "),
        ('train.epochs="3"', 'train.epochs: must be an integer; it is "3"'),
        ("train.epochs=true", "train.epochs: must be an integer; it is true"),
        ("train.epochs=1.5", "train.epochs: must be an integer; it is 1.5"),
        ("train.epochs=0", "train.epochs: must be greater than or equal to 1; it is 0"),
        ("train.lr=true", "train.lr: must be a number; it is true"),
        ('train.lr="0.1"', 'train.lr: must be a number; it is "0.1"'),
        ("train.lr=.nan", "train.lr: must be a finite number; it is NaN"),
        ("train.lr=null", "train.lr: missing; phases: progressive_shrinking needs it"),
        ("train.optimizer=adan", "train.optimizer: must be 'sgd', 'adamw', 'lamb' or 'rmsprop'; it is \"adan\""),
        ("train.phases=none", "train.phases: must be 'auto', 'progressive_shrinking', 'random', 'sandwich' or "),
        ("train.phases=[]", "train.phases: must have at least 1 item; it is []"),
        ("train.phases=3", "train.phases: must be a list; it is 3"),
        ("train.phases=[3]", "train.phases.0: must be a mapping; it is 3"),
        (
            "train.phases=[{name: a, epochs: 1, lr: 1, distill: 1}]",
            "train.phases.0.distill: unknown key. Allowed: name, epochs, lr, subnets, open, sort_",
        ),
        ("train=3", "train: must be a mapping; it is 3"),
        ("data.channels=2", "data.channels: must be 1 (grey) or 3 (colour); it is 2"),
        ("data.channels=true", "data.channels: must be an integer; it is true"),
        ("data.crop_pct=1.5", "data.crop_pct: must be less than or equal to 1; it is 1.5"),
        ("data={folder: a, idx: b}", "data: folder and idx are both given; keep one of them"),
        ("data.test=val", 'data.test: "val" names a sub-folder of data.folder, which is not given'),
        ("data.augment.scale=[1, 0.5]", "data.augment.scale: must be [smallest, largest]; it is [1, 0.5]"),
        ("data.augment.auto_augment=random", "data.augment.auto_augment: must match pattern"),
        ("space=tiny_mbv2", 'space.preset: unknown preset "tiny_mbv2"; did you mean "tiny_mbv3"? Allowed: ofa_mbv3, '),
        ("space=null", "space: missing; give a preset (ofa_mbv3, "),
        ("space=[1]", "space: must be a mapping; it is [1]"),
        ('space.resolutions=["16"]', 'space.resolutions.0: must be an integer; it is "16"'),
        ("space.resolutions=[32, 16]", "space: resolutions [32, 16] must be ascending"),
        ("space.stem.stride=true", "space.stem.stride: must be an integer; it is true"),
        ("space.stem.stride=2.0", "space.stem.stride: must be an integer; it is 2.0"),
        ("space.stem.stride=3", "space.stem.stride: must be less than or equal to 2; it is 3"),
        ("space.stages=[{width: 8, stride: true}]", "space.stages.0.stride: must be an integer; it is true"),
        ("space.stages=[{width: 8, stride: 0}]", "space.stages.0.stride: must be greater than or equal to 1; it is 0"),
        ("targets={}", "targets: must have at least 1 item"),
        ("targets.Phone.limits.macs=3", "targets.Phone: must match pattern"),
        ("targets.phone.runtime=tflite", "targets.phone.runtime: must be 'onnxruntime', 'torch', 'litert', 'tflm', "),
        ("targets.phone.precision=int4", "targets.phone.precision: must be 'float32' or 'int8'; it is \"int4\""),
        (
            "targets.phone.limits.sram_kb=64",
            "targets.phone.limits: sram cannot be limited on onnxruntime, only on tflm",
        ),
        (
            "targets.phone.limits.instructions=4e6",
            "targets.phone.limits: instructions cannot be limited on onnxruntime",
        ),
        ("targets.phone.limits.flash_kb=0", "targets.phone.limits.flash_kb: must be a positive number such as 5e6"),
        (
            "targets.phone={runtime: torch, precision: int8, limits: {macs: 1x}}",
            "targets.phone.precision: torch runs flo",
        ),
        ("targets.phone.limits={}", "targets.phone.limits: empty; give at least one limit"),
        ("targets.phone.limits.latency=0.5", "targets.phone.limits.latency: must be a fraction of the largest subne"),
        ("targets.phone.limits.latency=2x", "targets.phone.limits.latency: must be a fraction of the largest subne"),
        ("targets.phone.limits.latency=0x", "targets.phone.limits.latency: must be a fraction of the largest subne"),
        ("targets.phone.limits.latency_ms=3", "targets.phone.limits: latency and latency_ms are both given"),
        ("targets.phone.limits.macs=-3", "targets.phone.limits.macs: must be a positive number such as 5e6, or a fr"),
        ("targets.phone.limits.macs=true", "targets.phone.limits.macs: must be a positive number such as 5e6, or a f"),
        ("targets.phone.limits.macs=50%", "targets.phone.limits.macs: must be a positive number such as 5e6, or a fr"),
        ("name=a/b", "name: must begin with a letter or digit, without / or"),
    ],
)
def test_every_mistake_names_its_key_and_what_is_allowed(tmp_path, override, expected):
    path = write(tmp_path, GOOD)
    (by_option,) = problems(path, override)
    assert by_option.startswith(f"--set {expected}")
    # The same mistake written into the file.
    values = yaml.safe_load(GOOD)
    key, _, text = override.partition("=")
    *sections, last = key.split(".")
    place = values
    if sections[:1] == ["space"]:
        values["space"] = {"preset": "tiny_mbv3"}
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = yaml.safe_load(text)
    (in_file,) = problems(write(tmp_path, yaml.safe_dump(values)))
    if key != "name":
        assert in_file.startswith(expected)


def test_latency_without_x_is_told_both_ways_to_write_it(tmp_path):
    (line,) = problems(write(tmp_path, GOOD.replace("0.5x", "0.4")))
    assert "such as 0.4x" in line
    assert "latency_ms" in line


def test_phases_cannot_open_more_options_than_the_space_has(tmp_path):
    path = write(
        tmp_path, GOOD.replace("epochs: 2, lr: 0.1", "phases: [{name: a, epochs: 1, lr: 1, open: {depth: 3}}]")
    )
    assert problems(path) == ["train.phases.0.open.depth: must be at most 2 (options); it is 3"]
    assert problems(path, "train.phases.0.open.depth=2", "train.epochs=3") == [
        "--set train.epochs: not with listed phases; set train.phases.0.epochs and so on"
    ]
    assert load_recipe(path, overrides=["train.phases.0.open.depth=2"]).train.phases[0].open.depth == 2


def test_all_problems_are_listed(tmp_path):
    text = GOOD.replace("epochs: 2", "epohcs: 2").replace("tiny_mbv3", "{preset: tiny, hed: {}}") + "seed: -1\n"
    keys = {line.split(":")[0] for line in problems(write(tmp_path, text))}
    assert keys == {"train.epohcs", "space.preset", "space.hed", "seed"}


def test_values_are_frozen_and_typed(tmp_path):
    recipe = load_recipe(write(tmp_path, GOOD))
    with pytest.raises(Exception, match="frozen"):
        recipe.train.lr = 1.0
    assert isinstance(recipe.space, SearchSpace)
    assert math.isfinite(recipe.train.distill_weight)
