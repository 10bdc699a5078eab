"""Rewards that servers give: one of the user's own, or a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.media import audio
from aa_lightning.rewards import http
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.drawn import Fault, Partly
from aa_lightning.rewards.http import Body
from aa_lightning.rewards.models import OfModel, asked_of
from aa_lightning.rewards.texts import compiled
from aa_lightning.types import Part, Prompt, Response

Responses = Sequence[Sequence[Response]]
_FIELD = re.compile(r"\{(prompt|response|answer)\}")
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
class Judge(_Served):
    """A model behind an OpenAI-compatible endpoint that grades responses in words (2306.05685).

    Attributes:
        url: up to /v1; requests go to /chat/completions below it.
        model: its name there.
        timeout, tries, parallel, key_env, keep: as of a server.
        template: what it is asked, with {prompt}, {response} and {answer} in it; pictures and sounds stand behind it.
        score: the regular expression whose group is the grade; the last one in its words counts.
        range: of grades, which become rewards from 0 to 1.
        max_tokens: of its words.
        temperature: of its words.
    """

    model: str
    template: str
    score: str
    range: tuple[float, float]
    max_tokens: PositiveInt
    temperature: NonNegativeFloat

    @field_validator("score")
    @classmethod
    def _has_a_group(cls, score: str) -> str:
        groups = compiled(score).groups
        if groups != 1:
            raise ValueError(f"it has {groups} groups in brackets, and one is needed, around the grade")
        return score

    @field_validator("range")
    @classmethod
    def _rises(cls, between: tuple[float, float]) -> tuple[float, float]:
        if not between[0] < between[1]:
            raise ValueError("the worst grade comes first: [1, 10]")
        return between

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Partly:
        """Return the grades of all responses, from 0 to 1, and why some have none."""
        asked = [self._about(prompt, one) for prompt, group in zip(prompts, responses, strict=True) for one in group]
        return partly(http.answers(asked, 1, self._ask, self._at, self.keep), responses)

    def _endpoint(self) -> str:
        return f"{self.url.rstrip('/')}/chat/completions"

    def _about(self, prompt: Prompt, response: Response) -> Body:
        told = {"prompt": _conversation(prompt), "response": spoken(response), "answer": prompt.answer or ""}
        asked = _FIELD.sub(lambda found: told[found[1]], self.template)
        media = [part for message in prompt.messages for part in message["content"]] + response
        shown = [as_openai(part) for part in media if part["type"] != "text"]
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
            said = told["choices"][0]["message"]["content"]
            grades = re.findall(self.score, said)
        except (KeyError, IndexError, TypeError):
            return [f"{self.url} answered {told!s:.200}, in which there is no choices[0].message.content"]
        if not grades:
            return [f"{self.model} gave no grade, but said {said:.200}"]
        low, high = self.range
        grade = _number(_as_number(grades[-1]))
        if isinstance(grade, str) or not low <= grade <= high:
            return [f"{self.model} gave the grade {grades[-1]:.40}, and grades are from {low:g} to {high:g}"]
        return [(grade - low) / (high - low)]


def partly(found: Sequence[float | str], responses: Responses) -> Partly:
    """Rewards of prompts that have one for each response, and for each other prompt the reason."""
    told = iter(found)
    rows = [[next(told) for _ in group] for group in responses]
    faults = {row: Fault(why) for row, group in enumerate(rows) for why in reversed(group) if isinstance(why, str)}
    return Partly({row: group for row, group in enumerate(rows) if row not in faults}, faults)


def _number(given: Any) -> float | str:
    if isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        return float(given)
    return f"it gave {given!s:.40} for a response"


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _conversation(prompt: Prompt) -> str:
    """The texts of a prompt; of several turns, each with its role."""
    turns = [(message["role"], spoken(message["content"])) for message in prompt.messages]
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {said}" for role, said in turns)


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
