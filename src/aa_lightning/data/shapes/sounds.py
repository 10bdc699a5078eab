"""Melodies: tones one after another, and their sound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Literal, get_args

from aa_lightning.data.shapes.scenes import other

if TYPE_CHECKING:
    import numpy as np

    from aa_lightning.media.audio import Sound  # this module is read with the options, before anything heavy

Pitch = Literal["low", "middle", "high"]
Timbre = Literal["beep", "buzz", "hum"]
HERTZ: dict[str, float] = {"low": 300.0, "middle": 700.0, "high": 1600.0}
TIMBRES: tuple[Timbre, ...] = get_args(Timbre)
TONE = 0.2  # seconds
GAPS = {"fast": 0.05, "slow": 0.15}  # seconds of silence after a tone
DETUNE = 30  # thousandths of a tone's frequency
_RAMP = 0.01  # seconds in which a tone swells and fades, so that it does not click


@dataclass(frozen=True)
class Tone:
    """One sound. `detune` moves its frequency by thousandths, `loudness` is in hundredths of full scale."""

    pitch: str
    timbre: str
    detune: int = 0
    loudness: int = 50

    @property
    def look(self) -> tuple[str, str]:
        return self.pitch, self.timbre


@dataclass(frozen=True)
class Melody:
    """Tones, the first one first, and whether they follow each other fast or slowly."""

    tones: tuple[Tone, ...]
    pace: str = "fast"
    noise_seed: int = 0

    @property
    def key(self) -> str:
        """Description in words: two melodies of one key differ in detuning, loudness and noise alone."""
        return "|".join(f"{t.pitch} {t.timbre}" for t in self.tones) + self.pace

    @property
    def truth(self) -> str:
        """The ground truth as JSON."""
        return json.dumps({"pace": self.pace, "tones": [asdict(t) for t in self.tones]})

    @property
    def media(self) -> dict[str, Melody]:
        return {"audio": self}

    def with_tone(self, number: int, tone: Tone) -> Melody:
        """This melody with one tone replaced."""
        return replace(self, tones=(*self.tones[:number], tone, *self.tones[number + 1 :]))


@dataclass(frozen=True)
class Band:
    """Pitches and timbres that there may be, and the number of tones."""

    pitches: Sequence[str]
    timbres: Sequence[str]
    min_tones: int
    max_tones: int

    def tone(
        self,
        rng: Random,
        *,
        pitch: str | None = None,
        timbre: str | None = None,
        not_pitch: str | None = None,
        not_timbre: str | None = None,
    ) -> Tone:
        """A random tone, with a fixed or an excluded pitch or timbre."""
        return Tone(
            pitch=pitch or other(rng, self.pitches, not_pitch),
            timbre=timbre or other(rng, self.timbres, not_timbre),
            detune=rng.randint(-DETUNE, DETUNE),
            loudness=rng.randint(30, 60),
        )

    def count(self, rng: Random, at_least: int = 1) -> int:
        """Sample the number of tones of a melody."""
        return rng.randint(max(self.min_tones, at_least), self.max_tones)


def make_melody(tones: Iterable[Tone], rng: Random, pace: str | None = None) -> Melody:
    """A melody of the given tones, in the order given."""
    return Melody(tuple(tones), pace or rng.choice(list(GAPS)), noise_seed=rng.randrange(2**31))


def play(melody: Melody, rate: int, noise: float = 0.0) -> Sound:
    """The sound of a melody.

    Args:
        melody: what there is.
        rate: samples per second.
        noise: standard deviation of white noise, as a share of full scale, the same whenever this melody is played.
    """
    import numpy as np

    from aa_lightning.media.audio import Sound

    gap = np.zeros(round(GAPS[melody.pace] * rate))
    samples = np.concatenate([piece for tone in melody.tones for piece in (_wave(tone, rate), gap)])
    if noise:
        samples = samples + np.random.default_rng(melody.noise_seed).normal(0, noise, len(samples))
    return Sound(samples.clip(-1, 1).astype(np.float32), rate)


def _wave(tone: Tone, rate: int) -> np.ndarray:
    """beep: a sine; buzz: its odd harmonics too, up to a third of the rate; hum: a sine that swells 25 times a second."""
    import numpy as np

    t = np.arange(round(TONE * rate)) / rate
    hertz = HERTZ[tone.pitch] * (1 + tone.detune / 1000)
    wave = np.sin(2 * np.pi * hertz * t)
    if tone.timbre == "buzz":
        wave = sum(np.sin(2 * np.pi * n * hertz * t) / n for n in range(1, 12, 2) if n * hertz < rate / 3)
    elif tone.timbre == "hum":
        wave = wave * (0.5 - 0.5 * np.cos(2 * np.pi * 25 * t))
    ramp = (np.minimum(t, TONE - t) / _RAMP).clip(0, 1)
    return wave * ramp * tone.loudness / 100
