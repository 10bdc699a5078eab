"""Token models that answer with speech: text by the thinker, codec tokens by the talker, one exact likelihood of both.

In a response, codec tokens stand behind the text under ids from `first_code` on, so that everything which reads tokens,
masks and terms serves them too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from aa_lightning.media.audio import Sound
from aa_lightning.models import generation, layouts, talker
from aa_lightning.models.adapters import Adapters
from aa_lightning.models.autoregressive import AutoregressivePolicy, TokenNetwork
from aa_lightning.models.family import Family
from aa_lightning.models.reference import Reference
from aa_lightning.models.speech_encoding import SpeechEncoder
from aa_lightning.types import Batch, Response, Rollout

VOICES = "spk_dict.pt"  # beside a checkpoint, where the library looks for its speakers
_RATE = 24_000  # of sounds that the checkpoint's own decoder makes
_NEVER = -1e4  # nats: no float tells its probability from 0, and its product with 0 is 0


class JointHead:
    """Logits over text and codec tokens together, from states of either network.

    Args:
        text, codec: the two heads.
    """

    def __init__(self, text: nn.Linear, codec: nn.Linear):
        self.text, self.codec = text, codec
        self.out_features = text.out_features + codec.out_features

    def __call__(self, states: Tensor) -> Tensor:
        """(N, V + C) from what `joined` makes. A text token's place has no codec tokens, and the other way round."""
        spoken = states[:, -1] > 0
        text = self.text(states[~spoken, : self.text.in_features]).float()
        codec = self.codec(states[spoken, : self.codec.in_features]).float()
        rest = (0, self.codec.out_features), (self.text.out_features, 0)
        rows = [nn.functional.pad(logits, side, value=_NEVER) for logits, side in zip((text, codec), rest, strict=True)]
        return _in_place(*rows, spoken)

    def joined(self, text: Tensor, codec: Tensor, spoken: Tensor) -> Tensor:
        """(N, H) states of text and of speech in the places of their tokens, the last column 1 for speech.

        Args:
            spoken: (N,) bool, the kinds of the tokens.
        """
        width = max(self.text.in_features, self.codec.in_features)
        marked = [
            nn.functional.pad(nn.functional.pad(states, (0, width - states.shape[1])), (0, 1), value=float(kind))
            for kind, states in enumerate((text, codec))
        ]
        return _in_place(*marked, spoken)


class SpeechNetwork(TokenNetwork):
    """Thinker and talker in the (P, K) layout."""

    def __init__(self, model: nn.Module, family: Family, layout: str = "auto", speaker: str | None = None):
        super().__init__(model, family, layout)
        self.voice = _voice(model, speaker)["bos_token"]

    @property
    def writer(self) -> nn.Module:
        """The thinker."""
        return self.model.thinker

    @property
    def first_code(self) -> int:
        """The id of codec token 0 in responses."""
        return self.writer.get_output_embeddings().out_features

    @property
    def head(self) -> JointHead:
        """Over text and codec tokens."""
        return JointHead(self.writer.get_output_embeddings(), self.model.talker.codec_head)

    @property
    def mute(self) -> Tensor:
        """(C,) bool: codec tokens that stand for no sound, except the one that ends a speech."""
        own = self.model.talker
        special = min(own.codec_bos_token, own.codec_eos_token, own.codec_pad_token, own.codec_mask_token)
        codes = min(special, self.model.config.token2wav_config.dit_config.num_embeds)
        muted = torch.arange(own.codebook_size, device=own.codec_head.weight.device) >= codes
        muted[own.codec_eos_token] = False
        return muted

    def _predicting(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The states that predict the counted tokens, and all hidden states of the thinker."""
        counted, ids = batch.response["mask"].bool(), batch.response["input_ids"]
        spoken = counted & (ids >= self.first_code)
        texts = self._texts(batch, counted & ~spoken)
        hidden, layout = self.hidden(texts)
        own = texts.response["mask"].bool()
        said = hidden[layout.rows[own], layout.before[own]]
        codes, heard = _front(ids - self.first_code, spoken)
        read = talker.rows(self.model, self.voice, texts, hidden, layout, codes, heard)
        lengths = batch.prompt["attention_mask"].sum(-1).repeat_interleave(ids.shape[1])
        states = talker.states(self.model.talker, read, lengths, codes.shape[1])
        return self.head.joined(said, states[heard], spoken[counted]), hidden

    def speak(self, texts: Batch, length: int, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """Codec tokens (P, K, S) for texts, their log-probabilities, and which of them are said."""
        p, k, _ = texts.response["mask"].shape
        hidden, layout = self.hidden(texts)
        nothing = texts.response["input_ids"].new_zeros(p * k, 0)
        read = talker.rows(self.model, self.voice, texts, hidden, layout, nothing, nothing)
        drawn = talker.speak(self.model.talker, read, length, temperature, self.mute)
        return tuple(tensor.unflatten(0, (p, k)) for tensor in drawn)

    def _texts(self, batch: Batch, written: Tensor) -> Batch:
        """The batch with the text of its responses alone."""
        ids, mask = (front.unflatten(0, written.shape[:2]) for front in _front(batch.response["input_ids"], written))
        return replace(batch, response={"input_ids": ids, "mask": mask.to(batch.response["mask"].dtype)})


class SpeechPolicy(AutoregressivePolicy):
    """p(text, speech | prompt) = p(text | prompt) · p(codec tokens | text, prompt).

    Args:
        network: thinker and talker.
        encoder: text, and codec tokens of sounds.
        decoder: codec tokens → sound; None: the checkpoint's own.
        speaker: whose voice the checkpoint's own decoder has; None: the first.
        longest: codec tokens of a drawn response at most.
    """

    def __init__(
        self,
        network: SpeechNetwork,
        encoder: SpeechEncoder,
        reference: Reference,
        adapters: Adapters | None = None,
        decoder: Callable[[list[int]], Sound] | None = None,
        speaker: str | None = None,
        longest: int = 1024,
    ):
        super().__init__(network, encoder, reference, adapters)
        self.decoder, self.speaker, self.longest = decoder, speaker, longest

    @torch.no_grad()
    def sample(self, batch: Batch, n: int, max_new_tokens: int = 64, temperature: float = 1.0) -> Rollout:
        """Draw n texts for each prompt and speak each of them; temperature 0 takes the likeliest token every time.

        Log-probabilities are of softmax(logits / temperature) for text and speech. Media placeholders, and codec tokens
        that stand for no sound, are never drawn. `max_new_tokens` is the limit of the text alone.
        """
        was_training = self.training
        self.eval()
        drawn = generation.draw(self.network, self.encoder, layouts.repeat(batch, n), max_new_tokens, temperature)
        tokens, logprobs = (rows.view(len(batch), n, -1) for rows in drawn)
        mask = generation.until(tokens, self.encoder.end)
        texts = replace(batch, response={"input_ids": tokens, "mask": mask}, supervision={}, normalizer=None)
        codes, spoken, heard = self.network.speak(texts, self.longest, temperature)
        self.train(was_training)
        said = torch.cat([mask, heard], -1)
        order = said.argsort(dim=-1, descending=True, stable=True)
        ids = torch.cat([tokens, codes + self.network.first_code], -1).gather(-1, order)
        said, logprobs = said.gather(-1, order), torch.cat([logprobs, spoken], -1).gather(-1, order)
        ids = ids.masked_fill(said == 0, self.encoder.pad)
        draws = {"temperature": torch.tensor(temperature or 1.0)}
        rollout = replace(texts, response={"input_ids": ids, "mask": said}, draws=draws)
        responses = [
            [self.decode(t[m.bool()]) for t, m in zip(*row, strict=True)] for row in zip(ids, said, strict=True)
        ]
        return Rollout(rollout, responses, logprobs * said, said)

    def decode(self, tokens: Tensor) -> Response:
        """The text and the sound that drawn tokens (T,) stand for; without codec tokens there is no sound."""
        first = self.network.first_code
        response = self.encoder.decode(tokens[tokens < first].cpu())
        codes = tokens[tokens >= first] - first
        codes = codes[~self.network.mute[codes] & (codes != self.network.model.talker.codec_eos_token)]
        return [*response, {"type": "audio", "audio": self._sound(codes)}] if len(codes) else response

    def _sound(self, codes: Tensor) -> Sound:
        if self.decoder is not None:
            return self.decoder(codes.tolist())
        model, voice = self.network.model, _voice(self.network.model, self.speaker)
        wave = model.token2wav(
            codes[None],
            conditioning=voice["cond"].to(codes.device).float(),
            reference_mel=voice["ref_mel"].to(codes.device).float(),
        )
        return Sound(wave.flatten().float().cpu().numpy(), _RATE)

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write what transformers loads by itself, its speakers included; arguments as for text models."""
        super().save(folder, weights)
        torch.save(self.network.model.speaker_map, folder / VOICES)


def _voice(model: nn.Module, speaker: str | None) -> dict:
    """The voice of a speaker; None: the first.

    Raises:
        ValueError: the checkpoint has no such speaker.
    """
    voices = model.speaker_map
    if speaker is not None and speaker not in voices:
        raise ValueError(
            f"model.speech.speaker={speaker} is no speaker of this checkpoint, which has {', '.join(voices)}: type "
            f"model.speech.speaker={next(iter(voices))}"
        )
    return voices[speaker or next(iter(voices))]


def _front(values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen values (P, K, T) of each row at its front, (P·K, S), zeros behind them, and which are there."""
    values, chosen = values.masked_fill(~chosen, 0).flatten(0, 1), chosen.flatten(0, 1)
    order = chosen.byte().argsort(dim=-1, descending=True, stable=True)[:, : int(chosen.sum(-1).max())]
    return values.gather(-1, order), chosen.gather(-1, order)


def _in_place(text: Tensor, codec: Tensor, spoken: Tensor) -> Tensor:
    """(N, …) rows of the two kinds in the order that `spoken` tells."""
    order = torch.cat([(~spoken).nonzero()[:, 0], spoken.nonzero()[:, 0]]).argsort()
    return torch.cat([text, codec])[order]
