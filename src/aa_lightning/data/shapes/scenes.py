"""Scenes: figures on a grid of three by three cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, Literal, Protocol, get_args

GRID = 3
Shape = Literal["circle", "square", "triangle", "diamond", "cross", "star"]
Colour = Literal["red", "green", "blue", "yellow", "purple", "orange", "cyan", "black"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: dict[Colour, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 205, 30),
    "purple": (140, 50, 170),
    "orange": (245, 130, 30),
    "cyan": (30, 190, 210),
    "black": (20, 20, 20),
}
JITTER = 8  # hundredths of a cell


class World(Protocol):
    """Something to show and to ask about: a scene, a melody, a film, or several of them."""

    @property
    def key(self) -> str:
        """Description in words; a split belongs to it."""

    @property
    def truth(self) -> str:
        """The ground truth as JSON."""

    @property
    def media(self) -> dict[str, Any]:
        """Things that are shown of it: by medium, one scene, melody or film, or a list of them."""


@dataclass(frozen=True)
class Figure:
    """One coloured shape. `cell` is (row, column), `shift` moves it inside the cell by hundredths of a cell."""

    shape: str
    colour: str
    large: bool
    cell: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    @property
    def look(self) -> tuple[str, str]:
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """Figures in reading order (top left to bottom right), each in a cell of its own."""

    figures: tuple[Figure, ...]
    noise_seed: int = 0

    @property
    def key(self) -> str:
        """The scene without shift and noise: two scenes of one key are the same in words."""
        return "|".join(f"{f.colour} {f.shape} {f.large} {f.cell}" for f in self.figures)

    @property
    def truth(self) -> str:
        """The ground truth as JSON."""
        return json.dumps([asdict(f) for f in self.figures])

    @property
    def media(self) -> dict[str, Scene]:
        return {"image": self}

    def with_figure(self, old: Figure, new: Figure) -> Scene:
        """This scene with one figure replaced."""
        return replace(self, figures=tuple(new if f == old else f for f in self.figures))


def make_scene(figures: Iterable[Figure], rng: Random) -> Scene:
    """A scene of the given figures, in reading order."""
    return Scene(tuple(sorted(figures, key=lambda f: f.cell)), noise_seed=rng.randrange(2**31))


@dataclass(frozen=True)
class Palette:
    """Shapes and colours that there may be, and the number of figures in a scene."""

    shapes: Sequence[str]
    colours: Sequence[str]
    min_shapes: int
    max_shapes: int

    def figure(
        self,
        rng: Random,
        cell: tuple[int, int],
        *,
        shape: str | None = None,
        colour: str | None = None,
        not_shape: str | None = None,
        not_colour: str | None = None,
    ) -> Figure:
        """A random figure, with a fixed or an excluded shape or colour."""
        return Figure(
            shape=shape or other(rng, self.shapes, not_shape),
            colour=colour or other(rng, self.colours, not_colour),
            large=rng.random() < 0.5,
            cell=cell,
            shift=(rng.randint(-JITTER, JITTER), rng.randint(-JITTER, JITTER)),
        )

    def count(self, rng: Random, at_least: int = 1) -> int:
        """Sample the number of figures of a scene."""
        return rng.randint(max(self.min_shapes, at_least), self.max_shapes)


def cells(rng: Random, without: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """The free cells in random order."""
    free = [(row, column) for row in range(GRID) for column in range(GRID) if (row, column) not in without]
    rng.shuffle(free)
    return free


def other(rng: Random, choices: Sequence[str], than: str | None) -> str:
    """One of the choices, but not the one given."""
    return rng.choice([choice for choice in choices if choice != than])
