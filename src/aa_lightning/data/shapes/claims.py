"""Claims of an answer, an answer with more mistakes, and what the ground truth says of all of them.

Works on the words of answers, so that it serves every modality: the facts of a listing are its colours, shapes, pitches and
so on, and its claims are the things listed. Any other answer claims one fact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from aa_lightning.data.shapes.clips import BACK
from aa_lightning.data.shapes.language import a, sentence
from aa_lightning.data.shapes.questions import Question
from aa_lightning.data.shapes.scenes import COLOURS, SHAPES, other
from aa_lightning.data.shapes.sounds import HERTZ, TIMBRES

_FACTS = {"colour": COLOURS, "shape": SHAPES, "pitch": HERTZ, "timbre": TIMBRES, "motion": BACK}
LISTED = "caption"  # the kind of question whose answer is a listing
_TIES = 1 / 3  # rows in which the other answer is as good
_COLUMNS = (
    *("answers", "wrong_facts", "claims", "claims_right", "claims_wrong", "ratings"),
    *("steps", "steps_right", "other", "score_other"),
)


class GradedRow(Mapping[str, Any]):
    """A row with the columns of `graded`, which are made when one of them is read: most runs read none.

    Args:
        row: all other columns.
        make: makes these.
    """

    def __init__(self, row: dict[str, Any], make: Callable[[], dict[str, Any]]):
        self._row, self._make = row, make

    def __getitem__(self, column: str) -> Any:
        if column in _COLUMNS and column not in self._row:
            self._row |= self._make()
        return self._row[column]

    def __contains__(self, column: object) -> bool:
        return column in self._row or column in _COLUMNS

    def __iter__(self) -> Iterator[str]:
        return iter({**self._row, **dict.fromkeys(_COLUMNS)})

    def __len__(self) -> int:
        return len({*self._row, *_COLUMNS})


def graded(
    question: Question, kind: str, style: str, choices: Mapping[str, Sequence[str]], rng: Random
) -> dict[str, Any]:
    """Columns beyond a pair.

    Args:
        question: with its right and wrong answer.
        kind: of the question.
        style: of answers, sentence or word.
        choices: the colours, shapes, pitches and timbres that there may be.
        rng: of this row's own, so that the pair does not depend on what is drawn here.

    Returns:
        answers: right, with one mistake, and with two (of an answer that is no listing: with the same mistake in other
        words); wrong_facts, how many facts each gets wrong; claims, a list of sentences for each; claims_right and
        claims_wrong, 1.0 or 0.0 for each of them; ratings, by what may be wrong, and as a whole (`correct`), 1.0 or 0.0 for
        each answer; steps and steps_right, the claims of the right or of the wrong answer; other and score_other, a wrong
        answer, or in a third of rows the right one in other words.
    """
    bare = [question.answer, question.wrong_answer, question.wrong_answer]
    full = [question.right, question.wrong, question.wrong]
    said, retold = (full, bare) if style == "sentence" else (bare, full)
    if kind == LISTED:
        bare[2] = worse(question.answer, question.wrong_answer, choices, rng)
        full[2] = sentence(bare[2])
        claims = [listed(answer) for answer in bare]
        wrong = [len(_differing(bare[0], answer)) for answer in bare]
    else:
        said = [*said[:2], retold[1]]
        claims, wrong = [[answer] for answer in full], [0, 1, 1]
    right = [[float(claim == truth) for claim, truth in zip(told, claims[0], strict=True)] for told in claims]
    step, tied = rng.randrange(2), rng.random() < _TIES
    return {
        "answers": said,
        "wrong_facts": wrong,
        "claims": claims,
        "claims_right": right,
        "claims_wrong": [[1 - each for each in row] for row in right],
        "ratings": {
            **{name: _right_about(words, bare) for name, words in _FACTS.items()},
            "correct": [float(not count) for count in wrong],
        },
        "steps": claims[step],
        "steps_right": [bool(each) for each in right[step]],
        "other": retold[0] if tied else said[1],
        "score_other": float(tied),
    }


def listed(answer: str) -> list[str]:
    """The claims of a listing, each as a sentence: `a red circle and a blue square` claims `A red circle.` and so on."""
    return [sentence(claim) for claim in re.split(r", | and ", answer)]


def worse(right: str, said: str, choices: Mapping[str, Sequence[str]], rng: Random) -> str:
    """A listing with one more fact wrong.

    Args:
        right: the right listing, with the same things in the same order.
        said: one that is right about some of them.
        choices: by what a fact is about, the words for it.
    """
    words, truth = re.split(r"(\W+)", said), re.split(r"(\W+)", right)
    about = {word: name for name, vocabulary in _FACTS.items() for word in vocabulary}
    place = rng.choice([i for i, word in enumerate(words) if word == truth[i] and word in about])
    word = words[place]
    words[place] = BACK[word] if about[word] == "motion" else other(rng, choices[about[word]], word)
    return re.sub(r"\ban? (\w+)", lambda found: a(found[1]), "".join(words))


def _differing(right: str, said: str) -> list[str]:
    pairs = zip(_facts(right), _facts(said), strict=True)
    return [fact for truth, fact in pairs if fact != truth]


def _facts(answer: str) -> list[str]:
    known = set().union(*_FACTS.values())
    return [word for word in re.findall(r"\w+", answer) if word in known]


def _right_about(words: Sequence[str] | Mapping[str, Any], answers: Sequence[str]) -> list[float]:
    """Of each answer, whether it has the same of these words in the same order as the first, which is right."""
    found = [[word for word in re.findall(r"\w+", answer) if word in words] for answer in answers]
    return [float(each == found[0]) for each in found]
