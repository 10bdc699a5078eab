"""Questions about a film. As with pictures, nobody who has not seen it can do better than chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from aa_lightning.data.shapes.clips import AXES, BACK, LANES, STAYS, Film, Mover, cast, make_film
from aa_lightning.data.shapes.language import NUMBERS, a, listing, look, plural, sentence
from aa_lightning.data.shapes.questions import Question, stated
from aa_lightning.data.shapes.scenes import Palette, other

EARLY, LATE = 0.3, 0.6  # shares of a film at which figures appear and disappear; four frames tell them apart


def ask_motion(palette: Palette, rng: Random) -> Question:
    """Ask "Which way does the circle move?" Exactly one figure is a circle."""
    shape = rng.choice(palette.shapes)
    axis, motions = _motions(palette, rng, palette.count(rng))
    others = [other(rng, palette.shapes, shape) for _ in motions[1:]]
    film = _film(palette, rng, axis, [shape, *others], motions)
    asked = next(m for m in film.movers if m.figure.shape == shape)
    text = f"Which way does the {shape} move, {' or '.join(AXES[axis])}?"
    return stated(film, text, f"the {shape} moves", asked.motion, BACK[asked.motion])


def ask_mover(palette: Palette, rng: Random) -> Question:
    """Ask "Which shape moves, the circle or the square?" The other one stays."""
    answer, wrong = rng.sample(list(palette.shapes), 2)
    axis, motions = _motions(palette, rng, 1)
    film = _film(palette, rng, axis, [answer, wrong], [*motions, STAYS])
    return stated(
        film, f"Which shape moves, {_either(answer, wrong, rng)}?", "the shape that moves is the", answer, wrong
    )


def ask_first(palette: Palette, rng: Random) -> Question:
    """Ask "Which shape appears first, the circle or the square?"."""
    answer, wrong = rng.sample(list(palette.shapes), 2)
    film = _film(palette, rng, rng.choice(list(AXES)), [answer, wrong], [STAYS, STAYS])
    when = {answer: EARLY, wrong: LATE}
    film = replace(film, movers=tuple(replace(m, enters=when[m.figure.shape]) for m in film.movers))
    return stated(
        film, f"Which shape appears first, {_either(answer, wrong, rng)}?", "first there is the", answer, wrong
    )


def ask_appears(palette: Palette, rng: Random) -> Question:
    """Ask "Which shape appears?" The other one is there from the beginning."""
    return _ask_change(palette, rng, "appears", lambda mover, share: replace(mover, enters=share))


def ask_disappears(palette: Palette, rng: Random) -> Question:
    """Ask "Which shape goes away?" The other one is there until the end."""
    return _ask_change(palette, rng, "goes away", lambda mover, share: replace(mover, leaves=share))


def ask_count(palette: Palette, rng: Random) -> Question:
    """Ask "How many shapes move?" One to `max_shapes`, uniformly; all that do not move stay."""
    most = min(palette.max_shapes, LANES)
    count, wrong = rng.sample(range(1, most + 1), 2)
    axis, motions = _motions(palette, rng, count)
    motions += [STAYS] * (rng.randint(max(count, min(palette.min_shapes, most)), most) - count)
    film = _film(palette, rng, axis, [rng.choice(palette.shapes) for _ in motions], rng.sample(motions, len(motions)))
    says = {n: f"{NUMBERS[n]} {plural('shape', n)} move{'s' if n == 1 else ''}" for n in (count, wrong)}
    return Question(
        scene=film,
        text="How many shapes move?",
        answer=NUMBERS[count],
        wrong_answer=NUMBERS[wrong],
        right=sentence(says[count]),
        wrong=sentence(says[wrong]),
        critique=f"Wrong: {says[count]}, not {NUMBERS[wrong]}.",
    )


def ask_caption(palette: Palette, rng: Random) -> Question:
    """Ask "What moves, and which way?" The wrong answer changes one colour, one shape or one direction."""
    axis, motions = _motions(palette, rng, palette.count(rng))
    film = _film(palette, rng, axis, [rng.choice(palette.shapes) for _ in motions], motions)
    old, new = change_mover(film, palette, rng)
    right, wrong = seen(film), seen(film.with_mover(old, new))
    return Question(
        scene=film,
        text=f"What moves which way, from {'top to bottom' if axis == 'across' else 'left to right'}?",
        answer=right,
        wrong_answer=wrong,
        right=sentence(right),
        wrong=sentence(wrong),
        critique=f"Wrong: {_moving(old)} where the answer says that {_moving(new)}.",
    )


def change_mover(film: Film, palette: Palette, rng: Random) -> tuple[Mover, Mover]:
    """One mover of a film, and the same with another colour, another shape, or the opposite direction."""
    old = rng.choice(film.movers)
    figure, changed = old.figure, rng.choice(["colour", "shape", "motion"])
    if changed == "colour":
        return old, replace(old, figure=replace(figure, colour=other(rng, palette.colours, figure.colour)))
    if changed == "shape":
        return old, replace(old, figure=replace(figure, shape=other(rng, palette.shapes, figure.shape)))
    return old, replace(old, motion=BACK[old.motion])


def seen(film: Film) -> str:
    """`a red circle moves left and a blue square moves right`, in the order of lanes."""
    return listing([_moving(mover) for mover in film.movers])


def _moving(mover: Mover) -> str:
    return f"{a(look(mover.figure))} moves {mover.motion}"


def _motions(palette: Palette, rng: Random, count: int) -> tuple[str, list[str]]:
    """An axis, and a direction along it for each of `count` figures (at most one for each lane)."""
    axis = rng.choice(list(AXES))
    return axis, [rng.choice(AXES[axis]) for _ in range(min(count, LANES))]


def _film(palette: Palette, rng: Random, axis: str, shapes: list[str], motions: list[str]) -> Film:
    """Figures of the given shapes and motions, of any colours, in random lanes."""
    told = rng.sample(list(zip(shapes, motions, strict=True)), len(shapes))
    looks = [(rng.choice(palette.colours), shape) for shape, _ in told]
    return make_film(cast(palette, rng, looks, [motion for _, motion in told], axis), rng)


def _ask_change(palette: Palette, rng: Random, verb: str, change: Callable[[Mover, float], Mover]) -> Question:
    answer, wrong = rng.sample(list(palette.shapes), 2)
    film = _film(palette, rng, rng.choice(list(AXES)), [answer, wrong], [STAYS, STAYS])
    share = rng.choice([EARLY, LATE])
    movers = [change(m, share) if m.figure.shape == answer else m for m in film.movers]
    film = replace(film, movers=tuple(movers))
    return stated(film, f"Which shape {verb}?", f"the shape that {verb} is the", answer, wrong)


def _either(one: str, two: str, rng: Random) -> str:
    first, second = rng.sample([one, two], 2)
    return f"the {first} or the {second}"


CLIP_QUESTIONS: dict[str, Callable[[Palette, Random], Question]] = {
    "motion": ask_motion,
    "mover": ask_mover,
    "first": ask_first,
    "appears": ask_appears,
    "disappears": ask_disappears,
    "count": ask_count,
    "caption": ask_caption,
}
