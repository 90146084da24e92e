"""Architecture parameters as a module: names, pruning, restarts, entropy and penalty."""

import math

import numpy as np
import pytest
import torch

from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.genome import Gene
from ofa.supernet.relaxation.architecture import Architecture, gene_names
from ofa.supernet.relaxation.relaxations import RELAXATIONS
from ofa.supernet.space import SearchSpace

GENES = (Gene("kernel", (3, 5, 7), 0, 1), Gene("operation", tuple("abcdefg"), ordered=False), Gene("expand", (2,), 1))


def set_alphas(architecture, *values):
    with torch.no_grad():
        for alpha, row in zip(architecture.alphas, values, strict=True):
            alpha.copy_(torch.as_tensor(row))


def test_parameters_are_in_the_state_dict_under_the_names_of_genes():
    architecture = Architecture(GENES)
    names = ["kernel_0_1", "operation", "expand_1"]
    assert sorted(architecture.state_dict()) == sorted(
        [*(f"alpha.{name}" for name in names), *(f"open_{name}" for name in names), "draws"]
    )
    assert [name for name, _ in architecture.named_parameters()] == [f"alpha.{name}" for name in names]
    assert [alpha.shape[0] for alpha in architecture.alphas] == [3, 7, 1]


@pytest.mark.parametrize("name", ["tiny_mbv3", "ofa_mbv3", "ofa_resnet50", "autoformer_tiny"])
def test_names_of_a_space_tell_its_genes_apart(name):
    genes = SearchSpace.preset(name).genes
    names = gene_names(genes)
    assert len(set(names)) == len(genes) and all(name.isidentifier() for name in names)


def test_genes_of_equal_names_are_told_apart_by_their_columns():
    space = CategoricalSpace([3, 3, 2], roles=["op", "op", "input.size"])
    assert gene_names(space.genes) == ["op_0", "op_1", "input_size"]
    Architecture(space.genes)


def test_an_unknown_relaxation_names_those_that_there_are():
    with pytest.raises(ValueError, match=r"^relaxation is 'hard'; there are softmax, sigmoid, gumbel, "):
        Architecture(GENES, relaxation="hard")


@pytest.mark.parametrize("share, kept", [(1.0, 7), (4 / 7, 4), (0.5, 4), (3 / 8, 3), (0.01, 2)])
def test_pruning_keeps_the_most_probable(share, kept):
    architecture = Architecture(GENES)
    set_alphas(architecture, [0.0, 2.0, 1.0], [0.1, 0.7, 0.3, 0.6, 0.2, 0.5, 0.4], [0.0])
    architecture.prune(share)
    assert architecture.open[1].nonzero()[:, 0].tolist() == sorted([1, 3, 5, 6, 2, 4, 0][:kept])
    assert architecture.open[0].tolist()[1:] == [True, True] and architecture.open[2].tolist() == [True]
    assert architecture.code().tolist() == [1, 1, 0]


def test_a_pruned_option_never_comes_back():
    architecture = Architecture(GENES, relaxation="dirichlet")
    set_alphas(architecture, [0.0, 2.0, 1.0], torch.arange(7.0), [0.0])
    architecture.prune(4 / 7)
    set_alphas(architecture, [5.0, 2.0, 1.0], [9.0, 8, 7, 3, 2, 1, 0], [0.0])
    architecture.prune(3 / 7)
    assert architecture.open[1].tolist() == [False] * 3 + [True] * 3 + [False]
    assert architecture.code().tolist() == [1 if not architecture.open[0][0] else 0, 3, 0]
    assert all(weights[0] == 0 for weights in (architecture.draw()[1] for _ in range(9)))
    architecture.restart()
    assert torch.equal(architecture.alphas[1], architecture.initial()[1]) and int(architecture.open[1].sum()) == 3


@pytest.mark.parametrize("name", RELAXATIONS)
def test_entropy_is_one_where_all_is_alike_and_near_zero_where_all_is_chosen(name):
    architecture = Architecture(GENES, relaxation=name)
    set_alphas(architecture, torch.zeros(3), torch.zeros(7), [3.0])
    assert architecture.entropy().item() == pytest.approx(1)
    set_alphas(architecture, [9.0, -9.0, -9.0], [-9.0, 9.0, *[-9.0] * 5], [0.0])
    assert architecture.entropy().item() < 0.12
    architecture.entropy().backward()
    assert all(alpha.grad.isfinite().all() for alpha in architecture.alphas[:2])


def test_entropy_counts_only_options_that_are_open():
    architecture = Architecture(GENES[:2])
    set_alphas(architecture, [1.0, 0.0, 0.0], torch.zeros(7))
    with torch.no_grad():
        architecture.open[0][1:] = False
        architecture.open[1][2:] = False
    assert architecture.entropy().item() == pytest.approx(1)
    with torch.no_grad():
        architecture.open[1][1:] = False
    assert float(architecture.entropy()) == 0


def test_the_penalty_is_a_sum_over_genes_with_a_choice():
    architecture = Architecture(GENES, relaxation="sigmoid")
    set_alphas(architecture, torch.full((3,), math.log(3)), torch.zeros(7), [5.0])
    assert architecture.penalty().item() == pytest.approx(-3 * 0.25**2)
    assert float(Architecture(GENES).penalty()) == 0


def test_a_code_is_the_most_probable_option_of_each_gene():
    architecture = Architecture(GENES, relaxation="dirichlet")
    set_alphas(architecture, [0.0, -1.0, 0.2], torch.arange(7.0), [1.0])
    assert architecture.code().tolist() == [2, 6, 0] and architecture.code().dtype == np.int8
