"""Token models as policies: exact log-likelihoods of text responses, for every family in the table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference, evaluating
from aa_lightning.models.state_dict import below
from aa_lightning.models.token.critic import OwnCritic, ValueHead
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.logprobs import Reduction, divergence_from
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.sampling import Drawn, Except, Rules, draw
from aa_lightning.models.whole import take_weights
from aa_lightning.types import SAMPLING, Batch, LogLikelihood, Response, Rollout, Sampling, Statistic


class AutoregressivePolicy(nn.Module):
    """p(response | prompt) of a token model."""

    likelihood = "exact"

    def __init__(
        self, network: TokenNetwork, encoder: TokenEncoder, reference: Reference, adapters: Adapters | None = None
    ):
        super().__init__()
        self.network, self.encoder = network, encoder
        self.reference, self.adapters = reference, adapters
        self.critic: ValueHead | OwnCritic | TokenNetwork | None = None  # until it is given one
        for other in reference.modules():  # which reads the same prompts
            other.positions = network.positions

    def prepare(self, batch: Batch) -> Batch:
        """Nothing is random in a token model's likelihood."""
        return batch

    def log_likelihood(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """log p of every response token under the current weights, (P, K, T).

        Args:
            tokens: (P, K, T) other tokens, read in the places of the response's.
            statistic: of each whole distribution, that comes with the terms; a divergence is KL(reference ‖ policy).
            measure: whether entropy and hits come along; not of tokens in the places of the response's.
        """
        of: Statistic | Reduction | None = statistic
        if statistic == "divergence":
            with self.as_reference() as reference:
                of = divergence_from(reference.log_likelihood(batch, statistic="distribution").statistic)
        return self.network(batch, tokens=tokens, statistic=of, measure=measure and tokens is None)

    def as_reference(self) -> AbstractContextManager:
        """The reference, while the context lasts."""
        return self.reference.active(self.network)

    def reference_modules(self) -> list[nn.Module]:
        """Networks outside of this module that a strategy places or shards by itself."""
        return self.reference.modules()

    @property
    def rules(self) -> Rules:
        """The tokens that may be drawn: all but placeholders, which would stand for no medium."""
        return Except(self.encoder.placeholders)

    @torch.no_grad()
    def sample(self, batch: Batch, n: int, sampling: Sampling = SAMPLING) -> Rollout:
        """Draw n responses to each prompt.

        The distribution is exactly softmax(logits / temperature) over what `rules` allow: the checkpoint's own generation
        defaults (top-k, repetition penalty, …) are not used. `action_logprobs` is of this distribution, where the reference
        has no share in it.
        """
        with evaluating(self):
            batch = self.prepare(batch)
            drawn = self._draw(batch, n, sampling)
        return self.rollout(batch, drawn, sampling)

    def rollout(self, batch: Batch, drawn: Drawn, sampling: Sampling) -> Rollout:
        """The rollout of tokens (P, n, A) that were drawn, by this policy or by an engine that has its weights.

        Args:
            batch: the prompts.
            drawn: tokens, and with which probabilities.
            sampling: how they were drawn.
        """
        response = {"input_ids": drawn.tokens, "mask": drawn.said}
        draws = {"temperature": torch.tensor(sampling.temperature or 1.0)}
        batch = replace(batch, response=response, draws=draws, supervision={})
        responses = [
            [self.decode(tokens[said.bool()]) for tokens, said in zip(*row, strict=True)]
            for row in zip(drawn.tokens.cpu(), drawn.said.cpu(), strict=True)
        ]
        return Rollout(batch, responses, drawn.logprobs, drawn.chosen, drawn.ended)

    def _draw(self, batch: Batch, n: int, sampling: Sampling) -> Drawn:
        if sampling.reference == 1:
            with self.reference.standing(self.network) as network:
                return draw(network, self.rules, self.encoder, batch, n, sampling)
        standing = partial(self.reference.standing, self.network) if sampling.reference else None
        return draw(self.network, self.rules, self.encoder, batch, n, sampling, standing)

    def decode(self, tokens: Tensor) -> Response:
        """The response that drawn tokens (T,) spell."""
        return self.encoder.decode(tokens)

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn tokens under the current weights, at the temperature of the draw."""
        return self.network.action_logprobs(rollout)

    def values(self, batch: Batch) -> Tensor:
        """(P, K, A), or (P, K, A, C) of C > 1 critics: what is still to come before each action of the responses; of a
        process reward, log-probabilities of the actions.

        Raises:
            ValueError: the policy was built without a critic.
        """
        if self.critic is None:
            raise ValueError(
                "the algorithm reads policy.values(batch), and the policy was built without a critic: write critics = 1 into "
                "the algorithm's class"
            )
        if isinstance(self.critic, TokenNetwork):
            mask = batch.response["mask"][: len(batch)]
            return self.critic.action_logprobs(Rollout(batch, [], mask, mask, mask[..., 0]))
        if isinstance(self.critic, ValueHead):
            found = self.network(batch, statistic=self.critic).statistic
        else:
            found = self.critic(batch)
        return found[..., 0] if found.shape[-1] == 1 else found

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write what transformers (with an adapter: peft) loads by itself, and the processor.

        Args:
            weights: gathered weights by this policy's names, where a strategy sharded them; None: its own.
        """
        own = below("network.model.", weights)
        if self.adapters is None:
            self.network.model.save_pretrained(folder, state_dict=own)
        else:
            self.adapters.save(folder, own)
        self.encoder.processor.save_pretrained(folder)

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote; the reference stays where it is."""
        if self.adapters is not None:
            self.adapters.load(folder)
        else:
            take_weights(self.network.model, folder)
