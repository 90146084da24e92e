"""``ofa init``: what it writes is a recipe that runs; what it is given wrongly is one sentence."""

import re
from dataclasses import replace

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import timm
from PIL import Image

from ofa.config.recipe_file import load_recipe
from ofa.errors import UserError
from ofa.export.runtimes import RUNTIMES
from ofa.init import plan, pretrained, write
from ofa.init.devices import DEVICES
from ofa.pipeline.estimate import RunSeconds, training_macs
from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet
from ofa.targets import requirements

SECONDS_PER_MAC = 1e-9


@pytest.fixture
def clock(monkeypatch):
    """Training takes a fixed time a MAC, so that nothing is timed."""

    def seconds(recipe, data):
        macs = CostTable.macs(recipe.space, num_classes=len(data.classes), in_chans=data.channels)
        training = SECONDS_PER_MAC * training_macs(recipe, data, macs)
        return RunSeconds(training, accuracies=5.0, finetuning=0.1 * training, rest=10.0, threads=None)

    monkeypatch.setattr(plan, "run_seconds", seconds)


@pytest.fixture
def written(tmp_path):
    """``written(folder, targets, time)``: the recipe that was written, and the lines told."""

    def make(folder, targets=("phone",), time="1h", **start):
        lines = []
        out = tmp_path / "r.yaml"
        write.write_recipe(folder, out, targets=targets, time=time, force=True, told=lines.append, **start)
        return load_recipe(tmp_path / "r.yaml"), "\n".join(lines)

    return make


@pytest.mark.usefixtures("quick_models")
def test_the_recipe_runs_unchanged(call, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("init", tiny, "--targets", "server", "--time", "10m")
    assert code == 0, err
    assert "60 images" in out and "wrote     recipe.yaml" in out
    small = [
        "train.total_epochs=1",
        "collect.subnets=10",
        "measure.rounds=1",
        "measure.fit_subnets=2",
        "measure.test_subnets=2",
    ]
    small += ["data.workers=0", "search.generations=2", "search.candidates=1", "space.resolutions=[16,20]"]
    code, out, err = call("run", "recipe.yaml", *(word for one in small for word in ("--set", one)))
    assert code == 0, err
    assert (tmp_path / "runs" / "recipe" / "models" / "server" / "model.onnx").is_file()


@pytest.mark.parametrize("targets", [("server",), ("phone", "board"), ("m4",), ("phone", "m4", "m55")], ids="-".join)
def test_every_target_can_run_the_space(tiny, written, clock, targets):
    recipe, _ = written(tiny, targets)
    assert tuple(recipe.targets) == targets
    for target in recipe.targets.values():
        assert recipe.space.operators <= (RUNTIMES[target.runtime].operators or recipe.space.operators)
        assert target.limits and all(limit.relative for limit in target.limits)


def test_microcontrollers_give_up_squeeze_and_excite_and_the_file_says_so(tiny, written, clock, tmp_path):
    written(tiny, ("phone", "m4"))
    assert "without squeeze-and-excite and hard-swish, which m4 cannot run" in (tmp_path / "r.yaml").read_text()


@pytest.mark.parametrize(("side", "largest"), [(16, 20), (24, 24), (48, 48), (100, 96), (200, 192)])
def test_resolutions_are_no_larger_than_the_images(make_images, written, clock, side, largest):
    recipe, _ = written(make_images(side=side, count=10), time="10d")
    assert recipe.space.resolutions[-1] == largest


@pytest.mark.parametrize("grey", [True, False])
def test_grey_images_have_one_channel(make_images, written, clock, grey):
    recipe, _ = written(make_images(grey=grey))
    assert recipe.data.channels == (1 if grey else 3)


def test_mnist_files_are_read_too(tmp_path, written, clock):
    images, labels = np.random.default_rng(0).integers(0, 255, (60, 28, 28), np.uint8), np.arange(60) % 3
    header = bytes([0, 0, 8, 3]) + np.array([60, 28, 28], ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = bytes([0, 0, 8, 1]) + np.array([60], ">u4").tobytes()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
    recipe, _ = written(tmp_path)
    assert recipe.data.idx == tmp_path and recipe.data.channels == 1


def test_more_time_means_more_epochs_and_no_more_than_fit(make_images, written, clock):
    images, epochs = make_images(side=64, count=40), []
    for minutes in (2, 10, 60):
        recipe, told = written(images, time=f"{minutes}m")
        epochs.append(recipe.train.total_epochs)
        assert "were asked for" in told and "although" not in told
    assert epochs == sorted(epochs) and epochs[0] < epochs[-1]


def test_what_does_not_fit_the_time_says_so(make_images, written, monkeypatch, clock):
    images = make_images(side=200, count=10)
    slow = plan.run_seconds
    monkeypatch.setattr(plan, "run_seconds", lambda *given: replace(slow(*given), training=1e8))
    recipe, told = written(images, time="2m")
    assert recipe.train.total_epochs == 1
    assert "although 2 minutes were asked for" in told
    assert recipe.space.resolutions[-1] == 32  # the smallest space was taken


@pytest.mark.parametrize(
    ("missing", "runtime", "words"),
    [("ai_edge_litert", "onnxruntime", "pip install 'once-for-all[tflite]'")],
)
def test_what_is_not_installed_is_replaced_and_named(
    tiny, written, clock, monkeypatch, tmp_path, missing, runtime, words
):
    find = requirements.find_spec
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name == missing else find(name))
    recipe, told = written(tiny, ("phone",))
    assert recipe.targets["phone"].runtime == runtime
    assert words in told and words in (tmp_path / "r.yaml").read_text()


def test_without_an_emulator_memory_is_limited(tiny, written, clock, monkeypatch):
    monkeypatch.setattr("ofa.export.runtimes.shutil.which", lambda tool: None)
    recipe, told = written(tiny, ("m4",))
    assert recipe.targets["m4"].runtime == "cortex_m4"
    assert {limit.cost for limit in recipe.targets["m4"].limits} == {"sram", "flash"}
    assert "qemu-system-arm" in told


BAD = {
    "no folder": (["nowhere"], r"nowhere is not a folder; give the path"),
    "a file": (["file.txt"], r"file.txt is not a folder"),
    "no images": (["empty"], r"empty"),
    "one class": (["one"], r"only the class 'cat'; a classifier needs at least two"),
    "broken": (["broken"], r"none of \d+ training images that were tried can be read"),
    "target": (
        ["good", "--targets", "fone"],
        r"no device is called 'fone'; did you mean \"phone\"\? There are: server",
    ),
    "targets twice": (["good", "--targets", "m4,m4"], r"m4 is given twice"),
    "no targets": (["good", "--targets", ","], r"--targets is empty"),
    "time": (["good", "--time", "soon"], r"--time soon: write hours and minutes"),
    "short": (["good", "--time", "5s"], r"--time 5s: must be from one minute"),
    "there": (["good", "--out", "file.txt"], r"file.txt is there already; .*--force"),
    "out folder": (["good", "--out", "empty"], r"--out empty: a folder"),
    "out nowhere": (["good", "--out", "x/y.yaml"], r"there is no folder x; make it"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence(call, tmp_path, monkeypatch, tiny, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "good").symlink_to(tiny)
    for folder in ("one/cat", "broken/cat", "broken/dog"):
        (tmp_path / folder).mkdir(parents=True)
        for index in range(10):
            image = tmp_path / folder / f"{index}.png"
            Image.new("RGB", (20, 20), (index, 0, 0)).save(image)
            if folder != "one/cat":
                image.write_bytes(f"no image {index}".encode())
    words, expected = BAD[case]
    code, _, err = call("init", *words)
    assert code == 2
    assert re.search(expected, err) and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_recipe_that_is_there_is_overwritten_by_force_alone(tiny, clock, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("mine")
    assert call("init", tiny)[0] == 2 and (tmp_path / "recipe.yaml").read_text() == "mine"
    assert call("init", tiny, "--force")[0] == 0
    assert load_recipe(tmp_path / "recipe.yaml").data.folder == tiny


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1.5h", 5400), ("1 d", 86400)]
)
def test_times_as_people_write_them(text, seconds):
    assert plan.seconds_of(text) == seconds


def test_the_help_names_every_device(call):
    assert ", ".join(DEVICES) in call("init", "--help")[1]


TIMM, OTHER = "lcnet_050", "lcnet_075"


@pytest.fixture
def weights(tmp_path):
    """``weights(model, path)``: its weights in a file, as timm and the hub keep them."""

    def write(model, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        safetensors.torch.save_file(state, path)
        return path

    return write


@pytest.fixture
def cached(monkeypatch, tmp_path, weights):
    """timm's cache, with the weights of one model."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / f"models--{timm.models.get_pretrained_cfg(TIMM).hf_hub_id.replace('/', '--')}"
    weights(timm.create_model(TIMM), repository / "snapshots" / "abc" / "model.safetensors")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    return TIMM


def test_weights_in_timms_cache_are_started_from(make_images, written, clock, cached, monkeypatch):
    monkeypatch.setattr(pretrained, "matching_names", lambda wanted: [OTHER, cached])
    recipe, _ = written(make_images(side=128, count=10))
    assert recipe.space.timm == cached
    assert recipe.train.init == "pretrained" and recipe.train.lr is None
    small, _ = written(make_images(side=24, count=10))  # its own size would be too large for these
    assert small.train.init is None


def test_an_asked_model_without_weights_here_says_so(tiny, written, clock, cached, tmp_path):
    recipe, _ = written(tiny, timm=OTHER)
    text = (tmp_path / "r.yaml").read_text()
    assert recipe.space.timm == OTHER and recipe.train.init is None
    assert "pretrained weights are not on this machine" in text and "# init: pretrained" in text


@pytest.mark.parametrize("named", [True, False], ids=["of a model", "of a preset"])
def test_a_file_of_weights_is_started_from(tiny, written, clock, tmp_path, weights, named):
    model = timm.create_model(TIMM) if named else Supernet(SearchSpace.preset("tiny_mbv3"), num_classes=5).model
    file = weights(model, tmp_path / "w.safetensors")
    recipe, _ = written(tiny, timm=TIMM if named else None, weights=file)
    assert recipe.train.init == file and recipe.train.lr is None
    if not named:
        assert recipe.space == SearchSpace.preset("tiny_mbv3")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timm": TIMM, "weights": "other"}, r"--weights: .*does not fit the largest network"),
        ({"weights": "other"}, r"--weights .*: of none of the presets .*--timm NAME"),
        ({"weights": "missing"}, r"--weights .*missing.safetensors: no such file"),
        ({"timm": "resnet19"}, r"--timm resnet19: timm .* has no model called 'resnet19'; did you mean"),
        ({"timm": "vgg11"}, r"--timm vgg11: vgg11 is a VGG"),
        ({"timm": TIMM, "targets": ("m4",)}, r"--timm lcnet_050: m4 cannot run its .*squeeze_excite"),
    ],
    ids=str,
)
def test_models_and_weights_that_do_not_do_are_one_sentence(tiny, written, weights, tmp_path, options, words):
    if "weights" in options:
        options = {**options, "weights": tmp_path / f"{options['weights']}.safetensors"}
        weights(timm.create_model(OTHER), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=words) as told:
        written(tiny, **options)
    assert "\n" not in str(told.value)
