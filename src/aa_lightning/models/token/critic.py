"""Critics of token models: what is still to come, read off the hidden states that predict each token of a response."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aa_lightning.types import Batch


class ValueHead(nn.Module):
    """A linear head on hidden states, near 0 to begin with.

    Args:
        width: of the states.
        count: of critics that share them.
    """

    def __init__(self, width: int, count: int):
        super().__init__()
        self.linear = nn.Linear(width, count)
        nn.init.normal_(self.linear.weight, std=1 / (width + 1))
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(N, C) values of states (N, H), in float32."""
        return self.linear(states.to(self.linear.weight.dtype)).float()

    @torch.no_grad()
    def start_from(self, weight: Tensor) -> None:
        """Take the head of a reward model, (scores, H): the first critic starts from the mean of its scores, which is its
        reward, the second from the last.

        Raises:
            ValueError: it is of states of another width.
        """
        if weight.shape[1] != self.linear.in_features:
            raise ValueError(
                f"model.critic_init has a head for states of width {weight.shape[1]}, and the critic's are "
                f"{self.linear.in_features} wide: type model.critic_init=<a reward model made from this model>, or "
                "model.critic_init=null"
            )
        starts: Sequence[Tensor] = (weight.mean(0), weight[-1])
        for row, start in zip(self.linear.weight, starts, strict=False):
            row.copy_(start)


class OwnCritic(nn.Module):
    """A critic with a network of its own. Its heads of tokens are never used, and do not train unless embeddings are tied
    to them.

    Args:
        network: that reads batches in the (P, K) layout.
        head: on its states.
    """

    def __init__(self, network: nn.Module, head: ValueHead):
        super().__init__()
        self.network, self.head = network, head
        embeddings = set(network.writer.get_input_embeddings().parameters())
        for unused in {p for one in network.heads for p in one.parameters()} - embeddings:
            unused.requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        """(P, K, T, C) before each token of the responses; 0 in padding."""
        states, hidden = self.network.predicting(batch)
        mask, values = batch.response["mask"].bool(), self.head(states)
        spread = values.new_zeros(*mask.shape, values.shape[-1]).masked_scatter(mask[..., None], values)
        return spread[: len(batch)] + self.network.idle(hidden, batch)
