"""Sounds: from whatever a data set stores to mono float samples of bounded length."""

from __future__ import annotations

import re
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aa_lightning.media import guard, storage
from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import AudioOptions, GuardOptions

RATES = (1_000, 768_000)  # Hz: what a sound of these media can have
LOUDEST = 16.0  # float samples beyond are integers in disguise
_BLOCK = 2**18  # samples of all channels read at once, so that a header that lies costs no memory
# samples as they are, or as FLAC packs them
_PLAIN = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_SIZES = re.compile(r"(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)")
_UNKNOWN = 0x7FFF0000  # bytes, and more: what programs write that do not know where their sound will end
_DEFAULTS, _GUARD = AudioOptions(), GuardOptions()


@dataclass(frozen=True, eq=False)
class Sound:
    """Mono samples, float32 (N,), and how many of them make a second."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def decode(value: Any, options: AudioOptions = _DEFAULTS, limits: GuardOptions = _GUARD) -> Sound:
    """A mono sound at its own rate; channels are averaged.

    Args:
        value: the bytes of a file (also a video with a sound track), a path, a hub struct `{"bytes", "path"}` or
            `{"array", "sampling_rate"}`, `Base64`, `Url`, a `Sound`, or a function without arguments that returns one.
        options: a sound above their limits is refused before it is decoded.
        limits: of what is decoded in the guarded process: all but WAV and FLAC files of plain samples.

    Raises:
        MediaError: the value is no sound, is empty, not finite, cut off, or too long.
    """
    if isinstance(value, Sound):
        return _checked(value.samples, value.rate, options)
    if isinstance(value, Callable):
        return decode(value(), options, limits)
    if _is_array(value):
        return _checked(_from_array(_as_array(value["array"])), value["sampling_rate"], options)
    found, origin = storage.locate(_without_rate(value), "audio", options.max_bytes), storage.origin(value)
    return _of_plain_samples(found, options) or of_arrays(
        guard.call(arrays_of_file, found, options, origin, what=f"audio{origin}", limits=limits)
    )


def check(value: Any) -> None:
    """Raise what is wrong with a value as far as it shows without decoding it.

    Raises:
        MediaError: there is nothing, or no such file.
    """
    if not _is_array(value) and not isinstance(value, Sound | Callable):
        storage.check(_without_rate(value), "audio")


def resampled(sound: Sound, rate: int) -> Sound:
    """The audio at another rate, band-limited so that nothing aliases."""
    if rate == sound.rate:
        return sound
    return Sound(_optional("soxr").resample(sound.samples, sound.rate, rate).astype(np.float32), rate)


def size(sound: Sound) -> int:
    """The bytes of a sound in memory."""
    return sound.samples.nbytes


def save(sound: Sound, path: Path | BinaryIO) -> None:
    """Write a 16-bit WAV file, or into an open one; what is louder than full scale is clipped."""
    with wave.open(str(path) if isinstance(path, Path) else path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes((sound.samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())


def of_arrays(found: guard.Arrays) -> Sound:
    """The audio that `arrays_of_file` found."""
    return Sound(found["samples"], int(found["rate"].item()))


def arrays_of_file(found: bytes | Path, options: AudioOptions, origin: str) -> guard.Arrays:
    """The audio of a file of any kind: by soundfile, or by PyAV what that does not know. For the guarded process."""
    sound = _by_soundfile(found, options) or _from_container(found, options, origin)
    return {"samples": sound.samples, "rate": np.array(sound.rate)}


def _of_plain_samples(found: bytes | Path, options: AudioOptions) -> Sound | None:
    """The audio of a WAV or FLAC file of plain samples, which is read here; None for any other."""
    with storage.stream(found) as file:
        head = file.read(12)
    plain = head.startswith(b"fLaC") or (head[:4] == b"RIFF" and head[8:] == b"WAVE")
    return _by_soundfile(found, options, _PLAIN) if plain else None


def _by_soundfile(found: bytes | Path, options: AudioOptions, codings: tuple[str, ...] | None = None) -> Sound | None:
    """The audio that soundfile reads; None where it reads none, or where the samples are coded in another way."""
    soundfile = _optional("soundfile")
    try:
        with storage.stream(found) as opened, soundfile.SoundFile(opened) as file:
            if codings is not None and file.subtype not in codings:
                return None
            _check_length(file.frames, file.samplerate, options)
            _check_whole(file)
            blocks = file.blocks(max(1, _BLOCK // file.channels), dtype="float32", always_2d=True)
            samples = _joined((_mono(block) for block in blocks), file.samplerate, options)
            return _checked(samples, file.samplerate, options)
    except MediaError:
        raise
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, OverflowError):
        return None


def _check_whole(file: Any) -> None:
    """Compare the bytes of samples that an opened file's header says with those there, as libsndfile's log has both."""
    found = _SIZES.search(file.extra_info)
    if found is not None and int(found[2]) < int(found[1]) < _UNKNOWN:
        raise MediaError(
            f"The audio is cut off: its header says that there are {found[1]} bytes of samples, and there are {found[2]}."
        )


def _from_container(found: bytes | Path, options: AudioOptions, origin: str) -> Sound:
    from aa_lightning.media import container

    with container.opened(found, "audio", origin) as file:
        rate = container.track(file, "audio", origin).rate
        _check_length(float(file.duration or 0) / 1e6 * rate, rate, options)
        return _checked(_joined(map(_mono, container.sound_blocks(file)), rate, options), rate, options)


def _joined(blocks: Iterator[np.ndarray], rate: int, options: AudioOptions) -> np.ndarray:
    """Blocks as one array, as long as they stay within the limits."""
    samples, total = np.empty(0, np.float32), 0
    for block in blocks:
        start, total = total, total + len(block)
        _check_length(total, rate, options)
        if total > len(samples):
            samples.resize(max(total, 2 * len(samples)), refcheck=False)  # in its place: no second copy
        samples[start:total] = block
    samples.resize(total, refcheck=False)
    return samples


def _mono(block: np.ndarray) -> np.ndarray:
    """The mean of the channels of samples (N, channels). What is no number is found in the whole sound."""
    with np.errstate(all="ignore"):
        return block.mean(axis=1)


def _check_length(frames: float, rate: int, options: AudioOptions) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise MediaError(f"The audio has a rate of {rate} Hz; what can be read is {RATES[0]} to {RATES[1]} Hz.")
    if frames > options.max_seconds * rate:
        raise MediaError(
            f"The audio lasts {frames / rate:.1f} s; the limit is {options.max_seconds} s (data.media.audio.max_seconds)."
        )
    if frames > options.max_samples:
        raise MediaError(
            f"The audio has {frames:.0f} samples; the limit is {options.max_samples} (data.media.audio.max_samples)."
        )


def _checked(samples: np.ndarray, rate: Any, options: AudioOptions) -> Sound:
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or rate != int(rate):
        raise MediaError(f"The sampling rate is {rate!r}; it must be a whole number of Hz.")
    _check_length(len(samples), int(rate), options)
    if len(samples) < 2:
        raise MediaError(f"The audio has {len(samples)} samples: there is nothing to hear.")
    if not np.isfinite(samples).all():
        raise MediaError("The audio has samples that are not finite (NaN or infinity).")
    loudest = float(max(samples.max(), -samples.min()))
    if loudest > LOUDEST:
        raise MediaError(f"The audio has float samples up to {loudest:.3g}; floats must lie within -1 and 1.")
    return Sound(np.ascontiguousarray(samples, dtype=np.float32), int(rate))


def _is_array(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("array") is not None and "sampling_rate" in value


def _without_rate(value: Any) -> Any:
    if isinstance(value, np.ndarray | list):
        raise MediaError("An array of samples has no rate: give {array: ..., sampling_rate: ...}.")
    return value


def _as_array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:  # lists of unequal lengths
        raise MediaError(f"The audio's array is none ({error}).") from error


def _from_array(array: np.ndarray) -> np.ndarray:
    """Mono floats of an array (N,), (N, channels) or (channels, N); integers are scaled to -1 … 1."""
    if array.ndim > 2 or array.size == 0:
        raise MediaError(f"An array of shape {array.shape} is no audio: give (samples,) or (channels, samples).")
    if array.dtype == np.uint8:
        array = (array.astype(np.float32) - 128) / 128
    elif np.issubdtype(array.dtype, np.signedinteger):
        array = _of_integers(array)
    elif not np.issubdtype(array.dtype, np.floating):
        raise MediaError(f"An array of type {array.dtype} is no audio: give floats, int16, int32 or uint8.")
    mono = array if array.ndim < 2 else array.mean(axis=int(np.argmin(array.shape)))
    return np.atleast_1d(mono).astype(np.float32)


def _of_integers(array: np.ndarray) -> np.ndarray:
    """Integers as shares of full scale; 64-bit ones (lists of a JSON file) hold 16-bit samples."""
    bits = 16 if array.dtype.itemsize == 8 else array.dtype.itemsize * 8
    return array.astype(np.float64) / 2 ** (bits - 1)


def _optional(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise MediaError("audio is read by soundfile, soxr and av: pip install 'aa-lightning[audio,video]'") from error
