"""Token models that answer with speech: text by the thinker, codec tokens by the talker, one exact likelihood of both.

In a response, codec tokens stand behind the text under ids from `first_code` on, step by step, so that everything which
reads tokens, masks and terms serves them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.media.audio import Sound
from aa_lightning.models.families.family import Family
from aa_lightning.models.lora import Adapters
from aa_lightning.models.reference import Reference
from aa_lightning.models.speech import talker
from aa_lightning.models.speech.encoder import SpeechEncoder
from aa_lightning.models.token import layouts
from aa_lightning.models.token.logprobs import Reduction, reduce_distribution
from aa_lightning.models.token.multi_head import KindHeads, in_place, marked
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.models.token.policy import AutoregressivePolicy
from aa_lightning.models.token.row_draws import RowDraws, seeds_of
from aa_lightning.models.token.sampling import Drawn
from aa_lightning.types import Batch, Response, Sampling


class SpeechNetwork(TokenNetwork):
    """Thinker and talker in the (P, K) layout.

    Args:
        speaks: the kind of talker.
        speaker: whose voice it has; None: the first.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        prefix_sharing: str,
        speaks: Callable[[nn.Module, str | None], talker.Talker],
        speaker: str | None,
    ):
        super().__init__(model, family, prefix_sharing)
        self._speaks, self._speaker = speaks, speaker
        self.codes = self.talker.codes

    @property
    def writer(self) -> nn.Module:
        """The thinker."""
        return self.model.thinker

    @property
    def talker(self) -> talker.Talker:
        """The talker, by the modules that the model has now: a strategy may wrap them."""
        return self._speaks(self.model, self._speaker)

    @property
    def first_code(self) -> int:
        """The id of codec token 0 in responses."""
        return self.writer.get_output_embeddings().out_features

    @property
    def _by_kind(self) -> KindHeads:
        """Heads of text, and of each codec token of a step."""
        codec = self.talker.heads
        return KindHeads([self.writer.get_output_embeddings(), *codec], [0, *[self.first_code] * len(codec)])

    def logprobs(self, states: Tensor, ids: Tensor, own: Tensor, temperature: float) -> Tensor:
        """(N,) log-probabilities: of text among text, of codec tokens among those of their group."""
        return self._by_kind.logprobs(states, ids, temperature)

    def reduce_distribution(self, states: Tensor, own: Tensor, of: Reduction) -> Tensor:
        """(N, …) `of` over texts in the places of texts, over the codec tokens of a group in those of the group."""
        return reduce_distribution(states, self._by_kind, of)

    @property
    def heads(self) -> list[nn.Module]:
        """That of texts, and those of the codec tokens of a step."""
        return list(self._by_kind.heads)

    @property
    def width(self) -> int:
        """H of the states of text or of speech, whichever are wider, and the mark of their kind."""
        return max(head.in_features for head in self.heads) + 1

    def predicting(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, H) the states that predict the counted tokens, and all hidden states of the thinker (R, L, H)."""
        counted, ids = batch.response["mask"].bool(), batch.response["input_ids"]
        spoken = counted & (ids >= self.first_code)
        texts = self._texts(batch, counted & ~spoken)
        hidden, told, layout = self._thought(texts)
        own = texts.response["mask"].bool()
        written = hidden[layout.rows[own], layout.before[own]]
        begun = self.talker.begun(texts, told, layout)
        groups = self.codes.groups
        codes, heard = (_steps(front, groups) for front in _front(ids - self.first_code, spoken))
        states = talker.predicting(self.talker, begun, codes, heard)
        kinds = torch.zeros_like(ids[counted])
        kinds[spoken[counted]] = torch.arange(1, groups + 1, device=ids.device).expand(heard.shape)[heard]
        return _joined(written, states[heard], kinds), hidden

    def _thought(self, texts: Batch) -> tuple[Tensor, Tensor, layouts.Layout]:
        """The thinker's last states of prompts and texts, those that the talker reads, and where their tokens stand."""
        told: list[Tensor] = []
        inside = self.talker.listens_to
        if inside is None:
            hidden, layout = self.hidden(texts)
            return hidden, hidden, layout
        hook = inside.register_forward_hook(lambda module, given, output: told.append(output))
        try:
            hidden, layout = self.hidden(texts)
        finally:
            hook.remove()
        return hidden, told[0], layout

    def speak(self, texts: Batch, longest: int, sampling: Sampling) -> Drawn:
        """Draw S steps of G codec tokens for each of P × K texts, as (P, K, S·G)."""
        _, told, layout = self._thought(texts)
        begun, k = self.talker.begun(texts, told, layout), texts.response["mask"].shape[1]
        chances = RowDraws(seeds_of(sampling.seeds, len(texts)), k, begun.embeds.device, "speech").chances()
        return talker.speak(self.talker, begun, longest, sampling.temperature, k, chances)

    def _texts(self, batch: Batch, written: Tensor) -> Batch:
        """The batch with the text of its responses alone."""
        ids, mask = (front.unflatten(0, written.shape[:2]) for front in _front(batch.response["input_ids"], written))
        return replace(batch, response={"input_ids": ids, "mask": mask.to(batch.response["mask"].dtype)})


class SpeechPolicy(AutoregressivePolicy):
    """p(text, speech | prompt) = p(text | prompt) · p(codec tokens | text, prompt).

    `Sampling.max_new_tokens` is the limit of the text alone.

    Args:
        network: thinker and talker.
        encoder: text, and codec tokens of sounds.
        decoder: codec tokens, as the encoder's function gives them → sound; None: the checkpoint's own.
        longest: steps of speech of a drawn response at most.
    """

    def __init__(
        self,
        network: SpeechNetwork,
        encoder: SpeechEncoder,
        reference: Reference,
        adapters: Adapters | None = None,
        decoder: Callable[[list[Any]], Sound] | None = None,
        longest: int = 1024,
    ):
        super().__init__(network, encoder, reference, adapters)
        self.decoder, self.longest = decoder, longest

    def _draw(self, batch: Batch, n: int, sampling: Sampling) -> Drawn:
        """Texts, and speech behind each of them; codec tokens that stand for no sound are never drawn."""
        texts = super()._draw(batch, n, sampling)
        response = {"input_ids": texts.tokens, "mask": texts.said}
        speech = self.network.speak(replace(batch, response=response), self.longest, sampling)
        said = torch.cat([texts.said, speech.said], -1)
        order = said.argsort(dim=-1, descending=True, stable=True)
        tokens = torch.cat([texts.tokens, speech.tokens + self.network.first_code], -1).gather(-1, order)
        logprobs, said = torch.cat([texts.logprobs, speech.logprobs], -1).gather(-1, order), said.gather(-1, order)
        tokens = tokens.masked_fill(said == 0, self.encoder.pad)
        return Drawn(tokens, logprobs, said, said, texts.ended & speech.ended)

    def decode(self, tokens: Tensor) -> Response:
        """The text and the sound that drawn tokens (T,) stand for; without a whole step of sound there is none."""
        first, known = self.network.first_code, self.network.codes
        response = self.encoder.decode(tokens[tokens < first])
        codes = tokens[tokens >= first] - first
        steps = codes[: len(codes) // known.groups * known.groups].view(-1, known.groups)
        steps = steps[(steps < steps.new_tensor(known.sizes)).all(-1)]
        return [*response, {"type": "audio", "audio": self._sound(steps)}] if len(steps) else response

    def _sound(self, steps: Tensor) -> Sound:
        if self.decoder is None:
            return self.network.talker.sound(steps.to(next(self.parameters()).device))
        return self.decoder((steps[:, 0] if steps.shape[1] == 1 else steps).tolist())

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write what transformers loads by itself, its speakers included; arguments as for text models."""
        super().save(folder, weights)
        self.network.talker.keep(folder)


def _front(values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen values (P, K, T) of each row at its front, (P·K, S), zeros behind them, and which are there."""
    values, chosen = values.masked_fill(~chosen, 0).flatten(0, 1), chosen.flatten(0, 1)
    order = chosen.byte().argsort(dim=-1, descending=True, stable=True)[:, : int(chosen.sum(-1).max())]
    return values.gather(-1, order), chosen.gather(-1, order)


def _joined(text: Tensor, codec: Tensor, kinds: Tensor) -> Tensor:
    """(N, H) states of text and of speech in the places of their tokens, marked with their kinds (N,), 0 for text."""
    width = max(text.shape[1], codec.shape[1])
    parts = [nn.functional.pad(states, (0, width - states.shape[1])) for states in (text, codec)]
    return marked(in_place(parts, (kinds > 0).long()), kinds)


def _steps(tokens: Tensor, groups: int) -> Tensor:
    """(R, S, G) from tokens one after another (R, L); the end of a speech is a token alone, and zeros fill its step."""
    return nn.functional.pad(tokens, (0, -tokens.shape[1] % groups)).unflatten(-1, (-1, groups))
