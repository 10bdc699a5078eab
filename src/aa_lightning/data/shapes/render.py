"""Rendering of scenes: Pillow, drawn large and reduced, so that edges are smooth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from aa_lightning.data.shapes.scenes import COLOURS, GRID, Figure, Scene

if TYPE_CHECKING:
    from PIL import Image, ImageDraw  # this module is read with the options, before anything heavy

BACKGROUND = (245, 245, 245)
_OVERSAMPLING = 4
_RADIUS = {True: 0.40, False: 0.26}  # of a cell, for large and small figures


def draw(scene: Scene, image_size: int, noise: float = 0.0) -> Image.Image:
    """The picture of a scene.

    Args:
        scene: what there is.
        image_size: width and height in pixels.
        noise: standard deviation of grey noise, in levels of 0 to 255, the same whenever this scene is drawn.

    Returns:
        An RGB image.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (image_size * _OVERSAMPLING,) * 2, BACKGROUND)
    pen = ImageDraw.Draw(image)
    for figure in scene.figures:
        _draw_figure(pen, figure, cell=image.width / GRID)
    image = image.reduce(_OVERSAMPLING)
    return image if noise == 0 else _with_noise(image, noise, scene.noise_seed)


def centre(figure: Figure) -> tuple[float, float]:
    """Return the place of a figure: (x, y) as shares of the picture's width and height."""
    (row, column), (down, right) = figure.cell, figure.shift
    return (column + 0.5 + right / 100) / GRID, (row + 0.5 + down / 100) / GRID


def box(figure: Figure, image_size: int) -> tuple[int, int, int, int]:
    """Return the pixels around a figure, (left, top, right, bottom), in a picture of so many pixels."""
    radius = _RADIUS[figure.large] / GRID
    across, down = zip(*_OUTLINES.get(figure.shape, [(-1.0, -1.0), (1.0, 1.0)]), strict=True)
    x, y = centre(figure)
    sides = (x + radius * min(across), y + radius * min(down), x + radius * max(across), y + radius * max(down))
    left, top, right, bottom = (round(side * image_size) for side in sides)
    return left, top, right, bottom


def _draw_figure(pen: ImageDraw.ImageDraw, figure: Figure, cell: float) -> None:
    radius = _RADIUS[figure.large] * cell
    x, y = (share * cell * GRID for share in centre(figure))
    fill = COLOURS[figure.colour]
    if figure.shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    else:
        pen.polygon([(x + radius * u, y + radius * v) for u, v in _OUTLINES[figure.shape]], fill=fill)


def _with_noise(image: Image.Image, noise: float, seed: int) -> Image.Image:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float32)
    grey = np.random.default_rng(seed).normal(0, noise, pixels.shape[:2]).astype(np.float32)
    return Image.fromarray((pixels + grey[..., None]).clip(0, 255).astype(np.uint8))


def _star() -> list[tuple[float, float]]:
    turns = [(k * math.pi / 5, 1.0 if k % 2 == 0 else 0.42) for k in range(10)]
    return [(r * math.sin(turn), -r * math.cos(turn)) for turn, r in turns]


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0.0, -1.0), (1.0, 0.85), (-1.0, 0.85)],
    "diamond": [(0.0, -1.0), (0.75, 0.0), (0.0, 1.0), (-0.75, 0.0)],
    "cross": [
        *[(-0.3, -1.0), (0.3, -1.0), (0.3, -0.3), (1.0, -0.3), (1.0, 0.3), (0.3, 0.3)],
        *[(0.3, 1.0), (-0.3, 1.0), (-0.3, 0.3), (-1.0, 0.3), (-1.0, -0.3), (-0.3, -0.3)],
    ],
    "star": _star(),
}
