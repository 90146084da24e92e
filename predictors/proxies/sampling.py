"""Which networks to measure when proxies have ranked many."""

from __future__ import annotations

import numpy as np

_ANY = 4  # of so many neighbours in cost, one part gives any network


def denser_above(ranks: np.ndarray, costs: np.ndarray, *, n: int, rng: np.random.Generator) -> np.ndarray:
    """Indices ``(n,)`` of networks spread over their ``costs`` ``(m,)``, mostly those of high ``ranks`` ``(m,)``.

    The cheapest and the dearest are among them. The others are cut into equal parts of rising cost: three of four parts
    give their best-ranked network, and the fourth a random one, since a predictor must also learn what is bad, and
    proxies err. Fewer indices come back only when there are fewer networks.
    """
    order = np.argsort(costs, kind="stable")
    if len(order) <= n or n < 3:
        return np.sort(order[:n])
    chosen = [order[0], order[-1]]
    for number, part in enumerate(np.array_split(order[1:-1], n - 2)):
        chosen.append(rng.choice(part) if number % _ANY == _ANY - 1 else part[np.argmax(np.asarray(ranks)[part])])
    return np.sort(np.array(chosen))
