"""Rewards that rules give: right answers, the form of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.rewards.answers import drew, played, said, spoken
from aa_lightning.types import Prompt, Response, text

rule = dataclass(frozen=True, kw_only=True, config=STRICT)
Medium = Literal["text", "image", "audio"]
Names = Annotated[list[Annotated[str, Field(pattern=r"^\w+$")]], Field(min_length=1)]


@rule
class Answer:
    """Right answers: 1 for a response that gives what its prompt expects, else 0.

    Attributes:
        answers_in: what is judged: the text of a response, its first picture or its first sound.
        thoughts: whether what stands in front of `</think>` and outside of `<answer>` is judged too.
    """

    answers_in: Medium
    thoughts: Literal["ignored", "judged"]

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return 1 for a right answer and 0 for a wrong one.

        Raises:
            ValueError: the prompt has no answer, or none that can be read off a picture or heard in a sound.
        """
        expected = answer_of(prompt)
        if self.answers_in == "image":
            verdict = drew(prompt.check, expected, response)
        elif self.answers_in == "audio":
            verdict = played(prompt.check, expected, response)
        else:
            own = response if self.thoughts == "judged" else [text(final(spoken(response)))]
            verdict = said(prompt.check, expected, own)
        if verdict is None:
            raise ValueError(f"the answer {expected!r:.60} cannot be checked in {self.answers_in}")
        return float(verdict)


@rule
class Format:
    """Texts in tags, as of R1 (2501.12948): each pair once, in order, with nothing outside.

    Attributes:
        tags: their names.
        partial: whether the share of opening and closing tags that stand there exactly once is the reward.
    """

    tags: Names
    partial: bool

    def __call__(self, prompt: Prompt, response: Response) -> float:
        """Return 1 for the whole form, else 0, or the share of its tags."""
        said = spoken(response)
        once = [said.count(tag) == 1 for name in self.tags for tag in (f"<{name}>", f"</{name}>")]
        if self.partial:
            return sum(once) / len(once)
        inside = r"\s*".join(f"<{name}>.*?</{name}>" for name in self.tags)
        return float(all(once) and re.fullmatch(rf"\s*{inside}\s*", said, re.DOTALL) is not None)


def answer_of(prompt: Prompt, purpose: str = "to compare with") -> str:
    """Return the expected answer.

    Raises:
        ValueError: the row has none for this purpose.
    """
    if prompt.answer is None:
        raise ValueError(f"its row has no answer {purpose} (data.template.answer names their column)")
    return prompt.answer


def final(said: str) -> str:
    """Return the end of a text: inside its last `<answer>` tags, or behind its thoughts; all of it without such tags."""
    if "<think>" in said and "</think>" not in said:
        return ""  # it never ended its thoughts
    behind = said.rpartition("</think>")[2]
    inside: Sequence[str] = re.findall(r"<answer>(.*?)(?:</answer>|\Z)", behind, re.DOTALL)
    return (inside[-1] if inside else behind).strip()
