"""Drawing tasks: a request, the words of the answer, a picture that is right and one wrong in one attribute.

Both answers use the same words, so that only the picture can be preferred. After a picture, what is wrong is what the
request takes from that picture: whoever has not seen it can do no better than chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from aa_lightning.data.shapes.language import a, look, sentence
from aa_lightning.data.shapes.pictures import request_colour, request_shape
from aa_lightning.data.shapes.scenes import Figure, Palette, Scene, World, cells, make_scene, other


@dataclass(frozen=True)
class DrawingRequest:
    """A request to draw or to play. `answer` names what `check_picture` or `check_sound` looks for."""

    text: str
    said: str  # before the picture or sound, in the right answer and in the wrong one
    scene: World
    wrong_scene: World
    answer: str
    critique: str  # of the wrong one: names the error
    shown: Scene | None = None  # what the request's own picture shows


def draw_colour(palette: Palette, rng: Random) -> DrawingRequest:
    """Draw a red circle. One figure of the wrong picture has another colour."""
    return _described(palette, rng, "colour")


def draw_shape(palette: Palette, rng: Random) -> DrawingRequest:
    """Draw a red circle. One figure of the wrong picture has another shape."""
    return _described(palette, rng, "shape")


def keep_colour(palette: Palette, rng: Random) -> DrawingRequest:
    """After a picture of one figure: draw a square in the same colour. The wrong picture has another colour."""
    old = palette.figure(rng, cells(rng)[0])
    new = replace(old, shape=other(rng, palette.shapes, old.shape))
    wrong = replace(new, colour=other(rng, palette.colours, old.colour))
    request = f"draw {a(new.shape)} in the same colour"
    return _after(rng, old, new, wrong, request, f"this is the {new.shape}", answer=old.colour)


def keep_shape(palette: Palette, rng: Random) -> DrawingRequest:
    """After a picture of one figure: draw the same shape in blue. The wrong picture has another shape."""
    old = palette.figure(rng, cells(rng)[0])
    new = replace(old, colour=other(rng, palette.colours, old.colour))
    wrong = replace(new, shape=other(rng, palette.shapes, old.shape))
    request = f"draw the same shape in {new.colour}"
    return _after(rng, old, new, wrong, request, f"this one is {new.colour}", answer=old.shape)


def _described(palette: Palette, rng: Random, attribute: str) -> DrawingRequest:
    request = (request_colour if attribute == "colour" else request_shape)(palette, rng)
    asked = [figure.colour if attribute == "colour" else figure.shape for figure in request.scene.figures]
    return DrawingRequest(
        text=sentence(f"draw {request.caption}"),
        said=sentence(f"this is {request.caption}"),
        scene=request.scene,
        wrong_scene=request.wrong_scene,
        answer=" ".join(asked),
        critique=request.critique,
    )


def _after(
    rng: Random, old: Figure, new: Figure, wrong: Figure, request: str, said: str, answer: str
) -> DrawingRequest:
    """The figure stays where it was and as large as it was."""
    scene = make_scene([new], rng)
    return DrawingRequest(
        text=sentence(request),
        said=sentence(said),
        scene=scene,
        wrong_scene=scene.with_figure(new, wrong),
        answer=answer,
        critique=f"Wrong: the picture shows {a(look(wrong))} instead of {a(look(new))}.",
        shown=make_scene([old], rng),
    )


DRAWINGS: dict[str, Callable[[Palette, Random], DrawingRequest]] = {"colour": draw_colour, "shape": draw_shape}
REDRAWINGS: dict[str, Callable[[Palette, Random], DrawingRequest]] = {"colour": keep_colour, "shape": keep_shape}
