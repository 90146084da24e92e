"""Controllers: distributions over codes that can be learnt, for ``reinforce``. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Controller(nn.Module):
    """What ``reinforce`` asks of a controller."""

    def sample(self, n: int, temperature: float, generator: torch.Generator) -> Tensor:
        """Codes ``(n, genes)``, int64; a higher temperature draws more evenly."""
        raise NotImplementedError

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Of every option of every gene, ``(n, genes, options)``, given the genes before it in the codes; minus
        infinity where a gene has fewer options.
        """
        raise NotImplementedError


class Factorised(Controller):
    """Every gene is drawn on its own."""

    def __init__(self, options: list[int]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(options), max(options)))
        self.register_buffer("closed", _closed(options))

    def sample(self, n: int, temperature: float, generator: torch.Generator) -> Tensor:
        probabilities = (self.logits / temperature).masked_fill(self.closed, -torch.inf).softmax(dim=1)
        return torch.multinomial(probabilities, n, replacement=True, generator=generator).T

    def log_probabilities(self, codes: Tensor) -> Tensor:
        return self.logits.masked_fill(self.closed, -torch.inf).log_softmax(dim=1).expand(len(codes), -1, -1)


class Recurrent(Controller):
    """Genes are drawn one after the other, by a gated recurrent unit that sees the one before.

    As the controller of NASNet (https://arxiv.org/abs/1707.07012), which is an LSTM of 100 units.
    """

    def __init__(self, options: list[int], units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.genes = len(options)
        with torch.random.fork_rng(devices=[]):  # its first weights come from global state, and are drawn again below
            self.cell = nn.GRUCell(units, units)
        # The first row is what the first gene sees; then a row for each option of each gene.
        self.embedding = nn.Parameter(torch.empty(1 + len(options) * max(options), units))
        self.head = nn.Parameter(torch.empty(len(options), max(options), units))
        self.register_buffer("closed", _closed(options))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=generator)

    def sample(self, n: int, temperature: float, generator: torch.Generator) -> Tensor:
        state, seen, drawn = self._start(n)
        for gene in range(self.genes):
            state, logits = self._step(gene, seen, state)
            drawn.append(torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=generator)[:, 0])
            seen = self.embedding[1 + gene * self.closed.shape[1] + drawn[-1]]
        return torch.stack(drawn, dim=1)

    def log_probabilities(self, codes: Tensor) -> Tensor:
        state, seen, all_logits = self._start(len(codes))
        for gene in range(self.genes):
            state, logits = self._step(gene, seen, state)
            all_logits.append(logits)
            seen = self.embedding[1 + gene * self.closed.shape[1] + codes[:, gene]]
        return torch.stack(all_logits, dim=1).log_softmax(dim=2)

    def _start(self, n: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        return self.embedding.new_zeros(n, self.embedding.shape[1]), self.embedding[:1].expand(n, -1), []

    def _step(self, gene: int, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(seen, state)
        return state, (state @ self.head[gene].T).masked_fill(self.closed[gene], -torch.inf)


def _closed(options: list[int]) -> Tensor:
    """Which columns are no option of their gene: boolean ``(genes, most options)``."""
    return torch.arange(max(options)) >= torch.tensor(options)[:, None]
