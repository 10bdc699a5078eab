"""Recognition of the figures that an image of Shapes shows, from its pixels: every cell is compared with every figure as it
would be drawn."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from aa_lightning.data.shapes.language import NUMBERS, RELATIONS, plural
from aa_lightning.data.shapes.render import BACKGROUND, draw
from aa_lightning.data.shapes.scenes import COLOURS, GRID, JITTER, SHAPES, Figure, Scene

if TYPE_CHECKING:
    from PIL import Image

_CELL = 16  # pixels of a cell when cells are compared


Cell = tuple[int, int]  # (row, column)
Look = tuple[str, str]  # (colour, shape)


def read_picture(picture: Image.Image) -> dict[Cell, Look]:
    """The colour and shape of every figure in a picture of Shapes, by its cell in reading order.

    A cell shows the figure, or nothing, whose drawing is nearest to it in squared error, so that a blurred or slightly
    wrong drawing is read as what it resembles most.

    Args:
        picture: square, of any size of at least 16 pixels.
    """
    shown, cells = {}, _cells(picture)
    for cell in np.ndindex(GRID, GRID):
        templates, squares, looks = _templates(min(picture.size), cell)
        look = looks[
            (squares - 2 * (templates @ cells[cell].flatten())).argmin()
        ]  # the square of the cell is that of all
        if look is not None:
            shown[cell] = look
    return shown


def can_check(expected: str) -> bool:
    """Tell whether an expected answer names colours or shapes of Shapes, so that a picture can be checked with it."""
    return any(word in COLOURS or word in SHAPES for word in _words(expected))


def check_picture(expected: str, picture: Image.Image) -> bool:
    """Tell whether a picture shows exactly the figures that are expected.

    Args:
        expected: a caption of Shapes (`a red circle and a blue square`, `two red circles`, `a red circle above a blue
            square`), or the colours or the shapes alone (`red`), where the other does not matter.
        picture: what a model drew.

    Raises:
        ValueError: it names neither a colour nor a shape.
    """
    return _is_right(_checkable(expected), read_picture(picture))


def _is_right(words: list[str], shown: dict[Cell, Look]) -> bool:
    """Tell whether exactly the figures that words say are shown, as they shall stand."""
    colours, shapes = [w for w in words if w in COLOURS], [w for w in words if w in SHAPES]
    if len(colours) != len(shapes):
        index, wanted = (0, colours) if colours else (1, shapes)
        return sorted(look[index] for look in shown.values()) == sorted(wanted)
    count = next((NUMBERS.index(word) for word in words if word in NUMBERS), 1)
    looks = list(zip(colours, shapes, strict=True)) * count
    relation = next((word for word in words if word in RELATIONS), None)
    if sorted(shown.values()) != sorted(looks):
        return False
    return relation is None or _stands(relation, *(next(c for c in shown if shown[c] == look) for look in looks))


def score_picture(expected: str, picture: Image.Image) -> float:
    """Grade a picture by the figures that are expected, from 0 to 1: twice the figures that are right, over all that are
    expected or shown; a figure of which only the colour or only the shape is right is half a one. How two of them stand to
    each other is a third of the grade, where that is asked for.

    Args:
        expected: as of `check_picture`.
        picture: what a model drew.

    Raises:
        ValueError: it names neither a colour nor a shape.
    """
    words, read = _checkable(expected), read_picture(picture)
    if _is_right(words, read):
        return 1.0
    shown = list(read.values())
    colours, shapes = [w for w in words if w in COLOURS], [w for w in words if w in SHAPES]
    count = next((NUMBERS.index(word) for word in words if word in NUMBERS), 1)
    if len(colours) != len(shapes):
        index, names = (0, colours) if colours else (1, shapes)
        wanted, seen = Counter(names), Counter(look[index] for look in shown)
        right = float((wanted & seen).total())
        total = wanted.total()
    else:
        looks = list(zip(colours, shapes, strict=True)) * count
        right, total = _right_figures(looks, shown), len(looks)
    figures = 2 * right / (total + len(shown)) if total + len(shown) else 0.0
    return figures * 2 / 3 if set(words) & set(RELATIONS) else figures


def _right_figures(wanted: list[Look], shown: list[Look]) -> float:
    """Figures that are right, and half of those that are right in colour or shape alone."""
    whole = Counter(wanted) & Counter(shown)
    left, seen = Counter(wanted) - whole, Counter(shown) - whole
    half = 0
    for index in (0, 1):
        half += (
            Counter(look[index] for look in left.elements()) & Counter(look[index] for look in seen.elements())
        ).total()
    return whole.total() + min(half, left.total(), seen.total()) / 2


def _checkable(expected: str) -> list[str]:
    if not can_check(expected):
        raise ValueError(
            f"{expected!r} names neither a colour nor a shape of Shapes, so no picture can be checked with it"
        )
    return _words(expected)


def _words(caption: str) -> list[str]:
    """Lower-case words, shapes in the singular."""
    singular = {plural(shape): shape for shape in SHAPES}
    return [singular.get(word, word) for word in re.findall(r"[a-z]+", caption.lower())]


def _stands(relation: str, subject: Cell, anchor: Cell) -> bool:
    """Tell whether the subject stands there, in one row or one column with the anchor."""
    across, down = subject[1] - anchor[1], subject[0] - anchor[0]
    way = {"left": (-across, down), "right": (across, down), "above": (-down, across), "below": (down, across)}
    forward, aside = way[relation]
    return forward > 0 and aside == 0


def _cells(picture: Image.Image) -> np.ndarray:
    """(3, 3, 16, 16, 3) the cells of a picture, in shares of full brightness."""
    from PIL import Image

    side = GRID * _CELL
    resized = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(resized, dtype=np.float32) / 255
    return pixels.reshape(GRID, _CELL, GRID, _CELL, 3).swapaxes(1, 2)


@cache
def _templates(image_size: int, cell: Cell) -> tuple[np.ndarray, np.ndarray, list[Look | None]]:
    """(N, D) how a cell looks with each figure in each size and slightly moved, (N,) the squares of that, and which it is.

    Each cell has its own: where the size is no multiple of three, cells do not begin at whole pixels.
    """
    ground = np.array(BACKGROUND, np.float32) / 255
    drawn: list[np.ndarray] = [np.broadcast_to(ground, (_CELL, _CELL, 3))]
    looks: list[Look | None] = [None]
    moves = [(down, right) for down in (-JITTER, 0, JITTER) for right in (-JITTER, 0, JITTER)]
    for shape, large, shift in product(SHAPES, (True, False), moves):
        ink = _ink(image_size, Figure(shape, "black", large, cell, shift))
        for colour, rgb in COLOURS.items():
            drawn.append(ground + ink[..., None] * (np.array(rgb, np.float32) / 255 - ground))
            looks.append((colour, shape))
    templates = np.stack(drawn).reshape(len(drawn), -1)
    return templates, (templates**2).sum(-1), looks


def _ink(image_size: int, figure: Figure) -> np.ndarray:
    """(16, 16) the share of each pixel of its cell that the figure covers."""
    cell = _cells(draw(Scene((figure,)), image_size))[figure.cell].mean(-1)
    ground, black = BACKGROUND[0] / 255, COLOURS["black"][0] / 255
    return (ground - cell) / (ground - black)
