"""Files that are hard to read or not what they say: name → (medium, bytes, what must happen).

What must happen is `"loads"`, `"refused"`, or `"either"` for damage that a decoder may or may not survive.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image

from .media_files import RATE, animation, clip_file, greys, sound_file, tone, turned

Case = tuple[str, str, bytes, str]  # name, medium, bytes, what must happen
_JUNK = {
    "zeros": bytes(2000),
    "ones": b"\xff" * 2000,
    "text": b"The quick brown fox. " * 100,
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "json": b'{"error": "not found"}',
    "random": Random(0).randbytes(5000),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile /etc/hosts\n",
    "one_byte": b"\0",
}


def cases() -> list[Case]:
    """All of them."""
    makers = (junk, wrong_kinds, pictures, broken_pictures, sounds, broken_sounds, clips, broken_clips, damaged)
    return [case for make in makers for case in make()]


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x * 4, y * 6, (x + y) * 2], axis=-1) % 256
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def junk() -> Iterator[Case]:
    for medium in ("image", "audio", "video"):
        for name, content in _JUNK.items():
            yield f"{medium}_{name}", medium, content, "refused"


def wrong_kinds() -> Iterator[Case]:
    yield "image_mp4", "image", clip_file(greys(3)), "refused"
    yield "image_wav", "image", sound_file(tone()), "refused"
    yield "audio_png", "audio", file_of(photo(), "PNG"), "refused"
    yield "audio_mp4_without_sound", "audio", clip_file(greys(3)), "refused"
    yield "video_wav", "video", sound_file(tone()), "refused"
    yield "video_png", "video", file_of(photo(), "PNG"), "loads"
    yield "video_jpeg", "video", file_of(photo(), "JPEG"), "loads"


# ---------------------------------------------------------------- pictures


def pictures() -> Iterator[Case]:
    """Odd, but right."""
    modes = {
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
        "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("1", "L", "P", "RGB"),
        "BMP": ("1", "L", "P", "RGB"),
    }
    for kind, several in modes.items():
        for mode in several:
            yield f"image_{kind}_{mode}", "image", file_of(_in_mode(mode), kind), "loads"
    for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255):
        exif = Image.Exif()
        exif[274] = orientation
        yield f"image_exif_{orientation}", "image", file_of(photo(), "JPEG", exif=exif), "loads"
    yield "image_palette_alpha", "image", file_of(photo("P"), "PNG", transparency=bytes(range(200))), "loads"
    yield "image_one_pixel", "image", file_of(photo(size=(1, 1)), "PNG"), "loads"
    yield "image_thin", "image", file_of(photo(size=(5000, 1)), "PNG"), "loads"
    yield "image_broken_profile", "image", file_of(photo(), "JPEG", icc_profile=b"no profile" * 9), "loads"
    yield "image_long_exif", "image", file_of(photo(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 60_000), "loads"
    for kind in ("GIF", "WEBP", "PNG"):
        yield f"image_animated_{kind}", "image", animation(greys(5), kind), "loads"
        yield f"video_animated_{kind}", "video", animation(greys(5), kind), "loads"
        yield f"video_no_duration_{kind}", "video", animation(greys(5), kind, 0), "loads"


def _in_mode(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(photo("L")).astype(np.uint16) * 257)
    return photo(mode)


def broken_pictures() -> Iterator[Case]:
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        whole = file_of(photo(size=(300, 200)), kind)
        for share in (0.1, 0.5, 0.9):
            yield f"image_cut_{kind}_{share}", "image", whole[: int(len(whole) * share)], "refused"
    yield "image_huge_png", "image", _png(30_000, 30_000), "refused"
    yield "image_huger_png", "image", _png(2**31 - 1, 2**31 - 1), "refused"
    yield "image_flat_png", "image", _png(0, 10), "refused"
    yield "image_huge_gif", "image", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "refused"
    whole = file_of(photo(), "BMP")
    yield "image_huge_bmp", "image", whole[:18] + struct.pack("<ii", 30_000, 30_000) + whole[26:], "refused"
    yield "image_negative_bmp", "image", whole[:18] + struct.pack("<ii", -60, 40) + whole[26:], "refused"
    yield "image_text_bomb", "image", _png(4, 4, zlib.compress(bytes(300_000_000), 9)), "either"
    yield "image_postscript", "image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "refused"
    yield "image_black_bomb", "image", file_of(Image.new("1", (20_000, 20_000)), "PNG"), "refused"


def _png(width: int, height: int, text: bytes | None = None) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    words = b"" if text is None else chunk(b"zTXt", b"Comment\0\0" + text)
    rows = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(4)))
    return b"\x89PNG\r\n\x1a\n" + header + words + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# ---------------------------------------------------------------- sounds


def sounds() -> Iterator[Case]:
    """Odd, but right."""
    for channels in (1, 2, 6, 32):
        yield f"audio_{channels}_channels", "audio", sound_file(np.stack([tone()] * channels, axis=1)), "loads"
    for rate in (4_000, 11_025, 22_050, 96_000, 192_000):
        yield f"audio_{rate}_hertz", "audio", sound_file(tone(rate=rate), rate), "loads"
    for kind in ("FLAC", "OGG", "MP3", "AIFF"):
        yield f"audio_{kind}", "audio", sound_file(tone(), kind=kind), "loads"
    yield "audio_two_samples", "audio", sound_file(np.array([0.1, -0.1])), "loads"
    yield "audio_silence", "audio", sound_file(np.zeros(RATE)), "loads"
    yield "audio_beyond_full_scale", "audio", sound_file(tone() * 3, subtype="FLOAT"), "loads"
    yield "audio_track_of_a_video", "audio", clip_file(greys(8), sound=tone()), "loads"
    yield (
        "audio_tagged",
        "audio",
        b"ID3\x03\0\0\0\x0f\x50\x00" + bytes(256_000) + sound_file(tone(), kind="MP3"),
        "either",
    )


def broken_sounds() -> Iterator[Case]:
    for value in (np.nan, np.inf, -np.inf):
        yield f"audio_{value}", "audio", sound_file(np.array([0.0, value, 0.0]), subtype="FLOAT"), "refused"
    yield "audio_no_sample", "audio", sound_file(np.zeros(0)), "refused"
    yield "audio_one_sample", "audio", sound_file(np.zeros(1)), "refused"
    yield "audio_far_too_loud", "audio", sound_file(tone() * 1e6, subtype="FLOAT"), "refused"
    whole = sound_file(tone())
    for name, at, value, must in (
        ("rate_0", 24, 0, "refused"),
        ("rate_1", 24, 1, "refused"),
        ("rate_4e9", 24, 4_000_000_000, "refused"),
        ("size_4e9", 40, 0xFFFFFFFF, "either"),
        ("size_0", 40, 0, "refused"),
        ("riff_size_0", 4, 0, "either"),
    ):
        yield f"audio_{name}", "audio", whole[:at] + struct.pack("<I", value) + whole[at + 4 :], must
    for name, at, value in (
        ("channels_0", 22, 0),
        ("channels_65535", 22, 65535),
        ("bits_0", 34, 0),
        ("format_0", 20, 0),
    ):
        yield f"audio_{name}", "audio", whole[:at] + struct.pack("<H", value) + whole[at + 2 :], "refused"
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        whole = sound_file(tone(), kind=kind)
        yield f"audio_header_{kind}", "audio", whole[:30], "refused"
        for share in (0.5, 0.9):
            yield f"audio_cut_{kind}_{share}", "audio", whole[: int(len(whole) * share)], "either"


# ---------------------------------------------------------------- clips


def clips() -> Iterator[Case]:
    """Odd, but right."""
    for kind, codec in (("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("webm", "libvpx")):
        yield f"video_{kind}", "video", clip_file(greys(8), kind=kind, codec=codec), "loads"
        yield f"video_one_frame_{kind}", "video", clip_file(greys(1), kind=kind, codec=codec), "loads"
    for degrees in (90, 180, 270):
        yield f"video_turned_{degrees}", "video", turned(clip_file(greys(3)), degrees), "loads"
    yield "video_uneven", "video", clip_file(greys(5), kind="matroska", times=[0, 1, 2, 50, 400]), "loads"
    yield "video_sound", "video", clip_file(greys(8), sound=tone()), "loads"
    yield "video_small", "video", clip_file(greys(3, 16, 16)), "loads"
    yield "video_long", "video", clip_file(greys(2000, 16, 16)), "loads"


def broken_clips() -> Iterator[Case]:
    for kind in ("mp4", "matroska", "avi"):
        whole = clip_file(greys(24), kind=kind)
        yield f"video_no_frame_{kind}", "video", clip_file([], kind=kind) or b"\0", "refused"
        yield f"video_header_{kind}", "video", whole[:100], "refused"
        for share in (0.5, 0.9):
            yield f"video_cut_{kind}_{share}", "video", whole[: int(len(whole) * share)], "either"
    whole = clip_file(greys(3))
    at = whole.index(b"mp4v") + 28  # width and height of the sample description
    yield "video_huge", "video", whole[:at] + struct.pack(">HH", 30_000, 30_000) + whole[at + 4 :], "either"
    at = whole.index(b"mvhd") + 20  # duration in units of the time scale before it
    yield "video_endless", "video", whole[:at] + struct.pack(">I", 0xFFFFFFF0) + whole[at + 4 :], "either"


def damaged() -> Iterator[Case]:
    """Whole files with some bytes changed, the same ones every time."""
    rng = Random(1)
    files = {
        "image_png": ("image", file_of(photo(), "PNG")),
        "image_jpeg": ("image", file_of(photo(), "JPEG")),
        "image_webp": ("image", file_of(photo(), "WEBP")),
        "image_gif": ("image", animation(greys(3))),
        "audio_wav": ("audio", sound_file(tone())),
        "audio_flac": ("audio", sound_file(tone(), kind="FLAC")),
        "audio_ogg": ("audio", sound_file(tone(), kind="OGG")),
        "audio_mp3": ("audio", sound_file(tone(), kind="MP3")),
        "video_mp4": ("video", clip_file(greys(12))),
        "video_mkv": ("video", clip_file(greys(12), kind="matroska")),
        "video_avi": ("video", clip_file(greys(12), kind="avi")),
        "video_gif": ("video", animation(greys(5))),
    }
    for name, (medium, whole) in files.items():
        for number, share in enumerate((0.001, 0.01, 0.1)):
            spoiled = bytearray(whole)
            for _ in range(max(3, int(len(whole) * share))):
                spoiled[rng.randrange(len(whole))] = rng.randrange(256)
            yield f"{name}_damaged_{number}", medium, bytes(spoiled), "either"
