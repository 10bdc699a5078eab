"""The codec of tiny models that speak, in closed form: a token for the pitch of each 50 ms of a sound, and sines for tokens.

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
_LOWEST, _PER_OCTAVE = 200.0, 8  # Hz
_QUIET, _LOUD = 0.05, 0.5  # shares of full scale: what counts as silence, and how loud tokens sound
_RAMP = 80  # samples in which a tone swells and fades


def encode(sound: Sound) -> list[int]:
    """One token for each 50 ms: 0 for silence, else 1 + the number of the nearest pitch. What is left at the end is
    dropped, and so are loudness and timbre."""
    samples = resampled(sound, RATE).samples
    return [_token(frame) for frame in samples[: len(samples) // STEP * STEP].reshape(-1, STEP)]


def decode(codes: list[int]) -> Sound:
    """Silence and sines; tokens of one pitch in a row are one tone."""
    pieces = [_tone(code, STEP * len(list(run))) for code, run in groupby(codes)]
    return Sound(np.concatenate([np.zeros(0), *pieces]).astype(np.float32), RATE)


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
