"""Several pictures in one prompt, and questions that look back at an earlier turn."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random

from aa_lightning.data.shapes.language import NUMBERS, a, look, plural, sentence, there_are
from aa_lightning.data.shapes.questions import Question, change_look, one_of_its_shape, stated, unlike
from aa_lightning.data.shapes.scenes import Figure, Palette, Scene, cells, make_scene, other

PLACES = ("first", "second", "third")


@dataclass(frozen=True)
class Album:
    """Scenes shown one after another."""

    scenes: tuple[Scene, ...]

    @property
    def key(self) -> str:
        return "||".join(scene.key for scene in self.scenes)

    @property
    def truth(self) -> str:
        """The ground truth as JSON: a list of scenes."""
        return json.dumps([json.loads(scene.truth) for scene in self.scenes])

    @property
    def media(self) -> dict[str, list[Scene]]:
        return {"image": list(self.scenes)}


def ask_which(palette: Palette, rng: Random) -> Question:
    """Ask "Which picture shows a red circle: the first, the second or the third?" Exactly one does."""
    scenes = [_alone(palette.figure(rng, rng.choice(cells(rng))), rng)]
    for _ in PLACES[1:]:
        figure = unlike(palette, rng, rng.choice(cells(rng)), [scene.figures[0] for scene in scenes])
        scenes.append(_alone(figure, rng))
    right, wrong = rng.sample(range(len(PLACES)), 2)
    asked = a(look(scenes[right].figures[0]))
    says = {n: f"the {PLACES[n]} picture shows {asked}" for n in (right, wrong)}
    return Question(
        scene=Album(tuple(scenes)),
        text=f"Which picture shows {asked}?",
        answer=PLACES[right],
        wrong_answer=PLACES[wrong],
        right=sentence(says[right]),
        wrong=sentence(says[wrong]),
        critique=f"Wrong: {says[right]}, not the {PLACES[wrong]} one.",
    )


def ask_same(palette: Palette, rng: Random) -> Question:
    """Do both pictures show the same? In half of the questions one colour or one shape differs."""
    one = _alone(palette.figure(rng, rng.choice(cells(rng))), rng)
    figure = one.figures[0] if rng.random() < 0.5 else change_look(one, palette, rng)[1]
    here = palette.figure(rng, rng.choice(cells(rng)), colour=figure.colour, shape=figure.shape)
    answer, wrong = ("yes", "no") if figure.look == one.figures[0].look else ("no", "yes")
    names = [a(look(scene.figures[0])) for scene in (one, _alone(here, rng))]
    says = {"yes": "Yes, both show the same.", "no": "No, they show different shapes."}
    return Question(
        scene=Album((one, _alone(here, rng))),
        text="Do both pictures show the same shape in the same colour?",
        answer=answer,
        wrong_answer=wrong,
        right=says[answer],
        wrong=says[wrong],
        critique=f"Wrong: the first picture shows {names[0]} and the second {names[1]}, so the answer is {answer}.",
    )


def ask_followup(palette: Palette, rng: Random) -> Question:
    """And the square? What is asked of the square was said in the turn before: its colour, or how many there are."""
    ask = rng.choice([_follow_colour, _follow_count])
    return ask(palette, rng)


def _follow_colour(palette: Palette, rng: Random) -> Question:
    figure, scene = one_of_its_shape(palette, rng)
    rest = [f for f in scene.figures if f != figure]
    cell = rest.pop().cell if rest else rng.choice(cells(rng, without=[figure.cell]))
    asked = palette.figure(rng, cell, not_shape=figure.shape)
    rest = [figure, *(f for f in rest if f.shape != asked.shape)]
    wrong = other(rng, palette.colours, asked.colour)
    question = stated(
        make_scene([asked, *rest], rng), f"And the {asked.shape}?", f"the {asked.shape} is", asked.colour, wrong
    )
    before = (f"What colour is the {figure.shape}?", f"The {figure.shape} is {figure.colour}.")
    return replace(question, before=(before,))


def _follow_count(palette: Palette, rng: Random) -> Question:
    first, asked = rng.sample(list(palette.shapes), 2)
    most = min(palette.max_shapes, len(cells(rng)) // 2)
    count, wrong = rng.sample(range(1, most + 1), 2)
    free = cells(rng)
    earlier = rng.randint(1, most)
    figures = [palette.figure(rng, free.pop(), shape=asked) for _ in range(count)]
    figures += [palette.figure(rng, free.pop(), shape=first) for _ in range(earlier)]
    return Question(
        scene=make_scene(figures, rng),
        text=f"And {plural(asked)}?",
        answer=NUMBERS[count],
        wrong_answer=NUMBERS[wrong],
        right=sentence(there_are(count, asked)),
        wrong=sentence(there_are(wrong, asked)),
        critique=f"Wrong: {there_are(count, asked)}, not {NUMBERS[wrong]}.",
        before=((f"How many {plural(first)} are there?", sentence(there_are(earlier, first))),),
    )


def _alone(figure: Figure, rng: Random) -> Scene:
    return make_scene([figure], rng)
