"""Which arguments of timm a space or a subnet's description may have: either may be someone else's."""

from __future__ import annotations

from collections.abc import Iterable

# Of timm.create_model: they read files or reach the network.
_REFUSED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "pretrained_strict"}
)


def check_arguments(names: Iterable[str]) -> None:
    """Raises ``ValueError`` naming those that say where weights are, not what a network is."""
    if refused := sorted(_REFUSED & set(names)):
        raise ValueError(f"arguments {', '.join(refused)}: a space says what a network is, not where weights are")
