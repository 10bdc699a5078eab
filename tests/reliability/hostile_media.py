"""Files of every medium as strangers may send them: intact ones with something in them changed, and small ones that grow."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from data.hostile_files import _png, file_of, photo
from data.media_files import RATE, animation, clip_file, greys, sound_file, tone

PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "PPM", "AVIF", "JPEG2000")
SOUNDS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64")


@cache
def intact() -> dict[str, tuple[str, bytes]]:
    """Whole files of every kind: name → (medium, bytes)."""
    drawn = photo(size=(96, 64))
    pictures = {kind: file_of(drawn, kind) for kind in PICTURES}
    pictures["progressive"] = file_of(drawn, "JPEG", progressive=True)
    pictures["alpha"] = file_of(drawn.convert("RGBA"), "PNG")
    sounds = {kind: sound_file(tone(), kind=kind) for kind in SOUNDS}
    sounds["stereo"] = sound_file(np.stack([tone(), -tone()], axis=1))
    sounds["floats"] = sound_file(tone(), subtype="FLOAT")
    clips = {kind: clip_file(greys(12), kind=kind, sound=tone()) for kind in ("mp4", "matroska")}
    clips |= {"avi": clip_file(greys(12), kind="avi"), "webm": clip_file(greys(8), kind="webm", codec="libvpx")}
    clips |= {f"animated {kind}": animation(greys(5), kind) for kind in ("GIF", "WEBP", "PNG")}
    kinds = (("image", pictures), ("audio", sounds), ("video", clips))
    return {f"{medium} {name}": (medium, content) for medium, files in kinds for name, content in files.items()}


def spoiled(rng: Random) -> tuple[str, bytes, str]:
    """The medium that a file is said to be, its bytes, and what was done to it."""
    name = rng.choice(list(intact()))
    medium, content = intact()[name]
    change = rng.choice(CHANGES)
    said = medium if rng.random() < 0.9 else rng.choice(["image", "audio", "video"])
    return said, change(rng, content), f"{change.__name__} {name} as {said}"


def cut(rng: Random, whole: bytes) -> bytes:
    return whole[: rng.randrange(len(whole))]


def swapped(rng: Random, whole: bytes) -> bytes:
    """Some bytes are others."""
    changed = bytearray(whole)
    for _ in range(rng.choice([1, 3, 30, len(whole) // 20 + 1])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def overwritten(rng: Random, whole: bytes) -> bytes:
    """A field of the first bytes says zero, all bits, or something huge."""
    width = rng.choice([1, 2, 4])
    at = rng.randrange(min(len(whole), 200) - width)
    ones = b"\xff" * (width - 1)
    field = rng.choice([bytes(width), b"\xff" + ones, b"\x7f" + ones, bytes(width - 1) + b"\x80"])
    return whole[:at] + field + whole[at + width :]


def mingled(rng: Random, whole: bytes) -> bytes:
    """Two files in one."""
    other = rng.choice(list(intact().values()))[1]
    middle = len(whole) // 2
    return rng.choice(
        [whole + other, other[: rng.randrange(4, 64)] + whole, whole[:32] + other, whole[:middle] + other]
    )


def stuffed(rng: Random, whole: bytes) -> bytes:
    at = rng.randrange(len(whole))
    return whole[:at] + rng.choice([bytes(5000), rng.randbytes(5000), whole[at : at + 500] * 9]) + whole[at:]


def untouched(rng: Random, whole: bytes) -> bytes:
    return whole


CHANGES: tuple[Callable[[Random, bytes], bytes], ...] = (
    *(cut, swapped, overwritten, overwritten),
    *(mingled, stuffed, untouched),
)

# ---------------------------------------------------------------- small files that are large once they are decoded

WIDE = (7000, 7000)  # 49 million pixels, a little less than the limit
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a wide picture": ("image", lambda: file_of(Image.new("RGB", WIDE), "PNG")),
    "one with transparency": ("image", lambda: file_of(Image.new("RGBA", WIDE), "PNG")),
    "one that is turned": ("image", lambda: file_of(Image.new("RGB", WIDE), "JPEG", exif=_on_its_side())),
    "one in 16 bits": ("image", lambda: file_of(Image.fromarray(np.zeros(WIDE, np.uint16)), "PNG")),
    "one in TIFF": ("image", lambda: file_of(Image.new("RGB", WIDE), "TIFF", compression="tiff_lzw")),
    "one that is progressive": ("image", lambda: file_of(Image.new("RGB", WIDE), "JPEG", progressive=True)),
    "one in WebP": ("image", lambda: file_of(Image.new("RGBA", WIDE), "WEBP", lossless=True)),
    "many wide pictures": ("image", lambda: file_of(Image.new("RGB", WIDE), "PNG")),
    "many narrow pictures": ("image", lambda: file_of(Image.new("RGB", (3000, 2000)), "PNG")),
    "many sounds": ("audio", lambda: sound_file(np.zeros(300 * RATE), kind="FLAC")),
    "900 million pixels": ("image", lambda: _png(30_000, 30_000)),
    "an animation in GIF": ("video", lambda: _flicker("GIF", 100)),
    "an animation in WebP": ("video", lambda: _flicker("WEBP", 40)),
    "an animation in PNG": ("video", lambda: _flicker("PNG", 120)),
    "ten minutes of silence": ("audio", lambda: sound_file(np.zeros(600 * 44_100), 44_100, kind="FLAC")),
    "an hour of silence": ("audio", lambda: sound_file(np.zeros(3600 * RATE), kind="FLAC")),
    "silence that is coded": ("audio", lambda: sound_file(np.zeros(590 * 48_000), 48_000, kind="MP3")),
    "a long clip": ("video", lambda: clip_file(greys(3000, 320, 240))),
    "a clip of large frames": ("video", lambda: clip_file([np.zeros((3000, 4000, 3), np.uint8)] * 6)),
}


def _flicker(kind: str, count: int) -> bytes:
    """Two greys in turn, of 7.7 million pixels each; they are in memory once."""
    one, other = (Image.new("RGB", (3200, 2400), grey) for grey in ("black", "grey"))
    return file_of(one, kind, save_all=True, append_images=[other, *[one, other] * (count // 2 - 1)], duration=100)


def _on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif
