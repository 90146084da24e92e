"""Ways to choose a network inside a limit of MACs from noisy measurements, to be compared by test accuracy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from choice_measured import Measured
from scipy.special import log_softmax

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.active import candidates, next_batch
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.metrics import smoothed_accuracy
from ofa.predictors.sampling import biased_sample, mutate, stratified_sample
from ofa.supernet.integers import ceil_div
from ofa.supernet.space import SearchSpace

_POOL, _REFINED = 3000, 600


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to choose.

    Attributes:
        collect: ``spread``, ``random``, ``active``: which networks teach the predictor; ``subnets`` of them.
        signal: what is measured of a network and predicted, one of ``SIGNALS``.
        choose: by what the network is chosen of those that were measured: ``accuracy``, ``signal``, or
            ``posterior``, the predictor's mean after it was fitted again with the candidates.
        candidates: best predicted networks that are measured, in ``rounds`` with the predictor fitted between.
        collected: of the collected networks inside the limit, how many are candidates too.
    """

    collect: str = "spread"
    subnets: int = 100
    signal: str = "accuracy"
    choose: str = "accuracy"
    candidates: int = 3
    rounds: int = 1
    collected: int | None = None
    kind: str = "gp"


BASELINE = Method()


def variants() -> dict[str, Method]:
    """All that are compared, by name."""
    smooth = replace(BASELINE, signal="smooth", choose="signal")
    methods = {"baseline": BASELINE}
    methods |= {name: replace(smooth, signal=name) for name in ("loss", "scaled_loss", "both", "smooth")}
    methods |= {
        "smooth, chosen by accuracy": replace(smooth, choose="accuracy"),
        "smooth, posterior": replace(smooth, choose="posterior"),
        "accuracy, posterior": replace(BASELINE, choose="posterior"),
        "smooth, 1 candidate": replace(smooth, candidates=1, collected=0),
        "accuracy, 6 candidates": replace(BASELINE, candidates=6),
        "smooth, 6 candidates": replace(smooth, candidates=6),
        "smooth, 6 in 3 rounds": replace(smooth, candidates=6, rounds=3),
        "smooth, posterior, 6 in 3 rounds": replace(smooth, choose="posterior", candidates=6, rounds=3),
        "accuracy, active": replace(BASELINE, collect="active"),
        "smooth, active": replace(smooth, collect="active"),
        "smooth, random": replace(smooth, collect="random"),
        "smooth, log": replace(smooth, collect="log"),
        "smooth, each resolution": replace(smooth, collect="each resolution"),
        "smooth, 50 subnets": replace(smooth, subnets=50),
        "accuracy, 50 subnets": replace(BASELINE, subnets=50),
    }
    return methods


def log_spread(space: SearchSpace, n: int, macs: CostTable, rng: np.random.Generator) -> np.ndarray:
    """Spread evenly over the logarithm of MACs: half of the networks cost less than the geometric mean of the ends."""
    return stratified_sample(space, n, _Logarithm(macs), rng)


def each_resolution(space: SearchSpace, n: int, macs: CostTable, rng: np.random.Generator) -> np.ndarray:
    """As many networks of each resolution, of each spread over the logarithm of its MACs."""
    column = space.genes_of("resolution")[0]
    pool, parts = biased_sample(space, 40 * n, rng), []
    for option in np.unique(pool[:, column]):
        own = pool[pool[:, column] == option]
        costs = np.log(macs.predict(own))
        own = own[np.argsort(costs)]
        levels = np.linspace(costs.min(), costs.max(), ceil_div(n, int(space.num_options[column])))
        parts.append(own[np.searchsorted(np.sort(costs), levels)])
    return np.unique(np.concatenate(parts), axis=0)[:n]


@dataclass(frozen=True)
class _Logarithm:
    table: CostTable

    def predict(self, codes: np.ndarray) -> np.ndarray:
        return np.log(self.table.predict(codes))


class Images:
    """Some validation images: how networks do on them."""

    def __init__(self, measured: Measured, rows: np.ndarray) -> None:
        self._measured, self._rows, self._labels = measured, rows, measured.labels[rows]
        self._known: dict[tuple[str, bytes], float] = {}

    def __call__(self, signal: str, codes: np.ndarray) -> np.ndarray:
        """The signal of each network ``(n,)``; higher is better."""
        for code in codes:
            key = (signal, code.tobytes())
            if key not in self._known:
                logits = self._measured.logits(code[None])[0, self._rows]
                self._known[key] = float(SIGNALS[signal](logits, self._labels))
        return np.array([self._known[signal, code.tobytes()] for code in codes])


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return np.mean(logits.argmax(1) == labels)


def _loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(_cross_entropy(logits, labels))


def _scaled_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The cross-entropy at the temperature that is best for it."""
    return -np.log(min(_cross_entropy(logits * scale, labels) for scale in np.exp(np.linspace(-1, 1.5, 26))))


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()


SIGNALS = {"accuracy": _accuracy, "loss": _loss, "scaled_loss": _scaled_loss, "smooth": smoothed_accuracy}


class Replay:
    """One supernet, some validation images and a seed: what each method chooses."""

    def __init__(self, measured: Measured, macs: CostTable, images: Images, *, seed: int) -> None:
        self.measured, self.macs, self.images, self.seed = measured, macs, images, seed
        self.space = measured.space
        rng = np.random.default_rng([seed, 9])
        pool = np.concatenate([biased_sample(self.space, _POOL // 2, rng), self.space.sample(_POOL // 2, rng)])
        self._pool = np.unique(pool, axis=0)
        self._fits: dict[Method, tuple] = {}
        self._collected: dict[tuple, np.ndarray] = {}
        self._ranked: dict[tuple, tuple] = {}

    def target(self, signal: str, codes: np.ndarray) -> np.ndarray:
        """What the predictor learns: ``both`` adds accuracy and loss, each in units of its spread."""
        if signal != "both":
            return self.images(signal, codes)
        reference = self.collected(BASELINE)
        total = np.zeros(len(codes))
        for part in ("accuracy", "loss"):
            of_reference = self.images(part, reference)
            total += (self.images(part, codes) - of_reference.mean()) / of_reference.std()
        return total

    def collected(self, method: Method) -> np.ndarray:
        """Codes that teach the predictor."""
        key = (method.collect, method.subnets, method.signal if method.collect == "active" else "")
        if key not in self._collected:
            self._collected[key] = self._collect(method)
        return self._collected[key]

    def _collect(self, method: Method) -> np.ndarray:
        space, n = self.space, method.subnets
        rng = np.random.default_rng([self.seed, 2])
        if method.collect == "random":
            return space.sample(n, np.random.default_rng([self.seed, 4]))
        if method.collect == "spread":
            return stratified_sample(space, n, self.macs, rng)
        if method.collect == "log":
            return log_spread(space, n, self.macs, rng)
        if method.collect == "each resolution":
            return each_resolution(space, n, self.macs, rng)
        codes = stratified_sample(space, 20, self.macs, rng)
        while len(codes) < n:
            scores, costs = self.target(method.signal, codes), self.macs.predict(codes)
            draws = np.random.default_rng([self.seed, 2, len(codes)])
            pool = candidates(space, codes, scores, cost=self.macs, n=1000, rng=draws)
            chosen = next_batch(space, codes, scores, costs, pool=pool, pool_costs=self.macs.predict(pool), n=20)
            codes = np.concatenate([codes, pool[chosen]])
        return codes

    def fitted(self, method: Method) -> tuple[np.ndarray, AccuracyPredictor]:
        key = replace(method, choose="", candidates=0, rounds=0, collected=0)
        if key not in self._fits:
            codes = self.collected(method)
            scores = self.target(method.signal, codes)
            self._fits[key] = codes, AccuracyPredictor(self.space, kind=method.kind).fit(codes, scores)
        return self._fits[key]

    def choose(self, method: Method, limit: float) -> np.ndarray:
        """The code of the network that the method takes for a limit of MACs."""
        known, predictor = self.fitted(method)
        inside = known[self.macs.predict(known) <= limit]
        for round_number in range(method.rounds):
            if round_number:
                predictor = self._refitted(method, known)
            proposed = self._best(predictor, limit, method.candidates // method.rounds, avoid=known)
            known = np.concatenate([known, proposed])
        proposed = known[len(self.fitted(method)[0]) :]
        by = "accuracy" if method.choose == "accuracy" else method.signal
        count = ceil_div(method.candidates, 3) if method.collected is None else method.collected
        order = np.argsort(-self.target(method.signal, inside), kind="stable")
        if method.choose == "posterior":
            everything = np.concatenate([inside, proposed])
            return everything[self._refitted(method, known).predict(everything).argmax()]
        everything = np.concatenate([proposed, inside[order[:count]]])
        return everything[self.target(by, everything).argmax()]

    def _refitted(self, method: Method, known: np.ndarray) -> AccuracyPredictor:
        scores = self.target(method.signal, known)
        return AccuracyPredictor(self.space, kind=method.kind).fit(known, scores)

    def _best(self, predictor: AccuracyPredictor, limit: float, count: int, *, avoid: np.ndarray) -> np.ndarray:
        """The best predicted networks inside the limit that are not in ``avoid``."""
        key = (id(predictor), limit)
        if key not in self._ranked:
            self._ranked[key] = predictor, self._ranking(predictor, limit)  # the predictor is kept, so its id is too
        known = {code.tobytes() for code in avoid}
        return np.stack([code for code in self._ranked[key][1] if code.tobytes() not in known][:count])

    def _ranking(self, predictor: AccuracyPredictor, limit: float) -> np.ndarray:
        """Networks of a large pool inside the limit, then neighbours of its best, best predicted first."""
        pool = np.concatenate([self._pool, self.collected(BASELINE)])
        for generation in range(3):
            if generation:
                draws = np.random.default_rng([self.seed, 5, generation])
                pool = np.unique(np.concatenate([pool, mutate(self.space, pool[:30], _REFINED, draws)]), axis=0)
            pool = pool[self.macs.predict(pool) <= limit]
            pool = pool[np.argsort(-predictor.predict(pool), kind="stable")][:300]
        return pool
