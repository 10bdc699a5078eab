"""Wording of scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aa_lightning.data.shapes.scenes import Figure

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_ROWS = ("top", "", "bottom")
_COLUMNS = ("left", "", "right")


def a(noun: str) -> str:
    """A noun with its article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def listing(things: Sequence[str]) -> str:
    """`x`, `x and y`, `x, y and z`."""
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"


def plural(noun: str, count: int = 2) -> str:
    """A noun in the number of a count."""
    return noun if count == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"


def look(figure: Figure) -> str:
    """`red circle`."""
    return f"{figure.colour} {figure.shape}"


def caption(figures: Iterable[Figure]) -> str:
    """`a red circle, a blue square and a green star`, in the order given."""
    return listing([a(look(figure)) for figure in figures])


def there_are(count: int, noun: str) -> str:
    """`there are two circles`."""
    return f"there {'is' if count == 1 else 'are'} {NUMBERS[count]} {plural(noun, count)}"


def description(figures: Sequence[Figure]) -> str:
    """A sentence that says everything about the figures: size, colour, shape, place."""
    things = [f"a {'large' if f.large else 'small'} {look(f)} {_place(f.cell)}" for f in figures]
    return f"There {'is' if len(figures) == 1 else 'are'} {listing(things)}."


def sentence(clause: str) -> str:
    """A clause as a sentence."""
    return f"{clause[0].upper()}{clause[1:]}."


def _place(cell: tuple[int, int]) -> str:
    words = [word for word in (_ROWS[cell[0]], _COLUMNS[cell[1]]) if word]
    return f"at the {' '.join(words)}" if words else "in the centre"
