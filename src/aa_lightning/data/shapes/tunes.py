"""Melody tasks: a request in words, the words of the answer, tones that are right and tones that are not.

Both answers use the same words, so that only the sound can be preferred. Right and wrong tunes have the same
distribution, so no tune is preferred for how it sounds alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from aa_lightning.data.shapes.drawings import DrawingRequest
from aa_lightning.data.shapes.language import NUMBERS, plural, sentence
from aa_lightning.data.shapes.scenes import other
from aa_lightning.data.shapes.sounds import Band, Melody, Tone, make_melody


def play_pitch(band: Band, rng: Random) -> DrawingRequest:
    """Play a low tone, then a high tone. One tone of the wrong tune has another pitch."""
    pitches = [rng.choice(list(band.pitches)) for _ in range(band.count(rng))]
    wrong, place = list(pitches), rng.randrange(len(pitches))
    wrong[place] = other(rng, band.pitches, pitches[place])
    return _request(_one_by_one(pitches), _one_by_one(wrong), pitches, wrong, rng)


def play_order(band: Band, rng: Random) -> DrawingRequest:
    """Play a low tone, then a high tone. In the wrong tune two tones have changed places."""
    pitches = [rng.choice(list(band.pitches)) for _ in range(band.count(rng, at_least=2))]
    i, j = rng.sample(range(len(pitches)), 2)
    if pitches[i] == pitches[j]:
        pitches[j] = other(rng, band.pitches, pitches[i])
    wrong = list(pitches)
    wrong[i], wrong[j] = wrong[j], wrong[i]
    return _request(_one_by_one(pitches), _one_by_one(wrong), pitches, wrong, rng)


def play_count(band: Band, rng: Random) -> DrawingRequest:
    """Play three high tones. The wrong tune has more or fewer."""
    pitch = rng.choice(list(band.pitches))
    count, wrong = rng.sample(range(1, band.max_tones + 1), 2)
    return _request(_counted(pitch, count), _counted(pitch, wrong), [pitch] * count, [pitch] * wrong, rng)


def _request(asked: str, heard: str, right: Sequence[str], wrong: Sequence[str], rng: Random) -> DrawingRequest:
    return DrawingRequest(
        text=sentence(f"play {asked}"),
        said=sentence(asked),
        scene=_tune(right, rng),
        wrong_scene=_tune(wrong, rng),
        answer=" ".join(right),
        critique=f"Wrong: this is {heard}, not {asked}.",
    )


def _tune(pitches: Sequence[str], rng: Random) -> Melody:
    """Beeps in tune, one soon after the other."""
    return make_melody([Tone(pitch, "beep", loudness=rng.randint(30, 60)) for pitch in pitches], rng, pace="fast")


def _one_by_one(pitches: Sequence[str]) -> str:
    return ", then ".join(f"a {pitch} tone" for pitch in pitches)


def _counted(pitch: str, count: int) -> str:
    return f"{NUMBERS[count]} {pitch} {plural('tone', count)}"


TUNES: dict[str, Callable[[Band, Random], DrawingRequest]] = {
    "pitch": play_pitch,
    "order": play_order,
    "count": play_count,
}
