"""Rewards for the form of a text: its length, its repetitions, a pattern, JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from aa_lightning import losses
from aa_lightning.media import MediaError, guard
from aa_lightning.media.options import GuardOptions
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.rules import Answer, Medium, final, rule
from aa_lightning.rewards.wording import words
from aa_lightning.types import Prompt, Response

if TYPE_CHECKING:
    from torch import Tensor

Unit = Literal["words", "characters", "tokens"]
Kind = Literal["text", "number", "boolean", "list", "object", "anything"]
Responses = Sequence[Sequence[Response]]
_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
    "anything": (object,),
}
_SECONDS = 5.0  # for one pattern on one drawing
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


@rule
class Length:
    """Lengths within bounds: 1 inside of them, falling to 0 along a slope outside.

    Attributes:
        unit: of lengths; tokens are those that were drawn.
        low: shortest of full reward.
        high: longest of full reward.
        slope: units outside of the bounds at which the reward is 0.
    """

    unit: Unit
    low: NonNegativeInt
    high: NonNegativeInt
    slope: PositiveInt

    def __call__(self, prompt: Prompt, response: Response, length: int | None = None) -> float:
        """Return the reward of one response."""
        count = size(response, self.unit, length)
        outside = max(self.low - count, count - self.high, 0)
        return max(1 - outside / self.slope, 0.0)


@rule
class Overlong:
    """Punishment of what is nearly or wholly cut off (DAPO, 2503.14476 eq. 13).

    Attributes:
        limit: tokens of a response at most.
        margin: tokens before the limit along which the punishment grows from 0 to −1.
    """

    limit: PositiveInt
    margin: PositiveInt

    def __call__(self, prompts: Sequence[Prompt], responses: Responses, lengths: Tensor) -> Tensor:
        """(P, K) 0 for a response that ends in good time, down to −1, by their lengths (P, K)."""
        return losses.advantages.overlong_penalty(lengths.float(), self.limit, self.margin)


@rule
class Repetition:
    """Punishment of runs of words that come again (2502.03373 §3.3): the share of n-grams that stood there before.

    Attributes:
        n: words of a run.
        unit: what runs are made of.
        most: reward of endless repetition.
    """

    n: PositiveInt
    unit: Literal["words", "characters"]
    most: Annotated[float, Field(le=0)]

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return 0 without repetition, down to `most`."""
        said = spoken(response)
        return self.most * repeated(words(said) if self.unit == "words" else said, self.n)


@rule
class Cosine:
    """Right answers, better the shorter they are; wrong ones, better the longer (2502.03373 §3.2).

    Attributes:
        limit: tokens at which the reward has reached its end.
        right: of a right answer without length, and of one at the limit.
        wrong: the same of a wrong answer.
        answers_in: of the answer, as of `reward=answer`.
        thoughts: of the answer, as of `reward=answer`.
    """

    limit: PositiveInt
    right: tuple[float, float]
    wrong: tuple[float, float]
    answers_in: Medium
    thoughts: Literal["ignored", "judged"]

    def __call__(self, prompt: Prompt, response: Response, length: int) -> float:
        """Return the reward of one response."""
        is_right = Answer(answers_in=self.answers_in, thoughts=self.thoughts)(prompt, response)
        first, last = self.right if is_right else self.wrong
        return last + (first - last) * (1 + math.cos(math.pi * min(length / self.limit, 1.0))) / 2


@rule
class Pattern:
    """Texts that a regular expression matches: 1, others 0. It runs in the guarded process, whatever time it would take.

    Attributes:
        pattern: of Python's `re`.
        whole: whether the whole text must match, or something in it.
        ignore_case: whether capitals are small letters.
    """

    pattern: str
    whole: bool
    ignore_case: bool

    @field_validator("pattern")
    @classmethod
    def _is_one(cls, pattern: str) -> str:
        return compiled(pattern).pattern

    def __call__(self, prompts: Sequence[Prompt], responses: Responses) -> Any:
        """Return the rewards of all responses.

        Raises:
            TimeoutError: the expression takes too long on one of them.
        """
        said = [[spoken(one) for one in group] for group in responses]
        flags = re.DOTALL | (re.IGNORECASE if self.ignore_case else 0)
        limits = GuardOptions(seconds=_SECONDS, bytes=2**30)
        try:
            found = guard.call(
                _matches, self.pattern, flags, self.whole, said, what="regular expression", limits=limits
            )
        except guard.TooSlow:
            raise TimeoutError(f"the expression takes longer than {_SECONDS:g} s") from None
        except MediaError as error:
            raise ValueError(f"the expression cannot be compared: {error}") from error
        return found["matches"]


@rule
class Json:
    """Texts that are a JSON object: the share of its keys that have values of their kinds; 1 where none are named.

    Attributes:
        keys: key → kind of its value; null: whatever they are.
        fenced: whether the object may stand in ``` fences.
    """

    keys: dict[str, Kind] | None
    fenced: bool

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return the reward of one response."""
        said = final(spoken(response))
        inside = _FENCED.fullmatch(said) if self.fenced else None
        found = parsed(inside[1] if inside else said)
        if not isinstance(found, dict):
            return 0.0
        right = [key in found and _is(found[key], kind) for key, kind in (self.keys or {}).items()]
        return sum(right) / len(right) if right else 1.0


def size(response: Response, unit: Unit, length: int | None) -> int:
    """Measure a response.

    Args:
        length: tokens that were drawn; None: that is not known.

    Raises:
        ValueError: tokens are asked for, and it is not known how many there are.
    """
    if unit == "tokens":
        if length is None:
            raise ValueError("unit=tokens asks for the lengths of responses, and they are not known here")
        return length
    said = spoken(response)
    return len(words(said)) if unit == "words" else len(said)


def repeated(items: Sequence[Hashable], n: int) -> float:
    """Return the share of n-grams that stood there before: 1 − distinct / all; 0 where there is none."""
    grams = [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def compiled(pattern: str) -> re.Pattern[str]:
    """Read a regular expression.

    Raises:
        ValueError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from error


def parsed(said: str) -> Any:
    """Read JSON as its standard has it; None where the text is none, or too deep or large."""
    try:
        return json.loads(said, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def _is(value: Any, kind: Kind) -> bool:
    return isinstance(value, _KINDS[kind]) and (kind != "number" or not isinstance(value, bool))


def _matches(pattern: str, flags: int, whole: bool, said: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Match texts (P, K), in the guarded process."""
    matches = re.compile(pattern, flags).fullmatch if whole else re.compile(pattern, flags).search
    return {"matches": np.array([[matches(one) is not None for one in group] for group in said], np.float32)}
