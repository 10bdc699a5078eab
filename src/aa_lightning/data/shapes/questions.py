"""Questions about a scene, with a right and a subtly wrong answer.

The right and the wrong answer are exchangeable given the question: what is asked for is drawn uniformly, and so is the
wrong alternative. Whoever has not seen the scene can do no better than chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from aa_lightning.data.shapes.language import (
    NUMBERS,
    OPPOSITE,
    RELATIONS,
    a,
    caption,
    look,
    plural,
    sentence,
    there_are,
)
from aa_lightning.data.shapes.scenes import GRID, Figure, Palette, Scene, World, cells, make_scene, other


@dataclass(frozen=True)
class Question:
    """A question about a scene. `answer`, `wrong_answer` are checkable words; `right`, `wrong` say them in full."""

    scene: World
    text: str
    answer: str
    wrong_answer: str
    right: str
    wrong: str
    critique: str  # of the wrong answer: names the error
    before: tuple[tuple[str, str], ...] = ()  # earlier turns: what was asked, what was answered


def stated(scene: World, text: str, fact: str, answer: str, wrong: str) -> Question:
    """A question whose answers complete one fact: `the circle is` red."""
    return Question(
        scene=scene,
        text=text,
        answer=answer,
        wrong_answer=wrong,
        right=sentence(f"{fact} {answer}"),
        wrong=sentence(f"{fact} {wrong}"),
        critique=f"Wrong: {fact} {answer}, not {wrong}.",
    )


def ask_colour(palette: Palette, rng: Random) -> Question:
    """Ask "What colour is the circle?" Exactly one figure is a circle."""
    figure, scene = one_of_its_shape(palette, rng)
    wrong = other(rng, palette.colours, figure.colour)
    return stated(scene, f"What colour is the {figure.shape}?", f"the {figure.shape} is", figure.colour, wrong)


def ask_shape(palette: Palette, rng: Random) -> Question:
    """Ask "What shape is red?" Exactly one figure is red."""
    free = cells(rng)
    figure = palette.figure(rng, free.pop())
    others = [palette.figure(rng, free.pop(), not_colour=figure.colour) for _ in range(palette.count(rng) - 1)]
    wrong = other(rng, palette.shapes, figure.shape)
    fact = f"the {figure.colour} shape is"
    return Question(
        scene=make_scene([figure, *others], rng),
        text=f"What shape is {figure.colour}?",
        answer=figure.shape,
        wrong_answer=wrong,
        right=sentence(f"{fact} {a(figure.shape)}"),
        wrong=sentence(f"{fact} {a(wrong)}"),
        critique=f"Wrong: {fact} {a(figure.shape)}, not {a(wrong)}.",
    )


def ask_count(palette: Palette, rng: Random) -> Question:
    """Ask "How many circles are there?" One to `max_shapes`, uniformly."""
    shape = rng.choice(palette.shapes)
    count = rng.randint(1, palette.max_shapes)
    total = rng.randint(max(count, palette.min_shapes), palette.max_shapes)
    free = cells(rng)
    figures = [palette.figure(rng, free.pop(), shape=shape) for _ in range(count)]
    figures += [palette.figure(rng, free.pop(), not_shape=shape) for _ in range(total - count)]
    wrong = rng.choice([n for n in range(1, palette.max_shapes + 1) if n != count])
    return Question(
        scene=make_scene(figures, rng),
        text=f"How many {plural(shape)} are there?",
        answer=NUMBERS[count],
        wrong_answer=NUMBERS[wrong],
        right=sentence(there_are(count, shape)),
        wrong=sentence(there_are(wrong, shape)),
        critique=f"Wrong: {there_are(count, shape)}, not {NUMBERS[wrong]}.",
    )


def ask_relation(palette: Palette, rng: Random) -> Question:
    """Ask "Where is the red circle, seen from the blue square?" The two stand in one row or one column."""
    relation, scene, subject, anchor = related(palette, rng, total=palette.count(rng, at_least=2))
    wrong = OPPOSITE[relation]
    fact = f"the {look(subject)} is"
    return Question(
        scene=scene,
        text=f"Is the {look(subject)} left of, right of, above or below the {look(anchor)}?",
        answer=relation,
        wrong_answer=wrong,
        right=sentence(f"{fact} {RELATIONS[relation]} the {look(anchor)}"),
        wrong=sentence(f"{fact} {RELATIONS[wrong]} the {look(anchor)}"),
        critique=f"Wrong: {fact} {RELATIONS[relation]} the {look(anchor)}, not {RELATIONS[wrong]} it.",
    )


def ask_yesno(palette: Palette, rng: Random) -> Question:
    """Is the circle red? Yes in half of the questions."""
    figure, scene = one_of_its_shape(palette, rng)
    yes = rng.random() < 0.5
    asked = figure.colour if yes else other(rng, palette.colours, figure.colour)
    says = {
        "yes": f"Yes, the {figure.shape} is {asked}.",
        "no": f"No, the {figure.shape} is not {asked}.",
    }
    answer, wrong = ("yes", "no") if yes else ("no", "yes")
    return Question(
        scene=scene,
        text=f"Is the {figure.shape} {asked}?",
        answer=answer,
        wrong_answer=wrong,
        right=says[answer],
        wrong=says[wrong],
        critique=f"Wrong: the {figure.shape} is {figure.colour}, so the answer is {answer}.",
    )


def ask_caption(palette: Palette, rng: Random) -> Question:
    """Ask "Which shapes are there?" The wrong answer changes one colour or one shape."""
    free = cells(rng)
    scene = make_scene([palette.figure(rng, free.pop()) for _ in range(palette.count(rng))], rng)
    old, new = change_look(scene, palette, rng)
    right, wrong = caption(scene.figures), caption(scene.with_figure(old, new).figures)
    return Question(
        scene=scene,
        text="Which shapes are there, from top left to bottom right?",
        answer=right,
        wrong_answer=wrong,
        right=sentence(right),
        wrong=sentence(wrong),
        critique=f"Wrong: there is {a(look(old))} where the answer says {a(look(new))}.",
    )


def change_look(scene: Scene, palette: Palette, rng: Random, attribute: str | None = None) -> tuple[Figure, Figure]:
    """One figure of a scene, and the same figure with another colour or another shape."""
    old = rng.choice(scene.figures)
    if (attribute or rng.choice(["colour", "shape"])) == "colour":
        return old, _replaced(old, colour=other(rng, palette.colours, old.colour), shape=old.shape)
    return old, _replaced(old, colour=old.colour, shape=other(rng, palette.shapes, old.shape))


def related(palette: Palette, rng: Random, total: int) -> tuple[str, Scene, Figure, Figure]:
    """A relation, a scene of `total` figures in which it holds, and the two figures of which it holds."""
    relation = rng.choice(list(RELATIONS))
    low, high = sorted(rng.sample(range(GRID), 2))
    line = rng.randrange(GRID)
    ends = (low, high) if relation in ("left", "above") else (high, low)
    across = relation in ("left", "right")
    here, there = [(line, end) if across else (end, line) for end in ends]
    subject = palette.figure(rng, here)
    anchor = unlike(palette, rng, there, [subject])
    free = cells(rng, without=[here, there])
    others = [unlike(palette, rng, free.pop(), [subject, anchor]) for _ in range(total - 2)]
    return relation, make_scene([subject, anchor, *others], rng), subject, anchor


def one_of_its_shape(palette: Palette, rng: Random) -> tuple[Figure, Scene]:
    """A scene and its only figure of some shape."""
    free = cells(rng)
    figure = palette.figure(rng, free.pop())
    others = [palette.figure(rng, free.pop(), not_shape=figure.shape) for _ in range(palette.count(rng) - 1)]
    return figure, make_scene([figure, *others], rng)


def unlike(palette: Palette, rng: Random, cell: tuple[int, int], taken: list[Figure]) -> Figure:
    """A figure that looks like none of those taken; two colours and two shapes leave at least two other looks."""
    while True:
        figure = palette.figure(rng, cell)
        if figure.look not in [f.look for f in taken]:
            return figure


def _replaced(figure: Figure, colour: str, shape: str) -> Figure:
    return Figure(shape=shape, colour=colour, large=figure.large, cell=figure.cell, shift=figure.shift)


QUESTIONS: dict[str, Callable[[Palette, Random], Question]] = {
    "colour": ask_colour,
    "shape": ask_shape,
    "count": ask_count,
    "relation": ask_relation,
    "yesno": ask_yesno,
    "caption": ask_caption,
}
