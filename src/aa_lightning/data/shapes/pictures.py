"""Image requests: a caption, the scene that matches it, and one that differs in a single attribute.

Matching and mismatching scenes have the same distribution, so no picture is preferred for what it shows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from aa_lightning.data.shapes.language import NUMBERS, RELATIONS, a, caption, look, plural
from aa_lightning.data.shapes.questions import change_look, related
from aa_lightning.data.shapes.scenes import Figure, Palette, Scene, cells, make_scene


@dataclass(frozen=True)
class PictureRequest:
    """A caption, the scene that fits and a scene that does not."""

    caption: str
    scene: Scene
    wrong_scene: Scene
    critique: str  # of the wrong picture: names the error


def request_colour(palette: Palette, rng: Random) -> PictureRequest:
    """One figure of the wrong picture has another colour."""
    return _request_look(palette, rng, "colour")


def request_shape(palette: Palette, rng: Random) -> PictureRequest:
    """One figure of the wrong picture has another shape."""
    return _request_look(palette, rng, "shape")


def request_count(palette: Palette, rng: Random) -> PictureRequest:
    """The wrong picture has more or fewer of the same figures."""
    free = cells(rng)
    first = palette.figure(rng, free[0])
    figures = [first] + [
        palette.figure(rng, cell, shape=first.shape, colour=first.colour) for cell in free[1 : palette.max_shapes]
    ]
    count, wrong = rng.sample(range(1, palette.max_shapes + 1), 2)
    scene, wrong_scene = make_scene(figures[:count], rng), make_scene(figures[:wrong], rng)
    return PictureRequest(
        caption=_counted(first, count),
        scene=scene,
        wrong_scene=wrong_scene,
        critique=f"Wrong: the picture shows {_counted(first, wrong)}, not {_counted(first, count)}.",
    )


def request_relation(palette: Palette, rng: Random) -> PictureRequest:
    """In the wrong picture the two figures have changed places."""
    relation, scene, subject, anchor = related(palette, rng, total=2)
    swapped = [_moved(subject, to=anchor), _moved(anchor, to=subject)]
    return PictureRequest(
        caption=f"{a(look(subject))} {RELATIONS[relation]} {a(look(anchor))}",
        scene=scene,
        wrong_scene=make_scene(swapped, rng),
        critique=f"Wrong: the {look(subject)} is not {RELATIONS[relation]} the {look(anchor)}.",
    )


def _request_look(palette: Palette, rng: Random, attribute: str) -> PictureRequest:
    free = cells(rng)
    scene = make_scene([palette.figure(rng, free.pop()) for _ in range(palette.count(rng))], rng)
    old, new = change_look(scene, palette, rng, attribute)
    return PictureRequest(
        caption=caption(scene.figures),
        scene=scene,
        wrong_scene=scene.with_figure(old, new),
        critique=f"Wrong: the picture shows {a(look(new))} instead of {a(look(old))}.",
    )


def _counted(figure: Figure, count: int) -> str:
    return f"{NUMBERS[count]} {figure.colour} {plural(figure.shape, count)}"


def _moved(figure: Figure, to: Figure) -> Figure:
    return Figure(figure.shape, figure.colour, figure.large, to.cell, to.shift)


REQUESTS: dict[str, Callable[[Palette, Random], PictureRequest]] = {
    "colour": request_colour,
    "shape": request_shape,
    "count": request_count,
    "relation": request_relation,
}
