"""Grades in words: what a judge is asked about a response, and the number that its words say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydantic import NonNegativeFloat, PositiveInt, field_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.rewards.answers import spoken
from aa_lightning.rewards.drawn import Partly, partly
from aa_lightning.rewards.texts import compiled
from aa_lightning.types import Part, Prompt, Response, Sampling, text

Ask = Callable[[Sequence[Prompt], int, Sampling], list[list[Response]]]  # n answers of the policy to each prompt
_FIELD = re.compile(r"\{(prompt|response|answer)\}")


@dataclass(kw_only=True, config=STRICT)
class Grading:
    """Questions and their grades.

    Attributes:
        template: what a judge is asked, with {prompt}, {response} and {answer} in it.
        score: the regular expression whose group is the grade; the last one in its words counts.
        range: of grades, which become rewards from 0 to 1.
    """

    template: str
    score: str
    range: tuple[float, float]

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

    def question(self, prompt: Prompt, response: Response) -> str:
        """The words in which a judge is asked about a response."""
        told = {"prompt": _conversation(prompt), "response": spoken(response), "answer": prompt.answer or ""}
        return _FIELD.sub(lambda found: told[found[1]], self.template)

    @staticmethod
    def media(prompt: Prompt, response: Response) -> list[Part]:
        """The media that stand behind these words: those of the prompt, then those of the response."""
        shown = [part for message in prompt.messages for part in message["content"]] + response
        return [part for part in shown if part["type"] != "text"]

    def grade(self, said: str, judge: str) -> float | str:
        """Read the grade, from 0 to 1, in the words of a judge; or say why there is none."""
        grades = re.findall(self.score, said)
        if not grades:
            return f"{judge} gave no grade, but said {said:.200}"
        low, high = self.range
        try:
            grade = float(grades[-1])
        except ValueError:
            grade = float("nan")
        if not low <= grade <= high:
            return f"{judge} gave the grade {grades[-1]:.40}, and grades are from {low:g} to {high:g}"
        return (grade - low) / (high - low)


@dataclass(kw_only=True, config=STRICT)
class SelfJudge(Grading):
    """The policy that learns grades its own responses in words (self-rewarding, 2401.10020).

    Attributes:
        template, score, range: of grades; what prompts and responses show stands behind the question.
        times: a response is graded; its reward is the mean of the grades that can be read.
        max_tokens, temperature: of the words.
        unread: the reward of a response none of whose grades can be read; None: it is a fault.
    """

    times: PositiveInt
    max_tokens: PositiveInt
    temperature: NonNegativeFloat
    unread: float | None

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[Response]], ask: Ask | None) -> Partly:
        """Return the grades of all responses, from 0 to 1, and why some have none."""
        if ask is None:
            raise ValueError(
                "it asks the policy that learns, and none can be asked here: type apart=false, or reward=judge"
            )
        asked = [
            self._asked(prompt, response, f"{prompt.id}/{place}")
            for prompt, group in zip(prompts, responses, strict=True)
            for place, response in enumerate(group)
        ]
        said = ask(asked, self.times, Sampling(max_new_tokens=self.max_tokens, temperature=self.temperature))
        return partly(
            [self._mean([self.grade(spoken(one), "the policy") for one in several]) for several in said], responses
        )

    def _asked(self, prompt: Prompt, response: Response, name: str) -> Prompt:
        content = [text(self.question(prompt, response)), *self.media(prompt, response)]
        return Prompt(id=name, messages=[{"role": "user", "content": content}])

    def _mean(self, grades: Sequence[float | str]) -> float | str:
        read = [one for one in grades if not isinstance(one, str)]
        if read:
            return sum(read) / len(read)
        return grades[0] if self.unread is None else self.unread


def _conversation(prompt: Prompt) -> str:
    """The texts of a prompt; of several turns, each with its role."""
    turns = [(message["role"], spoken(message["content"])) for message in prompt.messages]
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {said}" for role, said in turns)
