"""The network of a token model: log-probabilities of response tokens in the (P, K) layout."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from aa_lightning.models.families.family import Family
from aa_lightning.models.token import layouts, logprobs, two_part
from aa_lightning.models.token.critic import ValueHead
from aa_lightning.models.token.logprobs import Reduction, logit_cap, logits, token_logprobs
from aa_lightning.models.token.packed import packed
from aa_lightning.models.token.positions import Positions
from aa_lightning.models.token.remade import made_again
from aa_lightning.types import Batch, LogLikelihood, Rollout, Statistic

_LARGE = 2**17  # numbers in the states of a layer, from which on it takes longer to keep them than to make them again
_ROUNDING = 1e-4  # nats between two ways to the same log-probability


class TokenNetwork(nn.Module):
    """A transformers model that reads batches in the (P, K) layout."""

    def __init__(self, model: nn.Module, family: Family, prefix_sharing: str = "auto"):
        super().__init__()
        self.model = model
        self.family, self.prefix_sharing = family, prefix_sharing
        self.positions = Positions(family)
        self.windows = layouts.windows_of(model.config)
        self.cap = logit_cap(model.config)
        self.packs = family.shares_prefix and family.packs and two_part.given_to(self.writer.get_decoder())

    @property
    def writer(self) -> nn.Module:
        """The part of the model that writes text."""
        return self.model

    @property
    def head(self) -> nn.Module:
        """From the states that predict tokens to logits."""
        return self.writer.get_output_embeddings()

    @property
    def heads(self) -> list[nn.Module]:
        """All that make logits of states."""
        return [self.head]

    def forward(
        self,
        batch: Batch,
        temperature: float = 1.0,
        tokens: Tensor | None = None,
        statistic: Statistic | Reduction | ValueHead | None = None,
        measure: bool = False,
    ) -> LogLikelihood:
        """Log-probabilities of every response token, (P, K, T).

        Args:
            temperature: divides the logits.
            tokens: (P, K, T) other tokens whose probabilities are read in the places of the response's.
            statistic: of each token's whole distribution, by its name or as a function, or of the state that predicts it, by
                the head of a critic; it comes along.
            measure: whether what only metrics need comes along as `measures`.
        """
        states, hidden = self.predicting(batch)
        mask, real = batch.response["mask"], len(batch)
        own = batch.response["input_ids"][mask.bool()]
        terms = self.logprobs(states, own if tokens is None else tokens[mask.bool()], own, temperature)
        if isinstance(statistic, ValueHead):
            found = spread(statistic(states), mask)[:real] + self.idle(hidden, batch)
        else:
            of = logprobs.STATISTICS[statistic] if isinstance(statistic, str) else statistic
            found = None if of is None else self.reduce_distribution(states, own, of)
            if found is not None and found.ndim == 1:
                found = spread(found, mask)[:real]
        measures = self._measures(states, own, terms, mask) if measure else {}
        measures = {name: values[:real] for name, values in measures.items()}
        return LogLikelihood(spread(terms, mask)[:real] + self.idle(hidden, batch), mask[:real], found, measures)

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn tokens under the current weights, at the temperature of the draw."""
        return self(rollout.batch, rollout.batch.draws["temperature"].item()).terms

    def logprobs(self, states: Tensor, ids: Tensor, own: Tensor, temperature: float) -> Tensor:
        """(N,) log-probabilities of tokens, by the states (N, H) that predict them.

        Args:
            ids: (N,) whose probabilities are read.
            own: (N,) the response's tokens in these places.
        """
        return token_logprobs(states, self.head, ids, temperature, self.cap)

    def reduce_distribution(self, states: Tensor, own: Tensor, of: Reduction) -> Tensor:
        """(N, …) `of` of the whole distribution in each of these places."""
        return logprobs.reduce_distribution(states, self.head, of, self.cap)

    @torch.no_grad()
    def _measures(self, states: Tensor, own: Tensor, terms: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(P, K, T) entropy in nats, and 1 where the response's token is the argmax."""
        entropy, highest = self.reduce_distribution(states, own, logprobs.entropy_and_highest).unbind(-1)
        hits = (terms >= highest - _ROUNDING).to(entropy.dtype)
        return {"entropy": spread(entropy, mask), "token_accuracy": spread(hits, mask)}

    def read(self, hidden: Tensor, layout: layouts.Layout, ids: Tensor, counted: Tensor) -> LogLikelihood:
        """Log-probabilities of some tokens of the responses, from hidden states that are there already.

        Args:
            hidden, layout: of `hidden`.
            ids, counted: (P, K, T) the tokens, and 1 for those that are read.
        """
        read = counted.bool()
        states, own = hidden[layout.rows[read], layout.before[read]], ids[read]
        return LogLikelihood(spread(self.logprobs(states, own, own, 1.0), counted), counted)

    def next_logits(self, states: Tensor) -> Tensor:
        """(R, V) float32 logits of the token behind each state (R, H)."""
        return logits(states, self.head, self.cap)

    @property
    def width(self) -> int:
        """H of the states that predict tokens."""
        return self.writer.config.get_text_config().hidden_size

    def predicting(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, H) the states that predict the counted tokens, and all hidden states."""
        hidden, layout = self.hidden(batch)
        counted = batch.response["mask"].bool()
        return hidden[layout.rows[counted], layout.before[counted]], hidden

    @staticmethod
    def idle(hidden: Tensor, batch: Batch) -> Tensor | float:
        """Scalar 0 with the gradient of a companion row: parameters that this batch leaves idle take part in reductions."""
        companion = len(batch) < len(batch.response["mask"])
        return 0.0 * hidden[-1].sum().float() if companion else 0.0

    def hidden(self, batch: Batch) -> tuple[Tensor, layouts.Layout]:
        """Last hidden states (R, L, H), and where the response tokens stand in them."""
        layout = self.layout(batch)
        inputs = dict(layout.inputs)
        if self.writer.config.get_text_config()._attn_implementation == "eager":  # a tower may have another
            inputs["attention_mask"] = _additive(inputs["attention_mask"], self.writer.dtype)
        large = inputs["input_ids"].numel() * self.writer.config.get_text_config().hidden_size > _LARGE
        with made_again() if large else nullcontext():
            return self.family.forward(self.backbone, {**inputs, "use_cache": False}).last_hidden_state, layout

    @property
    def backbone(self) -> nn.Module:
        """The model without its head."""
        return self.writer.base_model

    def layout(self, batch: Batch) -> layouts.Layout:
        """The rows of a batch: one packed row where two-part attention can read it; else rows that the responses of a
        prompt share, under a block mask; else one row for each response."""
        positions, wanted = self.prompt_positions(batch), self.prefix_sharing
        if wanted == "never" or not self.family.shares_prefix or self.windows is None:
            return layouts.plain(batch, self.family, positions)
        if self.reads_packed(batch):
            return packed(batch, self.family, positions)
        if batch.response["input_ids"].shape[1] > 1 and (wanted == "always" or _long_prompts(batch)):
            return layouts.shared(batch, self.family, positions, self.windows)
        return layouts.plain(batch, self.family, positions)

    def reads_packed(self, batch: Batch) -> bool:
        """Tell whether plain causal attention is all that the rows of a batch need."""
        if not self.packs or not two_part.serves(self.writer) or self.family.sees_ahead in batch.prompt:
            return False
        limits = [window for window in self.windows.values() if window is not None]
        return not limits or longest(batch) <= min(limits)

    def prompt_positions(self, batch: Batch) -> Tensor:
        """Positions of the prompt tokens: (P, L), or (3, P, L) where a family counts in time, height and width."""
        valid = batch.prompt["attention_mask"]
        if self.family.rope is not None and batch.blocks:
            return self.positions(self.backbone, batch)
        return (valid.cumsum(-1) - 1).clamp(min=0)


def longest(batch: Batch) -> int:
    """The number of tokens in the longest row of a prompt and a response."""
    return int((batch.prompt["attention_mask"].sum(-1) + batch.response["mask"].sum(-1).amax(-1)).max())


def _long_prompts(batch: Batch) -> bool:
    """Tell whether prompts are no shorter than a response is in the mean: a block mask pays by the prompts that are read
    once, and costs by the pairs of siblings that it closes."""
    lengths = batch.response["mask"].sum(-1).mean(-1)
    return bool(batch.prompt["attention_mask"].sum() >= lengths.sum())


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) or (N, C) values of the counted tokens in their places, (P, K, T) or (P, K, T, C)."""
    places = mask.bool() if values.ndim == 1 else mask.bool()[..., None]
    return values.new_zeros(*mask.shape, *values.shape[1:]).masked_scatter(places, values)


def _additive(allowed: Tensor | dict[str, Tensor], dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Eager attention adds the mask to the scores, so it needs numbers and not booleans. Masks of tokens stay."""
    if isinstance(allowed, dict):
        return {kind: _additive(mask, dtype) for kind, mask in allowed.items()}
    if allowed.ndim < 4:
        return allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)
