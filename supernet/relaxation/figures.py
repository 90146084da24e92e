"""What an architecture search shows after each epoch, and by which figures it is known to have failed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ofa.supernet.genome import Gene
from ofa.supernet.relaxation.architecture import Architecture

# A search that ends with a larger entropy, or with smaller moves, has decided nothing.
UNIFORM, UNMOVED = 0.999, 1e-4
# A skip dominates a gene when it is the most probable option, and so many times as probable as if all that are left
# were alike: parameters that have just begun differ by chance.
DOMINANT = 1.2


class Collapsed(RuntimeError):
    """A search's architecture parameters say nothing of which network is good."""


def skip_options(gene: Gene) -> list[float]:
    """How much of a gene's part is skipped by each option: 1 for an operation called skip; by depth a share of blocks.

    Empty for a gene that skips nothing.
    """
    if gene.role == "depth":
        most, least = max(gene.options), min(gene.options)
        return [(most - depth) / (most - least) for depth in gene.options] if most > least else []
    skipped = [float("skip" in str(option)) for option in gene.options]
    return skipped if any(skipped) else []


@torch.no_grad()
def skip_share(genes: Sequence[Gene], probabilities: Sequence[Tensor]) -> float | None:
    """Of the genes that can skip something, the share in which skipping all of it dominates; None: there are none.

    A cell whose connections all skip is what DARTS is known to collapse to (https://arxiv.org/abs/1909.06035).
    """
    chosen = []
    for gene, values in zip(genes, probabilities, strict=True):
        if skipped := skip_options(gene):
            likely, left = int(values.argmax()), int((values > 0).sum())
            chosen.append(skipped[likely] == 1 and float(values[likely]) >= min(1.0, DOMINANT / left))
    return float(np.mean(chosen)) if chosen else None


@torch.no_grad()
def moved(architecture: Architecture) -> float:
    """The root of the mean square by which the parameters differ from where they began."""
    pairs = zip(architecture.alphas, architecture.initial(), strict=True)
    return float(torch.cat([alpha.cpu() - initial for alpha, initial in pairs]).square().mean().sqrt())


@torch.no_grad()
def figures_of(architecture: Architecture) -> dict[str, object]:
    """Entropy (1: all alike), skip share, how far parameters moved, each option's probability, the likeliest ones."""
    probabilities = architecture.probabilities()
    return {
        "entropy": architecture.entropy().item(),
        "skip_share": skip_share(architecture.genes, probabilities),
        "moved": moved(architecture),
        "code": architecture.code().tolist(),
        "probabilities": [[round(value, 6) for value in each.tolist()] for each in probabilities],
    }


def collapse(architecture: Architecture) -> list[str]:
    """Why the parameters say nothing of which network is good, a sentence each; empty when they may."""
    remedy = "give the search more epochs, or the parameters a larger learning rate"
    if (distance := moved(architecture)) < UNMOVED:
        return [f"the architecture parameters have not moved ({distance:.1g} from where they began): {remedy}"]
    if (entropy := architecture.entropy().item()) > UNIFORM:
        return [f"all options are almost equally probable (entropy {entropy:.4f} of 1): {remedy}"]
    return []
