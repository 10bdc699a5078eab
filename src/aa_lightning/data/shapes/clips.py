"""Films: figures that cross the picture, appear and disappear, and how that looks frame by frame."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from aa_lightning.data.shapes.render import draw
from aa_lightning.data.shapes.scenes import GRID, Figure, Palette, Scene

if TYPE_CHECKING:
    from aa_lightning.media.video import Clip  # this module is read with the options, before anything heavy

AXES = {"across": ("left", "right"), "along": ("up", "down")}
BACK = {"left": "right", "right": "left", "up": "down", "down": "up"}
STAYS = "stays"
LANES = GRID  # figures keep to lanes of their own, so that none hides another
_STEP = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0), STAYS: (0, 0)}


@dataclass(frozen=True)
class Mover:
    """A figure at its first cell, how it moves, and the share of the clip from which and until which it is there."""

    figure: Figure
    motion: str = STAYS
    enters: float = 0.0
    leaves: float = 1.0

    @property
    def look(self) -> tuple[str, str]:
        return self.figure.look

    def at(self, share: float) -> Figure | None:
        """Locate the figure when this share of the clip is over; None: it is not there."""
        if not self.enters <= share <= self.leaves:
            return None
        down, right = (round(step * (GRID - 1) * 100 * share) for step in _STEP[self.motion])
        return replace(self.figure, shift=(self.figure.shift[0] + down, self.figure.shift[1] + right))


@dataclass(frozen=True)
class Film:
    """Movers, in the order of their lanes: from top to bottom, or from left to right."""

    movers: tuple[Mover, ...]
    noise_seed: int = 0

    @property
    def key(self) -> str:
        """Description in words: two films of one key differ in shift and noise alone."""
        return "|".join(
            f"{m.look} {m.figure.large} {m.figure.cell} {m.motion} {m.enters} {m.leaves}" for m in self.movers
        )

    @property
    def truth(self) -> str:
        """The ground truth as JSON."""
        return json.dumps([asdict(m) for m in self.movers])

    @property
    def media(self) -> dict[str, Film]:
        return {"video": self}

    def with_mover(self, old: Mover, new: Mover) -> Film:
        """This film with one mover replaced."""
        return replace(self, movers=tuple(new if m == old else m for m in self.movers))


def make_film(movers: Iterable[Mover], rng: Random) -> Film:
    """A film of the given movers, in the order given."""
    return Film(tuple(movers), noise_seed=rng.randrange(2**31))


def start(axis: str, lane: int, motion: str, rng: Random) -> tuple[int, int]:
    """The first cell of a figure in a lane: at the far end of its motion, or anywhere if it stays."""
    place = rng.randrange(GRID) if motion == STAYS else GRID - 1 if motion in ("left", "up") else 0
    return (lane, place) if axis == "across" else (place, lane)


def cast(
    palette: Palette, rng: Random, looks: Iterable[tuple[str, str]], motions: Iterable[str], axis: str
) -> list[Mover]:
    """Figures of given looks and motions, one in each lane, in the order of lanes."""
    told = list(zip(looks, motions, strict=True))
    lanes = sorted(rng.sample(range(LANES), len(told)))
    return [
        Mover(palette.figure(rng, start(axis, lane, motion, rng), colour=look[0], shape=look[1]), motion)
        for lane, (look, motion) in zip(lanes, told, strict=True)
    ]


def shoot(film: Film, image_size: int, frames: int, fps: float, noise: float = 0.0) -> Clip:
    """The clip of a film.

    Args:
        film: what there is.
        image_size: width and height in pixels.
        frames: how many, evenly spread over the film.
        fps: frames per second.
        noise: standard deviation of grey noise, in levels of 0 to 255, the same whenever this film is shot.
    """
    import numpy as np

    from aa_lightning.media.video import Clip

    pictures = [draw(_moment(film, i / (frames - 1), i), image_size, noise) for i in range(frames)]
    return Clip(np.stack([np.asarray(picture) for picture in pictures]), np.arange(frames) / fps)


def _moment(film: Film, share: float, number: int) -> Scene:
    there = [figure for mover in film.movers if (figure := mover.at(share)) is not None]
    return Scene(tuple(there), noise_seed=film.noise_seed + number)
