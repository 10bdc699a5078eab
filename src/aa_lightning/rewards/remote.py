"""Rewards that servers give: one of the user's own, or a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.media import audio
from aa_lightning.rewards import http
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.drawn import Partly, partly
from aa_lightning.rewards.grading import Grading
from aa_lightning.rewards.http import Body
from aa_lightning.rewards.models import OfModel, asked_of
from aa_lightning.types import Part, Prompt, Response

Responses = Sequence[Sequence[Response]]
_KNOWN = "a server's answer has `rewards`: a number, or null, for each response that was sent"


@dataclass(kw_only=True, config=STRICT)
class _Served(OfModel):
    """A reward that a server gives."""

    url: str
    timeout: PositiveFloat
    tries: PositiveInt
    parallel: PositiveInt
    key_env: str | None
    keep: bool

    def load(self) -> None:
        """Look at the address; nothing is sent.

        Raises:
            ValueError: it is none, or its key is not there.
        """
        self._at = http.address(self._endpoint(), self.timeout, self.tries, self.parallel, self.key_env)

    def _endpoint(self) -> str:
        return self.url


@dataclass(kw_only=True, config=STRICT)
class Server(_Served):
    """A reward server: `POST {"prompts": [text], "responses": [text], …}` is answered with `{"rewards": [number]}`.

    So do those of align-anything. Sent too are `ids`, and `golden_responses` where rows have answers; with `send: parts` also
    `prompt_parts` and `response_parts`, lists of parts with media as data URIs.

    Attributes:
        url: where requests go.
        timeout: seconds for one request.
        tries: of one request.
        parallel: requests at a time.
        key_env: the environment variable with a key, sent as a bearer token.
        keep: whether rewards are kept in the cache, by what was sent.
        batch_size: responses in a request.
        send: texts alone, or parts with media beside them.
    """

    batch_size: PositiveInt
    send: Literal["text", "parts"]

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Partly:
        """Return the rewards of all responses, and why some have none."""
        asked = [self._about(prompt, one) for prompt, group in zip(prompts, responses, strict=True) for one in group]
        return partly(http.answers(asked, self.batch_size, self._ask, self._at, self.keep), responses)

    def _about(self, prompt: Prompt, response: Response) -> Body:
        one: Body = {"ids": prompt.id, "prompts": asked_of(prompt), "responses": spoken(response)}
        if prompt.answer is not None:
            one["golden_responses"] = prompt.answer
        if self.send == "parts":
            shown = [part for message in prompt.messages for part in message["content"]]
            one |= {"prompt_parts": [*map(_as_data, shown)], "response_parts": [*map(_as_data, response)]}
        return one

    def _ask(self, some: Sequence[Body]) -> list[float | str]:
        keys = dict.fromkeys(key for one in some for key in one)
        told = self._at.post({key: [one.get(key) for one in some] for key in keys})
        rewards = told.get("rewards") if isinstance(told, dict) else None
        if not isinstance(rewards, list) or len(rewards) != len(some):
            raise http.Refused(f"{self.url} answered {told!s:.200}, and {_KNOWN}; {len(some)} were sent")
        return [_number(one) for one in rewards]


@dataclass(kw_only=True, config=STRICT)
class Judge(_Served, Grading):
    """A model behind an OpenAI-compatible endpoint that grades responses in words (2306.05685).

    Attributes:
        url: up to /v1; requests go to /chat/completions below it.
        model: its name there.
        timeout, tries, parallel, key_env, keep: as of a server.
        template, score, range: of grades (`grading.py`); pictures and sounds stand behind what it is asked.
        max_tokens: of its words.
        temperature: of its words.
    """

    model: str
    max_tokens: PositiveInt
    temperature: NonNegativeFloat

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Partly:
        """Return the grades of all responses, from 0 to 1, and why some have none."""
        asked = [self._about(prompt, one) for prompt, group in zip(prompts, responses, strict=True) for one in group]
        return partly(http.answers(asked, 1, self._ask, self._at, self.keep), responses)

    def _endpoint(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _about(self, prompt: Prompt, response: Response) -> Body:
        asked = self.question(prompt, response)
        shown = [as_openai(part) for part in self.media(prompt, response)]
        content = [{"type": "text", "text": asked}, *shown] if shown else asked
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }

    def _ask(self, some: Sequence[Body]) -> list[float | str]:
        told = self._at.post(some[0])
        try:
            return [self.grade(told["choices"][0]["message"]["content"], self.model)]
        except (KeyError, IndexError, TypeError):
            return [f"{self.url} answered {told!s:.200}, in which there is no choices[0].message.content"]


def _number(given: Any) -> float | str:
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return float(given)
    return f"it gave {given!s:.40} for a response"


def _as_data(part: Part) -> Part:
    """A part with its medium as a data URI."""
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    kind, data = _file(part)
    return {"type": part["type"], part["type"]: f"data:{kind};base64,{base64.b64encode(data).decode()}"}


def as_openai(part: Part) -> Part:
    """A picture or a sound as messages of OpenAI's interface hold it.

    Raises:
        ValueError: it is a video.
    """
    kind, data = _file(part)
    encoded = base64.b64encode(data).decode()
    if part["type"] == "image":
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{encoded}"}}
    return {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}


def _file(part: Part) -> tuple[str, bytes]:
    """A medium as the type and the bytes of a file.

    Raises:
        ValueError: it is a video.
    """
    held = io.BytesIO()
    if part["type"] == "image":
        part["image"].save(held, format="PNG")
        return "image/png", held.getvalue()
    if part["type"] == "audio":
        audio.save(part["audio"], held)
        return "audio/wav", held.getvalue()
    raise ValueError(f"{part['type']} cannot be sent to a server: pictures and sounds can")
