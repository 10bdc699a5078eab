"""Several pictures as one prompt shows them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

_INSET = 3  # how many times smaller the small picture is than the large one
_GROUND = (255, 255, 255)


def arrange(form: str, pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """The pictures one after another, all in one, or the second small in the corner of the first.

    Args:
        form: sequence, grid (up to four, row by row, each in a cell as large as the first one) or inset.
    """
    if form == "sequence":
        return list(pictures)
    return [_grid(pictures) if form == "grid" else _inset(*pictures)]


def _grid(pictures: Sequence[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    whole = Image.new("RGB", (2 * width, 2 * height), _GROUND)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, 2)
        whole.paste(picture.resize((width, height)), (column * width, row * height))
    return whole


def _inset(large: Image.Image, small: Image.Image) -> Image.Image:
    whole = large.copy()
    width, height = (max(1, side // _INSET) for side in large.size)
    whole.paste(small.resize((width, height)), (large.width - width, large.height - height))
    return whole
