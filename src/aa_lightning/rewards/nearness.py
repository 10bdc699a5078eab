"""Graded rewards: how near an answer is to the right one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from aa_lightning.data.shapes import score_picture, score_sound
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.numbers import whole
from aa_lightning.rewards.rules import Medium, answer_of, final, rule
from aa_lightning.rewards.wording import announced, words
from aa_lightning.types import Prompt, Response

_LONGEST = 4000  # items of a text that are compared


@rule
class Near:
    """Nearness to the expected answer, from 0 to 1, which is the answer itself.

    Texts are compared by edit distance, numbers by their difference, pictures and sounds of Shapes by the figures and tones
    that are right.

    Attributes:
        answers_in: as of `reward=answer`.
        unit: of texts, for edits.
        scale: difference of two numbers at which the reward is a half; null: numbers are texts.
    """

    answers_in: Medium
    unit: Literal["words", "characters"]
    scale: PositiveFloat | None

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return the reward of one response.

        Raises:
            ValueError: the prompt has no answer, or none that can be read off a picture or heard in a sound.
        """
        expected, medium = answer_of(prompt), self.answers_in
        parts = [part[medium] for part in response if part["type"] == medium]
        if medium == "image":
            return score_picture(expected, parts[0]) if parts else 0.0
        if medium == "audio":
            return score_sound(expected, parts[0]) if parts else 0.0
        said = final(spoken(response))
        stated = said if (found := announced(said)) is None else found
        one, other = whole(expected), whole(stated)
        if self.scale is not None and one is not None and other is not None:
            return 1 / (1 + float(abs(one.exact - other.exact)) / self.scale)
        if self.unit == "words":
            return similarity(words(stated), words(expected))
        return similarity(" ".join(stated.split()), " ".join(expected.split()))


def similarity(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """1 − edit distance / the longer length; 1 for two that are empty."""
    one, other = one[:_LONGEST], other[:_LONGEST]
    return 1 - edits(one, other) / max(len(one), len(other), 1)


def edits(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Count insertions, deletions and exchanges (Levenshtein)."""
    numbers: dict[Hashable, int] = {}
    coded = [np.array([numbers.setdefault(item, len(numbers)) for item in items]) for items in (one, other)]
    places = np.arange(len(other) + 1)
    above = places
    for i, item in enumerate(coded[0], 1):
        row = np.concatenate([[i], np.minimum(above[1:] + 1, above[:-1] + (coded[1] != item))])
        above = np.minimum.accumulate(row - places) + places  # insertions, from the left
    return int(above[-1])
