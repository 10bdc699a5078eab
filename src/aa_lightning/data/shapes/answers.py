"""Checks of answers about Shapes by the words that they use."""

from __future__ import annotations

import re

from aa_lightning.data.shapes.albums import PLACES
from aa_lightning.data.shapes.clips import BACK
from aa_lightning.data.shapes.language import NUMBERS, RELATIONS, plural
from aa_lightning.data.shapes.scenes import COLOURS, SHAPES
from aa_lightning.data.shapes.sound_questions import TURNS
from aa_lightning.data.shapes.sounds import GAPS, HERTZ, TIMBRES

_CATEGORIES: tuple[frozenset[str], ...] = (
    frozenset(COLOURS),
    frozenset(SHAPES),
    frozenset(NUMBERS),
    frozenset({*RELATIONS, *BACK}),
    frozenset(HERTZ),
    frozenset(TIMBRES),
    frozenset(TURNS),
    frozenset(GAPS),
    frozenset(PLACES),
    frozenset({"yes", "no"}),
)
_SPELLINGS = {
    **{str(n): word for n, word in enumerate(NUMBERS)},
    **{plural(shape): shape for shape in (*SHAPES, *TIMBRES)},
}


def check_answer(expected: str, said: str) -> bool:
    """Tell whether `said` gives the expected answer and no other of its kind.

    A one-word answer is searched among the words of its kind, so that "The circle is red." answers `red` and "red or
    blue" does not. A longer answer (a caption) must be said in the same words; case and punctuation do not count.

    Args:
        expected: the `answer` of an example of Shapes.
        said: what a model wrote.
    """
    wanted, words = _words(expected), _words(said)
    if len(wanted) != 1:
        return words == wanted
    category = next((c for c in _CATEGORIES if wanted[0] in c), frozenset(wanted))
    return {word for word in words if word in category} == set(wanted)


def _words(text: str) -> list[str]:
    return [_SPELLINGS.get(word, word) for word in re.findall(r"[a-z]+|\d+", text.lower())]
