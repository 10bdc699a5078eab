"""Examples to tensors for models that answer with speech: the tokens of the text, then the codec tokens of the sound."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from aa_lightning.media.audio import Sound
from aa_lightning.models.families.family import Family
from aa_lightning.models.speech.talker import Codes
from aa_lightning.models.token.encoder import Limits, TokenEncoder, TooLong
from aa_lightning.types import Prompt, Response


class SpeechEncoder(TokenEncoder):
    """Writes a response as the tokens of its text, and the codec tokens of its sound behind them.

    Args:
        first_code: the id that codec token 0 gets.
        known: the codec tokens of the checkpoint.
        codec: sound → codec tokens, one for each step, or G in a list where a step has several; None: responses are
            learned without sounds.
    """

    def __init__(
        self,
        processor: Any,
        family: Family,
        limits: Limits | None,
        frames: int | None,
        first_code: int,
        known: Codes,
        codec: Callable[[Sound], list[Any]] | None,
    ):
        super().__init__(processor, family, limits, frames)
        self.first_code, self.known, self.codec = first_code, known, codec

    def _response(self, prompt: Prompt, before: str, response: Response) -> Tensor:
        kinds = [part["type"] for part in response]
        if kinds != sorted(kinds, reverse=True) or kinds.count("audio") > 1 or {*kinds} - {"text", "audio"}:
            raise ValueError(
                f"row {prompt.id} is answered with {', '.join(kinds)}, and models of family {self.family.name} write text "
                "and then speak: give text parts with at most one audio part behind them"
            )
        written = super()._response(prompt, before, [part for part in response if part["type"] == "text"])
        codes = [code for part in response if part["type"] == "audio" for code in self._codes(prompt, part["audio"])]
        ids = torch.cat([written, torch.tensor(codes, dtype=torch.long)])
        if len(ids) > self.limits.response and self.limits.overlong != "truncate":
            raise TooLong(
                prompt.id,
                "response",
                f"A response has {len(ids)} tokens, {len(codes)} of them speech, and the limit is "
                f"{self.limits.response}: set loader.max_response_tokens={len(ids)}, loader.overlong=truncate or "
                "loader.overlong=skip.",
            )
        return ids[: self.limits.response]

    def _codes(self, prompt: Prompt, sound: Sound) -> list[int]:
        if self.codec is None:
            raise ValueError(
                f"row {prompt.id} is answered with audio, and the checkpoint of family {self.family.name} brings nothing "
                "that turns audio into codec tokens: type model.speech.encoder=<package.module.function> (audio → "
                "tokens), or leave the audio out of data.template.responses, so that the text is learned and spoken"
            )
        steps = [step if isinstance(step, list | tuple) else [step] for step in self.codec(sound)]
        sizes = self.known.sizes
        wrong = next((len(step) for step in steps if len(step) != len(sizes)), None)
        if wrong is not None:
            raise ValueError(
                f"row {prompt.id}: model.speech.encoder gave steps of {wrong} codec tokens, and this model speaks in steps "
                f"of {len(sizes)}: give an encoder that belongs to the checkpoint"
            )
        for own, size in zip(zip(*steps, strict=True), sizes, strict=False):
            if not 0 <= min(own) <= max(own) < size:
                raise ValueError(
                    f"row {prompt.id}: model.speech.encoder gave codec tokens from {min(own)} to {max(own)}, and this "
                    f"model's lie between 0 and {size - 1}: give an encoder that belongs to the checkpoint"
                )
        return [self.first_code + code for code in (*itertools.chain(*steps), self.known.end)]
