"""Transforms of one image, sound or clip: each a pure function of it, the options and a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip

GREY = (128, 128, 128)


# ---------------------------------------------------------------- pictures


def _blank_image(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    return Image.new("RGB", image.size, GREY)


def _blur_image(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(options.blur * max(image.size)))


def _crop_image(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    width, height = (max(1, round(side * options.crop)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _noisy(pixels: np.ndarray, options: CorruptionOptions, rng: Random) -> np.ndarray:
    added = _normal(rng, pixels.shape) * options.noise
    return (pixels + added).round().clip(0, 255).astype(np.uint8)


def _diffused(pixels: np.ndarray, options: CorruptionOptions, rng: Random) -> np.ndarray:
    kept, noise = diffusion(options.step)
    faded = kept * pixels + noise * 255 * _normal(rng, pixels.shape)
    return faded.round().clip(0, 255).astype(np.uint8)


def diffusion(step: int) -> tuple[float, float]:
    """√ᾱ and √(1 − ᾱ), what stays of pixels between 0 and 1 and what comes of noise, at a step of 1000.

    POVID (2402.11411): ᾱ = Π (1 − β), with β from 1e-5 to 5e-3 along a sigmoid.
    """
    rising = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000)))
    kept = np.prod(1 - (rising * (5e-3 - 1e-5) + 1e-5)[: step + 1])
    return float(np.sqrt(kept)), float(np.sqrt(1 - kept))


# ---------------------------------------------------------------- sounds


def _blank_sound(sound: Sound, options: CorruptionOptions, rng: Random) -> Sound:
    return replace(sound, samples=np.zeros_like(sound.samples))


def _noise_sound(sound: Sound, options: CorruptionOptions, rng: Random) -> Sound:
    loudness = float(np.sqrt(np.mean(sound.samples**2)))
    added = _normal(rng, sound.samples.shape) * options.hiss * loudness
    return replace(sound, samples=(sound.samples + added).astype(np.float32))


def _mute_sound(sound: Sound, options: CorruptionOptions, rng: Random) -> Sound:
    start, stop = _window(len(sound.samples), options, rng)
    samples = sound.samples.copy()
    samples[start:stop] = 0
    return replace(sound, samples=samples)


def _reverse_sound(sound: Sound, options: CorruptionOptions, rng: Random) -> Sound:
    return replace(sound, samples=np.ascontiguousarray(sound.samples[::-1]))


# ---------------------------------------------------------------- clips; their times stay, unless frames go


def _blank_clip(clip: Clip, options: CorruptionOptions, rng: Random) -> Clip:
    sound = None if clip.sound is None else _blank_sound(clip.sound, options, rng)
    return replace(clip, frames=np.full_like(clip.frames, GREY), sound=sound)


def _shuffle_clip(clip: Clip, options: CorruptionOptions, rng: Random) -> Clip:
    """No frame stays at its place, where there are two or more."""
    order = list(range(len(clip.frames)))
    rng.shuffle(order)
    moved = np.empty(len(order), int)
    moved[order] = np.roll(order, 1)  # one cycle through all places
    return replace(clip, frames=clip.frames[moved])


def _drop_clip(clip: Clip, options: CorruptionOptions, rng: Random) -> Clip:
    kept = max(1, round(len(clip.frames) * (1 - options.share)))
    rows = sorted(rng.sample(range(len(clip.frames)), kept))
    return replace(clip, frames=clip.frames[rows], times=clip.times[rows])


def _freeze_clip(clip: Clip, options: CorruptionOptions, rng: Random) -> Clip:
    """The frame at the start of a random window stands still until the end of it."""
    start, stop = _window(len(clip.frames), options, rng)
    frames = clip.frames.copy()
    frames[start:stop] = frames[start]
    return replace(clip, frames=frames)


def _reverse_clip(clip: Clip, options: CorruptionOptions, rng: Random) -> Clip:
    sound = None if clip.sound is None else _reverse_sound(clip.sound, options, rng)
    return replace(clip, frames=np.ascontiguousarray(clip.frames[::-1]), sound=sound)


def _window(length: int, options: CorruptionOptions, rng: Random) -> tuple[int, int]:
    """A random stretch of the given share, two places or more where there are two."""
    size = min(length, max(2, round(length * options.share)))
    start = rng.randint(0, length - size)
    return start, start + size


def _normal(rng: Random, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(rng.randrange(2**32)).normal(0, 1, shape)


Transform = Callable[[Any, CorruptionOptions, Random], Any]


def _of_image(change: Transform) -> Transform:
    """A change of pixels, for a picture."""
    return lambda image, options, rng: Image.fromarray(change(np.asarray(image), options, rng))


def _of_clip(change: Transform) -> Transform:
    """A change of pixels, for all frames of a clip."""
    return lambda clip, options, rng: replace(clip, frames=change(clip.frames, options, rng))


TRANSFORMS: dict[str, dict[str, Transform]] = {
    "image": {
        "blank": _blank_image,
        "noise": _of_image(_noisy),
        "diffuse": _of_image(_diffused),
        "blur": _blur_image,
        "crop": _crop_image,
    },
    "audio": {"blank": _blank_sound, "noise": _noise_sound, "mute": _mute_sound, "reverse": _reverse_sound},
    "video": {
        "blank": _blank_clip,
        "noise": _of_clip(_noisy),
        "diffuse": _of_clip(_diffused),
        "shuffle": _shuffle_clip,
        "drop": _drop_clip,
        "freeze": _freeze_clip,
        "reverse": _reverse_clip,
    },
}


def media_differ(medium: str, one: Any, two: Any) -> bool:
    """Tell whether two decoded media of one kind show something else."""
    if medium == "image":
        return one.size != two.size or one.tobytes() != two.tobytes()
    if medium == "audio":
        return one.rate != two.rate or not np.array_equal(one.samples, two.samples)
    return not np.array_equal(one.frames, two.frames)
