"""Whole searches of a toy network: what learns when and from what, what is shown, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toy_relaxed import STEPS, ToyNetwork, ToySpace, batches, fast, prepare, relaxed_for

from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.supernet.genome import Gene
from ofa.supernet.relaxation import learning
from ofa.supernet.relaxation.figures import Collapsed, skip_options, skip_share
from ofa.supernet.relaxation.learning import architecture_learns
from ofa.supernet.relaxation.methods import METHODS
from ofa.supernet.relaxation.relaxations import RELAXATIONS
from ofa.supernet.relaxation.relaxed import Relaxed
from ofa.supernet.relaxation.schedules import Stage, Temperature, epochs_of
from ofa.supernet.relaxation.search import search_architecture
from ofa.supernet.training.checkpoint import from_bytes, to_bytes
from ofa.supernet.training.errors import Diverged, OutOfMemory
from ofa.supernet.training.settings import Settings

every_method = pytest.mark.parametrize("name", METHODS)
# Skips are cheap, and so is the small kernel.
COST = Table(ToySpace(), "latency", "ms", (Part((0,), [1.0, 9.0, 3.0]), Part((1, 2), [[2.0, 8.0, 4.0], [3, 9, 5]])))


def run(relaxed, method, **options):
    """Searches; returns how it ended and the epochs' figures."""
    figures = []
    given = {"batches": batches, "epochs": 3, "steps_per_epoch": STEPS, "normalize": prepare, **options}
    made = search_architecture(
        relaxed, method, **given, on_epoch=figures.append, stage_network=lambda net, stage: net, progress=False
    )
    return made, figures


def alphas(relaxed):
    return [alpha.detach().clone() for alpha in relaxed.alphas]


def weights(relaxed):
    return {name: value.clone() for name, value in relaxed.net.state_dict().items()}


def same(one, other):
    pairs = zip(one.values(), other.values()) if isinstance(one, dict) else zip(one, other)  # noqa: B905
    return len(one) == len(other) and all(torch.equal(left, right) for left, right in pairs)


@every_method
def test_a_search_moves_both_levels_and_shows_figures(name):
    relaxed = relaxed_for(name)
    before = weights(relaxed)
    made, figures = run(relaxed, fast(name, skips_that_end=None), limits={COST: 11.0})
    assert made.ended is None
    stages = {1: [1, 1, 1], 2: [1, 1, 2], 3: [1, 2, 3]}[len(METHODS[name].stages)]
    assert [figure["phase"] for figure in figures] == [f"stage {number}" for number in stages]
    last = figures[-1]
    assert 0 < last["entropy"] <= 1 and last["moved"] > 1e-3 and 0 <= last["skip_share"] <= 1
    assert last["costs"] == {"latency": pytest.approx(COST.expected(relaxed.probabilities()).item())}
    assert last["temperature"] == pytest.approx(METHODS[name].temperature.last)
    assert len(last["code"]) == 4 and [len(row) for row in last["probabilities"]] == [3, 2, 3, 1]
    assert not same(weights(relaxed), before) and last["loss"] > 0
    assert COST.predict(ToySpace().encode(relaxed.derive(limits={COST: 11.0}))[None])[0] <= 11


@every_method
def test_statistics_and_draws_count_steps_however_many_passes_an_update_needs(name):
    relaxed = relaxed_for(name)
    run(relaxed, fast(name, skips_that_end=None), epochs=3)
    method, learnt = METHODS[name], 0
    for number, epochs in enumerate(epochs_of(method.stages, 3)):
        for step in range(epochs * STEPS):
            learnt += architecture_learns(at(method, step, phase=number, steps=epochs * STEPS), method)
    assert int(relaxed.net.norm.num_batches_tracked) == 3 * STEPS
    assert int(relaxed.architecture.draws) == 3 * STEPS + learnt


def at(method, step, *, phase=0, steps=20):
    return SimpleNamespace(phase_index=phase, phase_steps=steps, step=step)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, range(20)),
        ({"alphas_first": False}, range(1, 20)),
        ({"every": 5}, [0, 5, 10, 15]),
        ({"stages": (Stage(frozen=0.25),)}, range(5, 20)),
        ({"stages": (Stage(frozen=0.25),), "every": 5, "alphas_first": False}, [6, 11, 16]),
        ({"stages": (Stage(frozen=1.0),)}, [19]),
    ],
)
def test_when_the_architecture_learns(changes, expected):
    method = replace(METHODS["darts"], **changes)
    assert [step for step in range(20) if architecture_learns(at(method, step), method)] == list(expected)


@pytest.mark.parametrize("first", [True, False])
def test_the_order_of_the_updates(first, monkeypatch):
    """DARTS: alphas, then weights. GDAS and ProxylessNAS: weights, then alphas."""
    events = []
    for name in ("learn_architecture", "weights_gradients"):
        real = getattr(learning, name)
        monkeypatch.setattr(
            learning, name, lambda *args, real=real, name=name, **options: events.append(name) or real(*args, **options)
        )
    run(relaxed_for("darts"), replace(METHODS["darts"], alphas_first=first), epochs=1)
    assert events == (["learn_architecture", "weights_gradients"] * STEPS)[0 if first else 1 :]


def test_alphas_have_an_optimizer_of_their_own_and_are_in_the_checkpoint():
    relaxed, kept = relaxed_for("darts"), []
    run(relaxed, "darts", save_checkpoint=kept.append)
    names = set(kept[-1].tensors)
    assert {f"modules.architecture.alpha.{name}" for name in relaxed.architecture.names} <= names
    assert any(name.startswith("optimizers.architecture.0.exp_avg") for name in names)
    assert not any("alpha" in name for name in names if name.startswith("net."))
    decayed = {group["weight_decay"] for group in kept[-1].values["optimizers"]["architecture"]["param_groups"]}
    assert decayed == {1e-3}


def test_the_weights_decay_and_clipping_do_not_touch_alphas():
    ends = []
    for settings in (Settings(weight_decay=0.9, clip_grad=1e-9), Settings(weight_decay=0.0, clip_grad=None)):
        relaxed = relaxed_for("darts")
        run(relaxed, "darts", epochs=1, settings=settings, lr=1e-12)
        ends.append(alphas(relaxed))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*ends, strict=True))


def test_alphas_are_clipped_by_the_methods_own_norm():
    moved = []
    for clip in (None, 1e-12):  # Adam's epsilon then slows it down
        relaxed = relaxed_for("pdarts")
        method = METHODS["pdarts"]
        run(relaxed, replace(method, stages=(Stage(),), alphas=replace(method.alphas, clip=clip, weight_decay=0.0)))
        moved.append(sum((a - b).abs().sum().item() for a, b in zip(relaxed.alphas, relaxed.architecture.initial())))  # noqa: B905
    assert moved[1] < 0.01 * moved[0]


def still(name, **changes):
    """The method whose alphas stand still."""
    return replace(METHODS[name], alphas=replace(METHODS[name].alphas, lr=0.0), **changes)


def test_costs_and_penalties_are_not_in_the_loss_of_the_weights():
    ends = []
    for changes in ({}, {"penalty_weight": 0.0, "entropy_weight": 3.0}):
        relaxed = relaxed_for("fairdarts")
        options = {"limits": {COST: 5.5}} if changes else {}
        _, figures = run(relaxed, still("fairdarts", **changes), **options)
        ends.append((weights(relaxed), [figure["loss"] for figure in figures]))
    assert same(ends[0][0], ends[1][0]) and ends[0][1] == ends[1][1]


@pytest.mark.parametrize("name", ["darts", "milenas", "snas"])
def test_the_architecture_learns_from_the_other_images(name):
    def others(epoch, start):
        return ((images, labels, other.flip(-1), 3 - right) for images, labels, other, right in batches(epoch, start))

    one, two = relaxed_for(name), relaxed_for(name)
    run(one, fast(name), epochs=1)
    run(two, fast(name), epochs=1, batches=others)
    assert same(alphas(one), alphas(two)) == (name == "snas")  # which has a single level


def test_a_search_without_other_images_says_what_batches_must_give():
    def single(epoch, start):
        return ((images, labels) for images, labels, *_ in batches(epoch, start))

    with pytest.raises(ValueError, match=r"batches must yield \(images, labels, other images, other labels\)"):
        run(relaxed_for("darts"), "darts", batches=single)
    run(relaxed_for("snas"), "snas", batches=single)


def test_the_hinge_brings_the_expected_cost_inside_the_limit():
    ends = {}
    for limit in (7.0, 50.0):
        relaxed = relaxed_for("darts")
        _, figures = run(relaxed, fast("darts"), epochs=8, limits={COST: limit})
        ends[limit] = figures[-1]["costs"]["latency"]
    assert ends[7.0] < 7.4 < ends[50.0]


@pytest.mark.parametrize("term", ["proxyless", "mnasnet", "fbnet"])
def test_a_cost_without_a_limit_is_lowered_too(term):
    ends = []
    for costs in ([], [COST]):
        relaxed = relaxed_for("darts")
        run(relaxed, fast("darts", cost_term=term), epochs=4, costs=costs)
        ends.append(relaxed.expected_cost(COST).item())
    assert ends[1] < ends[0]


def test_the_temperature_falls_over_the_whole_search():
    relaxed, seen = relaxed_for("gdas"), []
    method = fast("gdas", temperature=Temperature(9.0, 1.0))
    run(
        relaxed, method, batches=lambda *where: (seen.append(relaxed.temperature) or batch for batch in batches(*where))
    )
    assert relaxed.temperature == pytest.approx(1.0) and seen[1:] == pytest.approx([9.0 - step for step in range(8)])


def test_a_stage_prunes_and_begins_anew_and_dropout_on_skips_falls():
    relaxed, drops = relaxed_for("pdarts"), []
    run(
        relaxed,
        fast("pdarts"),
        batches=lambda *w: (drops.append(relaxed.net.skip_drop) or batch for batch in batches(*w)),
    )
    assert [int(is_open.sum()) for is_open in relaxed.architecture.open] == [2, 2, 2, 1]
    assert drops[1:4] == [0.0] * 3 and drops[4] == 0.4 and drops[7] == 0.7 and drops[5] < 0.4


# -- networks of stages, and edges -------------------------------------------------------------------------------------


class Edged(ToyNetwork):
    """Has architecture parameters of its own, as partial channels' edges."""

    def __init__(self, **options):
        super().__init__(**options)
        self.edge_alphas = nn.ParameterList([torch.zeros(2)])

    def forward_mixed(self, x, weights):
        return super().forward_mixed(x, weights) * (1 + self.edge_alphas[0].softmax(0)[0])


def test_weights_of_edges_learn_with_the_architecture_and_not_with_the_weights():
    for method, moves in ((still("pcdarts"), False), (fast("pcdarts"), True)):
        relaxed = Relaxed(Edged(), seed=1)
        run(relaxed, method, settings=Settings(weight_decay=0.5))
        assert bool(relaxed.net.edge_alphas[0].abs().max() > 0) == moves


def test_each_stage_can_have_a_network_of_its_own():
    made, relaxed = [], Relaxed(Edged(), seed=1)

    def stage_network(net, stage):
        made.append((stage.cells, net))
        return Edged(seed=len(made))

    search_architecture(
        relaxed,
        fast("pdarts"),
        batches,
        epochs=3,
        steps_per_epoch=STEPS,
        normalize=prepare,
        stage_network=stage_network,
        progress=False,
    )
    assert [cells for cells, _ in made] == [5 / 17, 11 / 17, 1.0]
    assert made[2][1] is not relaxed.net and relaxed.net.edge_alphas[0].abs().max() > 0
    assert made[2][1].edge_alphas[0].abs().max() > 0


# -- how a search ends -------------------------------------------------------------------------------------------------


def skipping(relaxed):
    """Skips dominate both operations."""
    with torch.no_grad():
        for alpha in (relaxed.alphas[0], relaxed.alphas[2]):
            alpha.copy_(torch.tensor([2.0, 0.0, 0.0]))
    return relaxed


def test_darts_plus_ends_when_skips_dominate_and_what_it_found_counts():
    relaxed, kept = skipping(relaxed_for("darts_plus")), []
    made, figures = run(relaxed, "darts_plus", save_checkpoint=lambda one: kept.append(to_bytes(one)))
    assert made.ended == "skips dominate 100% of the choices that can skip something, more than 25%"
    assert len(figures) == 1 and figures[0]["skip_share"] == 1.0
    again = relaxed_for("darts_plus", seed=5)
    made, figures = run(again, "darts_plus", resume=from_bytes(kept[-1]))
    assert made.ended and not figures and same(alphas(again), alphas(relaxed))
    made, figures = run(relaxed_for("darts"), "darts")
    assert made.ended is None and len(figures) == 3


def test_a_share_of_skips_above_the_given_one_is_a_collapse():
    relaxed, kept = skipping(relaxed_for("darts")), []
    with pytest.raises(Collapsed, match=r"^skips dominate 100% of the choices .* more than 50%: use a method that"):
        run(relaxed, "darts", max_skip_share=0.5, save_checkpoint=kept.append)
    assert kept[-1].step == STEPS
    run(relaxed_for("darts"), "darts", max_skip_share=0.5)


def test_parameters_that_do_not_move_and_options_that_stay_alike_are_named():
    made, figures = run(relaxed_for("darts"), still("darts"))
    assert len(made.collapsed) == 1 and made.collapsed[0].startswith(
        "the architecture parameters have not moved (0 from"
    )
    assert figures[-1]["collapsed"] == list(made.collapsed)
    made, _ = run(relaxed_for("darts"), "darts")
    assert len(made.collapsed) == 1 and made.collapsed[0].startswith(
        "all options are almost equally probable (entropy 1.0"
    )


def test_memory_that_is_full_names_the_batch():
    class Full(ToyNetwork):
        def forward_mixed(self, x, weights):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory, match=r"step 0, .* in the update of the architecture, 8 images of 6 pixels; lower"):
        run(Relaxed(Full(), seed=1), "darts")


@pytest.mark.parametrize(
    "probabilities, expected",
    [
        ([0.41, 0.3, 0.29], 1.0),
        ([0.39, 0.31, 0.3], 0.0),  # it leads by chance
        ([0.3, 0.41, 0.29], 0.0),
        ([0.55, 0.45, 0.0], 0.0),  # of two that are left
        ([0.61, 0.39, 0.0], 1.0),
        ([1.0, 0.0, 0.0], 1.0),
    ],
)
def test_when_a_skip_dominates(probabilities, expected):
    gene = ToySpace.genes[0]
    assert skip_share([gene, ToySpace.genes[1]], [torch.tensor(probabilities), torch.tensor([0.9, 0.1])]) == expected


def test_skips_of_a_depth_are_its_blocks():
    depth = Gene("depth", (1, 2, 4), 0)
    assert skip_options(depth) == pytest.approx([1.0, 2 / 3, 0.0])
    assert skip_options(Gene("depth", (2,), 0)) == skip_options(Gene("kernel", (3, 5), 0, 0)) == []
    assert skip_share([Gene("kernel", (3, 5), 0, 0)], [torch.tensor([0.9, 0.1])]) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_ends_the_search_before_the_parameters_change(bad):
    class Spoiled(ToyNetwork):
        def forward_mixed(self, x, weights):
            return super().forward_mixed(x, weights) * (bad if weights[0].requires_grad else 1.0)

    relaxed = Relaxed(Spoiled(), seed=1)
    before = alphas(relaxed)
    with pytest.raises(Diverged, match=r"^the loss is nan in phase stage 1, step 0"):
        run(relaxed, "darts")
    assert same(alphas(relaxed), before)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_an_unknown_method_and_another_relaxation_are_refused():
    with pytest.raises(ValueError, match=r"^no method is called 'enas'; there are darts, darts_2nd, "):
        run(relaxed_for("darts"), "enas")
    with pytest.raises(
        ValueError, match=r"relaxation 'dirichlet', .* has 'softmax'; give Relaxed\(net, relaxation='diri"
    ):
        run(relaxed_for("darts"), "drnas")


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match=r"^temperature is .*; it must be above 0$"):
        Relaxed(ToyNetwork(), temperature=temperature)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_a_network_that_is_evaluated_has_the_weights_that_it_learnt_with(relaxation):
    """Sigmoids of FairDARTS, DrNAS' mean and not a softmax; without a draw."""
    relaxed = Relaxed(ToyNetwork(), relaxation=relaxation, seed=1).eval()
    images = prepare(next(batches(0))[0])
    alphas = relaxed.alphas
    expected = {"sigmoid": torch.sigmoid, "dirichlet": lambda alpha: (alpha + 1) / (alpha + 1).sum()}
    for alpha in alphas:
        alpha.data.add_(torch.arange(len(alpha)))
    weights = [expected.get(relaxation, lambda alpha: alpha.softmax(0))(alpha) for alpha in alphas[:3]]
    if relaxation == "sparsemax":
        weights = [torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0])]
    found = relaxed(images)
    assert torch.allclose(found, relaxed.net.forward_mixed(images, [*weights, torch.ones(1)]), atol=1e-3)
    assert torch.equal(found, relaxed(images)) and int(relaxed.architecture.draws) == 0
    relaxed.train()(images)
    assert int(relaxed.architecture.draws) == 1


def test_limits_that_no_network_meets_are_refused_before_anything_is_trained():
    relaxed = relaxed_for("darts")
    before = weights(relaxed)
    with pytest.raises(ValueError, match=r"no network has latency of at most 2 ms"):
        run(relaxed, "darts", limits={COST: 2.0})
    assert same(weights(relaxed), before)


def test_a_checkpoint_of_another_space_is_refused():
    kept = []
    run(relaxed_for("darts"), "darts", epochs=1, save_checkpoint=kept.append)
    other = replace(kept[0], space={"family": "other"})
    with pytest.raises(ValueError, match=r"^the checkpoint is of another space \(space.family: other"):
        run(relaxed_for("darts"), "darts", resume=other)
