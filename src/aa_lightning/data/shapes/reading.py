"""What a picture of Shapes shows, read from its pixels: every cell is compared with every figure as it would be drawn."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from aa_lightning.data.shapes.render import BACKGROUND, draw
from aa_lightning.data.shapes.scenes import COLOURS, GRID, JITTER, SHAPES, Figure, Scene

if TYPE_CHECKING:
    from PIL import Image

_CELL = 16  # pixels of a cell when cells are compared
_MIDDLE = (GRID // 2, GRID // 2)


def read_picture(picture: Image.Image) -> list[tuple[str, str]]:
    """The (colour, shape) of every figure in a picture of Shapes, in reading order.

    A cell shows the figure, or nothing, whose drawing is nearest to it in squared error, so that a blurred or slightly
    wrong drawing is read as what it resembles most.

    Args:
        picture: square, of any size of at least 16 pixels.
    """
    templates, looks = _templates(min(picture.size))
    cells = _cells(picture).reshape(GRID * GRID, -1)
    errors = ((cells[:, None] - templates[None]) ** 2).sum(-1)
    return [look for look in (looks[best] for best in errors.argmin(1)) if look is not None]


def check_picture(expected: str, picture: Image.Image) -> bool:
    """Whether a picture shows exactly the figures that a caption names, in any order and place.

    Args:
        expected: a caption such as `a red circle and a blue square`, or `red` where the shape does not matter.
        picture: what a model drew.

    Raises:
        ValueError: the caption names neither a colour nor a shape.
    """
    words = re.findall(r"[a-z]+", expected.lower())
    colours, shapes = [w for w in words if w in COLOURS], [w for w in words if w in SHAPES]
    if not colours and not shapes:
        raise ValueError(
            f"{expected!r} names neither a colour nor a shape of Shapes, so no picture can be checked with it"
        )
    shown = read_picture(picture)
    if colours and shapes:
        return sorted(shown) == sorted(zip(colours, shapes, strict=True))
    if colours:
        return sorted(colour for colour, _ in shown) == sorted(colours)
    return sorted(shape for _, shape in shown) == sorted(shapes)


def _cells(picture: Image.Image) -> np.ndarray:
    """(3, 3, 16, 16, 3) the cells of a picture, in shares of full brightness."""
    from PIL import Image

    side = GRID * _CELL
    resized = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(resized, dtype=np.float32) / 255
    return pixels.reshape(GRID, _CELL, GRID, _CELL, 3).swapaxes(1, 2)


@cache
def _templates(image_size: int) -> tuple[np.ndarray, list[tuple[str, str] | None]]:
    """(N, D) how a cell looks with each figure in each size and slightly moved, and which figure that is."""
    outlines = {
        (shape, large, shift): _ink(image_size, Figure(shape, "black", large, _MIDDLE, shift))
        for shape in SHAPES
        for large in (True, False)
        for shift in [(down, right) for down in (-JITTER, 0, JITTER) for right in (-JITTER, 0, JITTER)]
    }
    ground = np.array(BACKGROUND, np.float32) / 255
    looks: list[tuple[str, str] | None] = [None]
    cells = [np.broadcast_to(ground, (_CELL, _CELL, 3))]
    for (shape, _, _), ink in outlines.items():
        for colour, rgb in COLOURS.items():
            cells.append(ground + ink[..., None] * (np.array(rgb, np.float32) / 255 - ground))
            looks.append((colour, shape))
    return np.stack(cells).reshape(len(cells), -1), looks


def _ink(image_size: int, figure: Figure) -> np.ndarray:
    """(16, 16) the share of each pixel of the middle cell that the figure covers."""
    cell = _cells(draw(Scene((figure,)), image_size))[_MIDDLE].mean(-1)
    ground, black = BACKGROUND[0] / 255, COLOURS["black"][0] / 255
    return (ground - cell) / (ground - black)
