"""The zero-cost proxies: the one table of them, and the groups that are ranked together. It imports no torch."""

from __future__ import annotations

from ofa.predictors.proxies.proxy import Proxy

_ALL = (
    Proxy(name="naswot", help="images switch rectifiers differently", paper="2006.04647", needs=("rectifiers",)),
    Proxy(name="synflow", help="signal through all paths of weights", paper="2006.05467", images=1),
    Proxy(name="zico", help="gradients are steady between batches", paper="2301.11300", labels=True, images=4),
    Proxy(name="jacob_cov", help="the network reacts differently to images", paper="2006.04647", needs=()),
    Proxy(name="grad_norm", help="norm of the gradient", paper="2101.08134", labels=True),
    Proxy(name="snip", help="weight x gradient", paper="1810.02340", labels=True),
    Proxy(name="grasp", help="weight x Hessian x gradient", paper="2002.07376", labels=True),
    Proxy(name="fisher", help="activation x gradient of channels, squared", paper="1801.05787", labels=True),
    Proxy(
        name="zen",
        help="how far small changes move the last features",
        paper="2102.01063",
        needs=("batch_norms", "weighted_layers"),
    ),
    Proxy(name="expressivity", help="blocks use their channels evenly", paper="2403.19232", needs=("blocks",)),
    Proxy(name="progressivity", help="every block adds expressivity", paper="2403.19232", needs=("blocks",)),
    Proxy(name="trainability", help="gradients keep their size in blocks", paper="2403.19232", needs=("blocks",)),
    Proxy(name="fisher_spectrum", help="weights can be learnt equally well", paper="2502.04975"),
    Proxy(name="params", help="parameters", paper="", counted=True, needs=(), images=1),
    Proxy(name="macs", help="multiply-accumulates", paper="", counted=True, needs=(), images=1),
)
PROXIES: dict[str, Proxy] = {proxy.name: proxy for proxy in _ALL}

# Proxies whose ranks are added in their logarithms: see ``aggregate``.
AGGREGATES: dict[str, tuple[str, ...]] = {
    "az_nas": ("expressivity", "progressivity", "trainability", "macs"),
    "vkdnw": ("fisher_spectrum", "jacob_cov", "expressivity", "trainability", "macs"),
}
