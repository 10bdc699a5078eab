"""The codecs of tiny models that speak, in closed form: tokens for the pitch of each 50 ms of a sound, and sines for tokens.

One tells each pitch by one token; the other by a step of three, each of which refines what those before it say.

Published checkpoints decode tokens with networks of their own and ship no encoder. `model.speech.encoder` and
`model.speech.decoder` name functions such as these.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from aa_lightning.media.audio import Sound, resampled

RATE = 16_000
STEP = RATE // 20  # samples that a token stands for
CODES = 34  # silence, and 33 pitches
STEPS = (8, 5, 3)  # silence and ranges of pitches, the pitches of a range, and how often loudness is halved
_LOWEST, _PER_OCTAVE = 200.0, 8  # Hz
_QUIET, _LOUD = 0.05, 0.5  # shares of full scale: what counts as silence, and how loud tokens sound
_RAMP = 80  # samples in which a tone swells and fades


def encode(sound: Sound) -> list[int]:
    """One token for each 50 ms: 0 for silence, else 1 + the number of the nearest pitch. What is left at the end is
    dropped, and so are loudness and timbre."""
    return [_token(frame) for frame in _frames(sound)]


def decode(codes: list[int]) -> Sound:
    """Silence and sines; tokens of one pitch in a row are one tone."""
    return _joined([_tone(code, STEP * len(list(run))) for code, run in groupby(codes)])


def encode_steps(sound: Sound) -> list[list[int]]:
    """Three tokens for each 50 ms: the range of its pitch (0 for silence), the pitch within the range, and how loud it is."""
    return [_step(frame) for frame in _frames(sound)]


def decode_steps(steps: list[list[int]]) -> Sound:
    """Silence and sines, as loud as the steps say."""
    pieces = []
    for (coarse, fine, halved), run in groupby(map(tuple, steps)):
        code = 0 if coarse == 0 else min((coarse - 1) * STEPS[1] + fine + 1, CODES - 1)
        pieces.append(_tone(code, STEP * len(list(run))) / 2**halved)
    return _joined(pieces)


def _frames(sound: Sound) -> np.ndarray:
    samples = resampled(sound, RATE).samples
    return samples[: len(samples) // STEP * STEP].reshape(-1, STEP)


def _joined(pieces: list[np.ndarray]) -> Sound:
    return Sound(np.concatenate([np.zeros(0), *pieces]).astype(np.float32), RATE)


def _step(frame: np.ndarray) -> list[int]:
    code = _token(frame)
    if code == 0:
        return [0, 0, 0]
    coarse, fine = divmod(code - 1, STEPS[1])
    halved = round(np.log2(_LOUD / np.abs(frame).max()))
    return [1 + coarse, fine, min(max(halved, 0), STEPS[2] - 1)]


def _token(frame: np.ndarray) -> int:
    if np.sqrt((frame**2).mean()) < _QUIET:
        return 0
    spectrum = np.abs(np.fft.rfft(frame * np.hanning(STEP), 8 * STEP))
    hertz = max(spectrum.argmax() * RATE / (8 * STEP), _LOWEST)
    return 1 + min(round(_PER_OCTAVE * np.log2(hertz / _LOWEST)), CODES - 2)


def _tone(code: int, length: int) -> np.ndarray:
    if code == 0:
        return np.zeros(length)
    place = np.arange(length)
    hertz = _LOWEST * 2 ** ((code - 1) / _PER_OCTAVE)
    ramp = (np.minimum(place, length - place) / _RAMP).clip(0, 1)
    return _LOUD * ramp * np.sin(2 * np.pi * hertz * place / RATE)
