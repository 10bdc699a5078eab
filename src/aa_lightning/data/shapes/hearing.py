"""Recognition of the tones that a sound of Shapes plays, from its samples: one tone for each stretch of one pitch between
silences."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from aa_lightning.data.shapes.sounds import HERTZ

if TYPE_CHECKING:
    from aa_lightning.media.audio import Sound

_WINDOW = 0.025  # seconds in which one pitch is heard; tones and gaps of Shapes are multiples of it
_SHORTEST = 2  # windows of a tone: one alone may lie across the border of two
_QUIET = 0.02  # share of full scale
_NEAR = 0.15  # how far a tone may lie from its pitch, as a share of it
_FINE = 8  # how much finer than a window's own resolution the spectrum is read


def hear_tones(sound: Sound) -> list[str]:
    """The pitch of every tone, the first one first; `other` for a tone near none of the pitches of Shapes."""
    step = round(_WINDOW * sound.rate)
    windows = sound.samples[: len(sound.samples) // step * step].reshape(-1, step)
    runs = [(pitch, len(list(run))) for pitch, run in groupby(_pitch(window, sound.rate) for window in windows)]
    return [pitch for pitch, length in runs if pitch is not None and length >= _SHORTEST]


def can_check_sound(expected: str) -> bool:
    """Tell whether an expected answer names pitches of Shapes, so that a sound can be checked with it."""
    return bool(_pitches(expected))


def check_sound(expected: str, sound: Sound) -> bool:
    """Tell whether a sound plays exactly the tones that are expected, in their order.

    Args:
        expected: pitches in order, such as `low high high`.
        sound: what a model played.

    Raises:
        ValueError: it names no pitch.
    """
    return _checkable(expected) == hear_tones(sound)


def score_sound(expected: str, sound: Sound) -> float:
    """Grade a sound by the tones that are expected, from 0 to 1: the longest sequence of them that is heard in their
    order, twice its length over all tones that are expected or heard.

    Args:
        expected: pitches in order, such as `low high high`.
        sound: what a model played.

    Raises:
        ValueError: it names no pitch.
    """
    wanted, heard = _checkable(expected), hear_tones(sound)
    above = [0] * (len(heard) + 1)
    for pitch in wanted:
        row = [0]
        for place, tone in enumerate(heard, 1):
            row.append(above[place - 1] + 1 if pitch == tone else max(above[place], row[-1]))
        above = row
    return 2 * above[-1] / (len(wanted) + len(heard))


def _checkable(expected: str) -> list[str]:
    if not can_check_sound(expected):
        raise ValueError(f"{expected!r} names no pitch of Shapes, so no sound can be checked with it")
    return _pitches(expected)


def _pitches(expected: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", expected.lower()) if word in HERTZ]


def _pitch(window: np.ndarray, rate: int) -> str | None:
    """The name of the loudest frequency; None: silence."""
    if np.sqrt((window**2).mean()) < _QUIET:
        return None
    size = _FINE * len(window)
    hertz = np.abs(np.fft.rfft(window * np.hanning(len(window)), size)).argmax() * rate / size
    name = min(HERTZ, key=lambda pitch: abs(hertz - HERTZ[pitch]) / HERTZ[pitch])
    return name if abs(hertz - HERTZ[name]) <= _NEAR * HERTZ[name] else "other"
