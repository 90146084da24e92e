"""The Gaussian process among the accuracy predictors: the best of them for few rows."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from ofa.predictors.accuracy.features import feature_groups, features
from ofa.predictors.metrics import ONE_STD
from ofa.supernet.genome import Genome

Arrays = dict[str, np.ndarray]


class GaussianProcess:
    """Matern 3/2 plus noise, with a length of its own for each kind of column (``feature_groups``).

    Which columns matter is thereby learnt from the rows: where the whole network's counts say more than single blocks,
    their length becomes short. Built from its rows and hyper-parameters alone, so that a loaded one is the fitted one.
    """

    # Some ten hyper-parameters need no more, and the cost of fitting them grows with the cube of the rows.
    _TUNING_ROWS = 400

    def __init__(self, space: Genome, arrays: Arrays) -> None:
        self._codes, self._targets, self._theta = arrays["codes"], arrays["targets"], arrays["theta"]
        groups = feature_groups(space)
        self._weights = np.repeat(np.exp(-self._theta[: len(groups)]), [group.stop - group.start for group in groups])
        self._signal, self._noise = np.exp(self._theta[len(groups) :])
        self._inputs = features(space, self._codes) * self._weights
        covariance = self._covariance(self._inputs) + self._noise * np.eye(len(self._inputs))
        self._factor = cholesky(covariance, lower=True)
        self._alpha = cho_solve((self._factor, True), self._targets)
        self._std_scale = self._leave_one_out_scale()

    @classmethod
    def fit(
        cls,
        space: Genome,
        codes: np.ndarray,
        targets: np.ndarray,
        networks: np.ndarray,
        seed: int,
        *,
        quick: bool = False,
    ) -> GaussianProcess:
        """``networks`` and ``quick`` are for other kinds: this one needs no parts of the rows, and is quick."""
        rows = np.random.default_rng(seed).permutation(len(codes))[: cls._TUNING_ROWS]
        inputs, groups = features(space, codes[rows]).astype(float), feature_groups(space)
        distances = np.stack([_squared_distances(inputs[:, group], inputs[:, group]) for group in groups])
        start = _start(space)
        fit = minimize(
            _loss,
            start,
            args=(start, distances, targets[rows]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(value - 5, value + 5) for value in start],
            options={"maxiter": 60},
        )
        return cls(space, {"codes": codes, "targets": targets, "theta": fit.x})

    def predict(self, inputs: np.ndarray, *, return_std: bool) -> tuple[np.ndarray, np.ndarray | float]:
        shared = self._covariance(inputs * self._weights)
        mean = shared @ self._alpha
        if not return_std:
            return mean, np.nan
        explained = solve_triangular(self._factor, shared.T, lower=True, check_finite=False)
        variance = self._signal + self._noise - np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 0.01 * self._noise)) * self._std_scale

    def posterior(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Mean ``(n,)`` and covariance ``(n, n)`` of what noise is added to, and the variance of that noise."""
        scaled = inputs * self._weights
        shared = self._covariance(scaled)
        explained = solve_triangular(self._factor, shared.T, lower=True, check_finite=False)
        between = self._signal * _matern(np.sqrt(3 * _squared_distances(scaled, scaled)))
        return shared @ self._alpha, between - explained.T @ explained, float(self._noise)

    def arrays(self) -> Arrays:
        return {"codes": self._codes, "targets": self._targets, "theta": self._theta}

    def _covariance(self, scaled: np.ndarray) -> np.ndarray:
        """Between networks given by scaled columns and the rows of the fit: ``(n, rows)``."""
        return self._signal * _matern(np.sqrt(3 * _squared_distances(scaled, self._inputs)))

    def _leave_one_out_scale(self) -> float:
        """What to multiply standard deviations by so that 68 % of the rows, each left out in turn, fall within one.

        The likelihood answers for outliers with too wide a noise. Left-out residuals and variances are in closed form
        (Rasmussen and Williams, Gaussian Processes for Machine Learning, section 5.4.2).
        """
        inverse = solve_triangular(self._factor, np.eye(len(self._factor)), lower=True)
        ratios = np.abs(self._alpha) / np.sqrt(np.einsum("ij,ij->j", inverse, inverse))
        return float(np.clip(np.quantile(ratios, ONE_STD), 0.1, 10))


def _start(space: Genome) -> np.ndarray:
    """Logarithms to begin with: the groups' lengths, the signal's variance, the noise's.

    Lengths start from how far networks of the space lie apart, not the rows: all rows may have one resolution, say, and
    still other resolutions are asked for.
    """
    inputs = features(space, space.sample(500, np.random.default_rng(0))).astype(float)
    groups = feature_groups(space)
    apart = np.array([2 * inputs[:, group].var(axis=0).sum() for group in groups])
    lengths = 0.5 * np.log(4 * len(groups) * np.where(apart > 0, apart, 1.0))
    return np.concatenate([lengths, np.log([3.0, 0.05])])


def _loss(theta: np.ndarray, start: np.ndarray, distances: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the logarithm of the likelihood, and its gradient (Rasmussen and Williams, sections 2.3 and 5.4.1).

    A weak pull towards the start keeps lengths finite of columns that do not vary or do not matter.
    """
    count = len(distances)
    scaled = distances * np.exp(-2 * theta[:count])[:, None, None]
    signal, noise = np.exp(theta[count:])
    root = np.sqrt(3 * scaled.sum(axis=0))
    covariance = signal * _matern(root)
    try:
        factor = cholesky(covariance + noise * np.eye(len(targets)), lower=True)
    except LinAlgError:
        return 1e10, np.zeros_like(theta)
    alpha = cho_solve((factor, True), targets)
    slope = np.outer(alpha, alpha) - cho_solve((factor, True), np.eye(len(targets)))
    by_length = np.einsum("gij,ij->g", scaled, slope * np.exp(-root)) * 3 * signal
    gradient = np.array([*by_length, np.vdot(slope, covariance), noise * np.trace(slope)])
    value = targets @ alpha / 2 + np.log(np.diag(factor)).sum() + 0.02 * np.sum((theta - start) ** 2)
    return value, -gradient / 2 + 0.04 * (theta - start)


def _matern(root: np.ndarray) -> np.ndarray:
    return (1 + root) * np.exp(-root)


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", one, one)[:, None] + np.einsum("ij,ij->i", other, other)
    return np.maximum(squares - 2 * one @ other.T, 0)
