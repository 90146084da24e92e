"""Published tables: each kind is known by its content and read; damaged files and pickles are refused in a sentence."""

import bz2
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from ofa.predictors.benchmarks.load import load_benchmark
from ofa.supernet.cells.space import CellSpace
from ofa.supernet.space import SearchSpace

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
OTHER = CELL.replace("avg_pool_3x3", "none")
SUBNET = ",".join(["224", "-".join("22222"), "-".join("3" * 20), "-".join("6" * 20)])


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_nas_bench_201(tmp_path):
    text = f"CIFAR10TestAccuracy200Epochs,ImageNetTestAccuracy200Epochs,Arch\n93,44,{CELL}\n90,30.5,{OTHER}\n"
    benchmark = load_benchmark(written(tmp_path, text))
    space = CellSpace.preset("nasbench201")
    codes = np.array([[3, 0, 1, 2, 0, 0], [3, 0, 1, 2, 0, 4], [0] * 6], np.int8)
    assert benchmark.space == space
    assert benchmark.datasets == ("cifar10", "ImageNet16-120")
    assert benchmark.accuracy(codes[:2]).tolist() == [90, 93]
    assert benchmark.accuracy(codes, dataset="ImageNet16-120").tolist()[:2] == [30.5, 44]
    assert np.isnan(benchmark.accuracy(codes)[2])
    assert benchmark.rows(codes).tolist() == [1, 0, -1]
    macs = benchmark.costs["macs"].predict(codes)  # counted, so that it is known of every cell
    assert macs[0] == macs[1] > macs[2] > 0
    assert benchmark.share_known < 0.01
    with pytest.raises(KeyError, match="no data set 'svhn'; there are cifar10, ImageNet16-120"):
        benchmark.accuracy(codes, dataset="svhn")


def test_a_network_of_a_cell_space(tmp_path):
    import torch

    benchmark = load_benchmark(written(tmp_path, f"arch,cifar10-val,cifar10-test\n{CELL},1,2\n"))
    model = benchmark.network(benchmark.codes[0], num_classes=7)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert benchmark.datasets == ("cifar10", "cifar10-val")


def test_costs_of_cells_as_hw_nas_bench_has_them(tmp_path):
    benchmark = load_benchmark(written(tmp_path, f"cell,latency_pixel3,energy_eyeriss\n{CELL},5.5,\n{OTHER},4,2\n"))
    costs = benchmark.costs
    assert (costs["latency_pixel3"].unit, costs["energy_eyeriss"].unit) == ("ms", "")
    assert costs["latency_pixel3"].predict(benchmark.codes).tolist() == [5.5, 4]
    assert np.isnan(costs["energy_eyeriss"].predict(benchmark.codes)[0])
    with pytest.raises(KeyError, match="costs alone"):
        benchmark.accuracy(benchmark.codes)


def test_macro_spaces(tmp_path):
    entries = {
        f"{first}{second}": {"mean_acc": 90 + first, "test_acc": [1, 2], "params": 5, "flops": 10 * second}
        for first in range(3)
        for second in range(3)
    }
    benchmark = load_benchmark(written(tmp_path, json.dumps(entries)))
    codes = np.array([[2, 1], [0, 0]], np.int8)
    assert benchmark.share_known == 1
    assert benchmark.accuracy(codes).tolist() == [92, 90]
    assert benchmark.costs["macs"].predict(codes).tolist() == [10, 0]
    with pytest.raises(ValueError, match="no builder"):
        benchmark.network(codes[0])


def test_macro_spaces_with_identities_and_fractions(tmp_path):
    entries = {
        "I1": {"val_acc": 0.5, "test_acc": 0.25, "MMACs": 2, "Params": 7},
        "2I": {**{"val_acc": 1}, "test_acc": 0, "MMACs": 3, "Params": 8},
    }
    benchmark = load_benchmark(written(tmp_path, json.dumps(entries)))
    assert benchmark.datasets == ("cifar10", "cifar10-val")
    assert benchmark.codes.tolist() == [[0, 1], [1, 0]]  # I is the first of each layer's letters
    assert benchmark.accuracy(benchmark.codes).tolist() == [25, 0]
    assert benchmark.costs["macs"].predict(benchmark.codes).tolist() == [2e6, 3e6]


def test_once_for_all_subnets(tmp_path):
    text = f"resolution,depths,kernels,expands,params,macs,top1\n{SUBNET},7,8,71.5\n{SUBNET},7,8,60\n"
    benchmark = load_benchmark(written(tmp_path, text))
    preset = SearchSpace.preset("ofa_mbv3")
    assert benchmark.space.to_dict() == {**preset.to_dict(), "resolutions": [224]}  # of others the file says nothing
    assert len(benchmark.codes) == 1  # of two rows of one network the first counts
    assert benchmark.accuracy(benchmark.codes).tolist() == [71.5]
    assert list(benchmark.costs) == ["params", "macs"]


def test_latencies_of_help(tmp_path):
    path = tmp_path / "table"
    lists = {"depths": np.full((2, 5), 2), "kernels": np.full((2, 20), 3), "expands": np.full((2, 20), 3)}
    with path.open("wb") as file:
        np.savez(file, resolution=np.array([128, 224]), **lists, v100_1=np.array([1.5, 2.5]))
    benchmark = load_benchmark(path)
    assert benchmark.datasets == ()
    assert benchmark.costs["v100_1"].predict(benchmark.codes).tolist() == [1.5, 2.5]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="damaged"):
        load_benchmark(path)


def test_a_column_a_choice(tmp_path):
    text = "block0_k,block1_k,block0_se,val_top1,macs,throughput_a100\n3,5,True,60,7,500\n5,3,False,61,8,250\n"
    benchmark = load_benchmark(written(tmp_path, text))
    assert benchmark.name == "Accel-NASBench"
    assert benchmark.datasets == ("imagenet-val",)
    assert benchmark.codes.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert [gene.role for gene in benchmark.space.genes][:2] == ["block_k of 3, 5"] * 2  # one role, so one meaning
    assert benchmark.costs["time_a100"].predict(benchmark.codes).tolist() == [2, 4]
    assert (benchmark.costs["time_a100"].unit, benchmark.costs["macs"].unit) == ("ms", "M")


@pytest.mark.parametrize(
    "words", [lambda n: f"{n // 16 % 4}{n // 4 % 4}{n % 4}{n // 64}", lambda n: f"{8 + n % 16 * 8}:{8 + n // 16 * 8}:8"]
)
def test_a_column_of_words_is_a_choice_for_each_part(tmp_path, words):
    lines = [f"{number},{words(number)},{50 + number / 10}" for number in range(256)]
    benchmark = load_benchmark(written(tmp_path, "index,arch,cifar10_test_acc\n" + "\n".join(lines)))
    assert len(benchmark.codes) == 256
    assert benchmark.space.num_genes in (2, 4)  # the third of the numbers is always 8
    assert benchmark.accuracy(benchmark.codes)[255] == 75.5


def test_results_of_nas_bench_301(tmp_path):
    prefix = "NetworkSelectorDatasetInfo:darts"
    edges = {
        f"{prefix}:edge_{kind}_{edge}": "sep_conv_3x3"
        for kind in ("normal", "reduce")
        for edge in (0, 1, 2, 3, 5, 7, 10, 11)
    }
    edges[f"{prefix}:edge_normal_7"] = "skip_connect"
    result = {
        "optimized_hyperparamater_config": edges,
        "info": [{"val_accuracy": 93.5, "model_parameters": 9}],
        "test_accuracy": 92,
        "runtime": 6,
    }
    (tmp_path / "rs").mkdir()
    (tmp_path / "rs" / "results_0.json").write_text(json.dumps(result))
    benchmark = load_benchmark(tmp_path)
    assert benchmark.accuracy(benchmark.codes, dataset="cifar10-val").tolist() == [93.5]
    cell = benchmark.space.decode(benchmark.codes[0]).cell("normal")
    assert cell[2] == (("sep_conv_3x3", 0), ("skip_connect", 2))  # edges 5 and 7 are of the third node
    result["optimized_hyperparamater_config"][f"{prefix}:edge_normal_0"] = "conv_9x9"
    (tmp_path / "rs" / "results_1.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=r"results_1.json is no result"):
        load_benchmark(tmp_path)


class Bomb:
    def __reduce__(self):
        return print, ("unpickled",)


def torch_file() -> bytes:
    import io

    import torch

    torch.save({"a": 1}, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [lambda: pickle.dumps(Bomb()), lambda: bz2.compress(pickle.dumps(Bomb())), torch_file]
)
def test_a_pickle_is_never_opened(tmp_path, capsys, content):
    with pytest.raises(ValueError, match=r"pickle.*environment of your own.*CSV"):
        load_benchmark(written(tmp_path, content()))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"tree\nversion=v3\n", "surrogate of NAS-Bench-301"),
        (b'{"learner": {}}', "surrogate of NAS-Bench-301"),
        (b"", "no table of networks that is known"),
        (b"\x7fELF\0\0", "no table of networks that is known"),
        ('{"0210": {"mean_acc": 9', "cut short"),
        ('{"ab": {"mean_acc": 9}, "a": {"mean_acc": 9}}', "no table of a macro space"),
        ('{"a": {"mean_acc": 9}, "b": {}}', "the network b has no mean_acc"),
        ("a,b\n1,2\n", "its columns are a, b"),
        (f"arch,cifar10-test\n{CELL}", r"line 2.*cut short"),
        (f"arch,cifar10-test\n{CELL},x\n", "line 2: cifar10-test is 'x'"),
        (f"arch,cifar10-test\n{CELL},1\n|nor_conv~0|,1\n", "line 3"),
        (f"resolution,depths,kernels,expands,top1\n{SUBNET.replace('224', '225')},70\n", "network 0.*225"),
        (f"resolution,depths,kernels,expands,top1\n{SUBNET.replace('6-6', '6-x')},70\n", "line 2"),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(tmp_path, content, said):
    with pytest.raises(ValueError, match=said):
        load_benchmark(written(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        load_benchmark(tmp_path / "nothing")
    with pytest.raises(ValueError, match="folder of NAS-Bench-301"):
        load_benchmark(tmp_path)
