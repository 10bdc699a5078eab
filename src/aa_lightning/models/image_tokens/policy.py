"""Token models that write pictures: text and pictures are one sequence of tokens with an exact likelihood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aa_lightning.models.families.family import Family
from aa_lightning.models.image_tokens.encoder import PictureEncoder
from aa_lightning.models.image_tokens.grammar import DRAWN, FORCED, TEXT, Grammar, Restricted
from aa_lightning.models.image_tokens.vq import PictureTokenizer, refuse_pixels
from aa_lightning.models.reward.scorer import Scorer
from aa_lightning.models.token.layouts import Layout
from aa_lightning.models.token.logprobs import Reduction, token_logprobs
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.types import Batch, LogLikelihood, Response, Rollout, Statistic


class PictureNetwork(TokenNetwork):
    """A transformers model over text and picture tokens, without its VQ model."""

    def __init__(self, model: nn.Module, family: Family, grammar: Grammar, prefix_sharing: str = "auto"):
        super().__init__(model, family, prefix_sharing)
        self.grammar = grammar

    def forward(
        self,
        batch: Batch,
        temperature: float = 1.0,
        tokens: Tensor | None = None,
        statistic: Statistic | Reduction | None = None,
        measure: bool = False,
        restricted: bool = False,
    ) -> LogLikelihood:
        """Log-probabilities of every response token, (P, K, T).

        Args:
            temperature, tokens, statistic, measure: as for text models.
            restricted: over the tokens that the grammar of sampling allows at each place, instead of all tokens.
        """
        if restricted:
            return self._restricted(batch, temperature)
        return super().forward(batch, temperature, tokens, statistic, measure)

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn tokens under the current weights and the grammar of sampling."""
        return self(rollout.batch, rollout.batch.draws["temperature"].item(), restricted=True).terms

    def hidden(self, batch: Batch) -> tuple[Tensor, Layout]:
        """Last hidden states (R, L, H), and where the response tokens stand in them.

        Raises:
            ValueError: a batch that is not prepared.
        """
        refuse_pixels(batch, self.grammar.reads)
        return super().hidden(batch)

    def _restricted(self, batch: Batch, temperature: float) -> LogLikelihood:
        hidden, layout = self.hidden(batch)
        ids, mask = batch.response["input_ids"], batch.response["mask"]
        kinds, head = self.grammar.kinds(ids), self.head
        terms = torch.zeros(mask.shape, device=mask.device)
        for kind in (TEXT, DRAWN):
            chosen = mask.bool() & (kinds == kind)
            states = hidden[layout.rows[chosen], layout.before[chosen]]
            allowed = Restricted(head, self.grammar.banned(kind, mask.device))
            logprobs = token_logprobs(states, allowed, ids[chosen], temperature)
            terms = terms.to(logprobs.dtype).masked_scatter(chosen, logprobs)
        return LogLikelihood(terms, mask * (kinds != FORCED))


class WithPictures(nn.Module):
    """Mixin of a policy or reward model with a frozen VQ model, which is not registered: neither trained nor saved with it.

    Args:
        network: the model without its VQ model.
        encoder: text, placeholders and pixels.
        pictures: the VQ model.
        others: arguments of the class for texts alone, after its encoder.
    """

    holder: ClassVar[str]  # the module of which an export holds the VQ model too

    def __init__(self, network: PictureNetwork, encoder: PictureEncoder, pictures: PictureTokenizer, *others: Any):
        super().__init__(network, encoder, *others)
        self.pictures = pictures

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """The VQ model goes along to a device."""
        super()._apply(fn, recurse)
        self.pictures.apply(fn)
        return self

    def prepare(self, batch: Batch) -> Batch:
        """Pictures become tokens, in prompts and responses. A prepared batch is returned as it is."""
        return self.pictures.fill(batch)

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> str | None:
        """Write what transformers loads by itself, the VQ model included; arguments and value as for text models."""
        model = self.get_submodule(self.holder)
        with self.pictures.attached(model):
            return super().save(folder, self.pictures.complete(model, f"{self.holder}.", weights))

    def restore(self, folder: Path) -> None:
        """Take the weights that `save` wrote; a reference stays where it is."""
        with self.pictures.attached(self.get_submodule(self.holder)):
            super().restore(folder)


class PicturePolicy(WithPictures, AutoregressivePolicy):
    """p(response | prompt) where prompts and responses are text with pictures in it.

    `prepare` turns pictures into tokens with the frozen VQ model; everything after it is text.
    """

    holder = "network.model"

    @property
    def rules(self) -> Grammar:
        """Texts, with whole pictures of the policy's size in them.

        Log-probabilities are **among the tokens that the grammar allows at each place**: `action_logprobs` is of this
        distribution, `log_likelihood` of the model's own over all tokens. They differ by what the model puts on tokens that
        the grammar forbids. Tokens without a choice (the size, row ends, the closing) have log-probability 0 and are no
        actions. Without a decoder for pictures none is ever begun.
        """
        return self.network.grammar

    def decode(self, tokens: Tensor) -> Response:
        """The parts that drawn tokens (T,) spell, without control tokens and without a picture that was cut short."""
        grammar, parts, done = self.network.grammar, [], 0
        for start, stop in grammar.pictures(tokens):
            parts += self._text(tokens[done:start])
            pixels = self.pictures.pixels(grammar.body(tokens[start:stop]), *grammar.size)
            parts.append({"type": "image", "image": self.encoder.picture(pixels)})
            done = stop
        cut = (tokens[done:] == grammar.begin).nonzero()
        rest = tokens[done:] if not len(cut) else tokens[done : done + int(cut[0])]
        parts += self._text(rest)
        return parts or [{"type": "text", "text": ""}]

    def _text(self, tokens: Tensor) -> Response:
        said = self.encoder.decode(tokens)[0]["text"]
        return [{"type": "text", "text": said}] if said else []


class PictureScorer(WithPictures, Scorer):
    """A reward model of prompts and responses with pictures in them."""

    holder = "network.network.model"
