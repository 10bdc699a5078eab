"""Token models as policies: exact log-likelihoods of text responses, for every family in the table."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from aa_lightning.models.families.family import Family
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference, evaluating
from aa_lightning.models.state_dict import below
from aa_lightning.models.token import layouts, logprobs, neftune, sampling
from aa_lightning.models.token.encoder import TokenEncoder
from aa_lightning.models.token.logprobs import Statistic, logit_cap, statistic, token_logprobs
from aa_lightning.models.token.positions import Positions
from aa_lightning.models.whole import check_folder, loaded
from aa_lightning.types import Batch, LogLikelihood, Rollout

_ROUNDING = 1e-4  # nats between two ways to the same log-probability


class TokenNetwork(nn.Module):
    """A transformers model that reads batches in the (P, K) layout."""

    def __init__(self, model: nn.Module, family: Family, layout: str = "auto"):
        super().__init__()
        self.model = model
        self.family, self.layout = family, layout
        self.positions = Positions(family)
        self.windows = layouts.windows_of(model.config)
        self.cap = logit_cap(model.config)

    @property
    def writer(self) -> nn.Module:
        """The part of the model that writes text."""
        return self.model

    @property
    def head(self) -> nn.Module:
        """From the states that predict tokens to logits."""
        return self.writer.get_output_embeddings()

    def forward(
        self,
        batch: Batch,
        temperature: float = 1.0,
        read: Tensor | None = None,
        of: Statistic | None = None,
        measure: bool = False,
    ) -> LogLikelihood:
        """Log-probabilities of every response token, (P, K, T).

        Args:
            temperature: divides the logits.
            read: (P, K, T) other tokens whose probabilities are read in the places of the response's.
            of: a function of each token's whole distribution, whose value comes along as `statistic`.
            measure: whether what only metrics need comes along as `measures`.
        """
        states, hidden = self._predicting(batch)
        mask, real = batch.response["mask"], len(batch)
        own = batch.response["input_ids"][mask.bool()]
        terms = self.logprobs(states, own if read is None else read[mask.bool()], own, temperature)
        found = None if of is None else self.statistic(states, own, of)
        measures = self._measures(states, own, terms, mask) if measure else {}
        measures = {name: values[:real] for name, values in measures.items()}
        return LogLikelihood(_spread(terms, mask)[:real] + self.idle(hidden, batch), mask[:real], found, measures)

    def logprobs(self, states: Tensor, ids: Tensor, own: Tensor, temperature: float) -> Tensor:
        """(N,) log-probabilities of tokens, by the states (N, H) that predict them.

        Args:
            ids: (N,) whose probabilities are read.
            own: (N,) the response's tokens in these places.
        """
        return token_logprobs(states, self.head, ids, temperature, self.cap)

    def statistic(self, states: Tensor, own: Tensor, of: Statistic) -> Tensor:
        """(N,) `of` of the whole distribution in each of these places."""
        return statistic(states, self.head, of, self.cap)

    @torch.no_grad()
    def _measures(self, states: Tensor, own: Tensor, terms: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(P, K, T) entropy in nats, and 1 for tokens than which none is likelier."""
        entropy, highest = self.statistic(states, own, logprobs.entropy_and_highest).unbind(-1)
        hits = (terms >= highest - _ROUNDING).to(entropy.dtype)
        return {"entropy": _spread(entropy, mask), "token_accuracy": _spread(hits, mask)}

    def read(self, hidden: Tensor, layout: layouts.Layout, ids: Tensor, counted: Tensor) -> LogLikelihood:
        """Log-probabilities of some tokens of the responses, from hidden states that are there already.

        Args:
            hidden, layout: of `hidden`.
            ids, counted: (P, K, T) the tokens, and 1 for those that are read.
        """
        read = counted.bool()
        states, own = hidden[layout.rows[read], layout.before[read]], ids[read]
        return LogLikelihood(_spread(self.logprobs(states, own, own, 1.0), counted), counted)

    def _predicting(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, H) the states that predict the counted tokens, and all hidden states."""
        hidden, layout = self.hidden(batch)
        counted = batch.response["mask"].bool()
        return hidden[layout.rows[counted], layout.before[counted]], hidden

    @staticmethod
    def idle(hidden: Tensor, batch: Batch) -> Tensor | float:
        """Zero, with the gradient of a companion row: parameters that this batch leaves idle take part in reductions."""
        companion = len(batch) < len(batch.response["mask"])
        return 0.0 * hidden[-1].sum().float() if companion else 0.0

    def hidden(self, batch: Batch) -> tuple[Tensor, layouts.Layout]:
        """Last hidden states, and where the response tokens stand in them."""
        positions = self._positions(batch)
        if self._shares(batch):
            layout = layouts.shared(batch, self.family, positions, self.windows)
        else:
            layout = layouts.plain(batch, self.family, positions)
        inputs = dict(layout.inputs)
        if self.writer.config.get_text_config()._attn_implementation == "eager":  # a tower may have another
            inputs["attention_mask"] = _additive(inputs["attention_mask"], self.writer.dtype)
        if self.family.run is not None:
            return self.family.run(self.backbone, inputs), layout
        return self.backbone(**inputs, use_cache=False).last_hidden_state, layout

    @property
    def backbone(self) -> nn.Module:
        """The model without its head."""
        return self.writer.base_model

    def _shares(self, batch: Batch) -> bool:
        if not self.family.shares_prefix or self.windows is None or self.layout == "plain":
            return False
        p, k, _ = batch.response["input_ids"].shape
        if self.layout == "shared" or k < 2:
            return k > 1
        prompt, response = batch.prompt["attention_mask"].sum() / p, batch.response["mask"].sum() / (p * k)
        width = self.model.config.get_text_config().hidden_size
        return layouts.prefers_shared(prompt.item(), response.item(), k, width, media=bool(batch.blocks))

    def _positions(self, batch: Batch) -> Tensor:
        """Positions of the prompt tokens: (P, L), or (3, P, L) where a family counts in time, height and width."""
        valid = batch.prompt["attention_mask"]
        if self.family.rope is not None and batch.blocks:
            return self.positions(self.backbone, batch)
        return (valid.cumsum(-1) - 1).clamp(min=0)


class AutoregressivePolicy(nn.Module):
    """p(response | prompt) of a token model."""

    likelihood = "exact"

    def __init__(
        self, network: TokenNetwork, encoder: TokenEncoder, reference: Reference, adapters: Adapters | None = None
    ):
        super().__init__()
        self.network, self.encoder = network, encoder
        self.reference, self.adapters = reference, adapters
        for other in reference.modules():  # which reads the same prompts
            other.positions = network.positions

    def prepare(self, batch: Batch) -> Batch:
        """Nothing is random in a token model's likelihood."""
        return batch

    def log_likelihood(self, batch: Batch, collision: bool = False, read: Tensor | None = None) -> LogLikelihood:
        """log p of every response token under the current weights, (P, K, T).

        Args:
            collision: whether each term comes with the detached log Σ_v p_v².
            read: (P, K, T) other tokens, read in the places of the response's.
        """
        measure = batch.measured and read is None  # tokens that are read in their places are not the response's
        if collision:
            return with_collision(self.network, batch, read, measure)
        return self.network(batch, read=read, measure=measure)

    @torch.no_grad()
    def likeliest(self, batch: Batch) -> Tensor:
        """(P, K, T) the token that the policy would say at each place of the responses, given those before it."""
        found = self.network(batch, of=logprobs.likeliest).statistic
        return _spread(found, batch.response["mask"])[: len(batch)]

    def with_divergence(self, batch: Batch) -> LogLikelihood:
        """log p of every response token, each with KL(reference ‖ policy) over the vocabulary, in nats."""
        with self.as_reference() as reference:
            theirs = reference.distributions(batch)
        found = self.network(batch, of=logprobs.divergence_from(theirs), measure=batch.measured)
        apart = _spread(found.statistic, batch.response["mask"])[: len(batch)]
        return replace(found, statistic=apart)

    def noisy_embeddings(self, alpha: float) -> AbstractContextManager:
        """Noise on token embeddings while the context lasts, in training mode alone."""
        return neftune.noisy_embeddings(self.network.writer, alpha) if self.training else nullcontext()

    def as_reference(self) -> AbstractContextManager:
        """The reference, while the context lasts."""
        return self.reference.active(self.network)

    def reference_modules(self) -> list[nn.Module]:
        """Networks outside of this module that a strategy places or shards by itself."""
        return self.reference.modules()

    @torch.no_grad()
    def sample(self, batch: Batch, n: int, max_new_tokens: int = 64, temperature: float = 1.0) -> Rollout:
        """Draw n responses for each prompt; temperature 0 takes the likeliest token every time.

        The distribution is exactly softmax(logits / temperature): the checkpoint's own generation defaults (top-k,
        repetition penalty, …) are not used. Media placeholders are never drawn.
        """
        with evaluating(self):
            repeated = layouts.repeat(batch, n)
            drawn_rows = sampling.draw(self.network, self.encoder, repeated, max_new_tokens, temperature)
        tokens, logprobs = (rows.view(len(batch), n, -1) for rows in drawn_rows)
        mask = sampling.until(tokens, self.encoder.end)
        drawn = Batch(
            ids=batch.ids,
            prompt=batch.prompt,
            blocks=batch.blocks,
            response={"input_ids": tokens, "mask": mask},
            draws={"temperature": torch.tensor(temperature or 1.0)},
            answers=batch.answers,
        )
        said = [
            [self.encoder.decode(t[m.bool()]) for t, m in zip(*row, strict=True)]
            for row in zip(tokens.cpu(), mask.cpu(), strict=True)
        ]
        return Rollout(drawn, said, logprobs * mask, mask)

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn tokens under the current weights, at the temperature of the draw."""
        temperature = rollout.batch.draws["temperature"].item()
        return self.network(rollout.batch, temperature).terms

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


def with_collision(network: TokenNetwork, batch: Batch, read: Tensor | None, measure: bool) -> LogLikelihood:
    """Log-probabilities, each with the detached log Σ_v p_v² over the vocabulary."""
    found = network(batch, read=read, of=logprobs.collision, measure=measure)
    chance = _spread(found.statistic.detach(), batch.response["mask"])[: len(batch)]
    return replace(found, statistic=chance)


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """(N,) values of the counted tokens in their places, (P, K, T)."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=mask.device).masked_scatter(mask.bool(), values)


def take_weights(model: nn.Module, folder: Path) -> None:
    """Load a saved transformers model of the same class into one that is there."""
    check_folder(str(folder))
    saved = loaded(type(model), str(folder), dtype=model.dtype)
    model.load_state_dict(saved.state_dict())


def _additive(allowed: Tensor | dict[str, Tensor], dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Eager attention adds the mask to the scores, so it needs numbers and not booleans. Masks of tokens stay."""
    if isinstance(allowed, dict):
        return {kind: _additive(mask, dtype) for kind, mask in allowed.items()}
    if allowed.ndim < 4:
        return allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)
