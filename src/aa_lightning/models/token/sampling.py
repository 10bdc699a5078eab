"""Sampling token by token: prompts and their media are read once for all responses, and no logits are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from aa_lightning.models.token.choice import choose
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.few_rows import laid_out
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.row_draws import RowDraws, seeds_of
from aa_lightning.models.token.rows import Mixed, Rows, begun
from aa_lightning.types import Batch, Sampling

FREE = -1  # no token must stand here
_LOOK = 8  # tokens between two looks at which responses have ended, where looking waits for a device


class Rules(Protocol):
    """The tokens that may follow others.

    Attributes:
        renormalise: whether log-probabilities are among the allowed tokens alone.
    """

    renormalise: bool

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """For the place behind tokens (R, T): those banned there, as `choose` takes them, and the one that must stand there,
        (R,), or FREE; None: all are free."""


class Except(Rules):
    """Any token but a few, which keep their share of the probability.

    Args:
        tokens: that are never drawn, such as placeholders of media.
    """

    renormalise = False

    def __init__(self, tokens: Sequence[int]):
        self._banned = torch.tensor(sorted(tokens), dtype=torch.long)

    def next(self, tokens: Tensor) -> tuple[Tensor, None]:
        return self._banned.to(tokens.device), None


@dataclass
class Drawn:
    """P × n drawn responses of at most A tokens.

    Attributes:
        tokens: (P, n, A), padded.
        logprobs: (P, n, A) of each token under the distribution that it was drawn from; 0 where there was no choice.
        said: (P, n, A) 1 for tokens of the response, up to and including its end.
        chosen: (P, n, A) 1 for those of them at which there was a choice.
        ended: (P, n) bool, whether a response said its end.
    """

    tokens: Tensor
    logprobs: Tensor
    said: Tensor
    chosen: Tensor
    ended: Tensor


@torch.no_grad()
def draw(
    network: TokenNetwork,
    rules: Rules,
    encoder: TokenEncoder,
    batch: Batch,
    n: int,
    sampling: Sampling,
    reference: Callable[[], AbstractContextManager[TokenNetwork]] | None = None,
) -> Drawn:
    """Draw n responses to each prompt from softmax(logits / temperature) over the tokens that the rules allow.

    Temperature 0 takes the likeliest token and gives its probability at temperature 1. Each step takes one random number
    for each response, by the seed of its prompt, whether the response has ended or not: what is said does not depend on how
    rows are laid out, on when they leave the batch, or on which prompts are drawn to beside.

    Args:
        rules: which tokens may follow others.
        encoder: says which token ends a response, and which one pads.
        batch: P prompts; responses in it are not looked at.
        reference: gives the network whose share is `sampling.reference`; None: there is none.

    Raises:
        ValueError: the model's logits are no numbers.
    """
    most = sampling.max_new_tokens
    rows = begun(network, batch, n, most)
    if reference is not None:
        rows = Mixed(rows, reference, sampling.reference, most)
    said = _Said(len(rows.live), most, encoder, rows.live.device)
    chances = RowDraws(seeds_of(sampling.seeds, len(rows.live) // n), n, rows.live.device).chances()
    written = [one for of in rows.networks for one in (*of.writer.get_decoder().modules(), *of.head.modules())]
    with laid_out(written, most):
        for step in range(most):
            banned, must = rules.next(said.tokens[rows.live, :step])
            where = next(chances)[rows.live]
            chosen = choose(rows.logits(), banned, rules.renormalise, sampling.temperature, where)
            said.put(rows.live, step, must, *chosen)
            if step + 1 == most or not _go_on(rows, said, step):
                break
            rows.append(said.tokens[:, : step + 1])
    return said.drawn(n)


def _go_on(rows: Rows, said: _Said, step: int) -> bool:
    """Let responses that have ended leave, and tell whether there are others."""
    if rows.live.device.type != "cpu" and step % _LOOK < _LOOK - 1:
        return True
    going = (~said.ended[rows.live]).nonzero()[:, 0]
    if 0 < len(going) < len(rows.live):
        rows.keep(going)
    return len(going) > 0


class _Said:
    """The tokens of R responses so far; attributes as of what was drawn."""

    def __init__(self, count: int, most: int, encoder: TokenEncoder, device: torch.device):
        self.encoder = encoder
        self.tokens = torch.full((count, most), encoder.pad, device=device)
        self.logprobs = torch.zeros(count, most, device=device)
        self.said, self.chosen = (torch.zeros(count, most, dtype=torch.bool, device=device) for _ in range(2))
        self.ended = torch.zeros(count, dtype=torch.bool, device=device)

    def put(self, live: Tensor, step: int, must: Tensor | None, token: Tensor, logprob: Tensor) -> None:
        """Put down what some responses (N,) say next: a token that they chose, (N,), or the one that must stand there."""
        goes_on = ~self.ended[live]
        free = goes_on if must is None else goes_on & (must == FREE)
        token = token if must is None else token.where(must == FREE, must)
        self.tokens[live, step] = token.where(goes_on, self.encoder.pad)
        self.logprobs[live, step], self.said[live, step], self.chosen[live, step] = logprob * free, goes_on, free
        self.ended[live] |= goes_on & (token == self.encoder.end)

    def drawn(self, n: int) -> Drawn:
        """(P, n, …) of all that was said.

        Raises:
            ValueError: some of it has no probability.
        """
        if not self.logprobs.isfinite().all():
            raise ValueError(
                "the model's logits are no numbers (NaN or infinite), so that nothing can be drawn: its weights are broken. "
                "If training broke them, type: a lower optimizer.lr, or resume=<the run folder> to go on from its last "
                "checkpoint"
            )
        width = int(self.said.any(0).sum())
        columns = self.tokens, self.logprobs, self.said.float(), self.chosen.float()
        return Drawn(*(part[:, :width].unflatten(0, (-1, n)) for part in columns), self.ended.unflatten(0, (-1, n)))
