"""Pictures: from whatever a data set stores to an upright 8-bit RGB image of bounded size."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from aa_lightning.media import guard, storage
from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import GuardOptions, ImageOptions

_DEFAULTS, _GUARD = ImageOptions(), GuardOptions()
# decoded here, where few pixels bound time and memory; their decoders read the whole web
_USUAL = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "GIF": b"GIF8", "WEBP": b"RIFF"}
# PostScript and metafiles are left out: Pillow hands them to other programs
_OTHERS = ["AVIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "ICNS", "TGA", "JPEG2000", "PCX", "SGI", "QOI", "DDS", "PSD"]
_SCAN, _MOST_SCANS = b"\xff\xda", 32  # of a JPEG file, which passes over all pixels once for each
_FEW = 8_000_000  # pixels; of more, a PNG file and a JPEG file without progression are held once by their decoders
_STRIP = 2**20  # pixels that are converted at once
BROKEN_FILE = (  # what Pillow's readers, most of them Python, stumble over
    *(
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def decode(value: Any, options: ImageOptions = _DEFAULTS, limits: GuardOptions = _GUARD) -> Image.Image:
    """An upright RGB image.

    Transparent pixels become white, 16-bit greys are scaled to 8 bits, of an animation the first frame is taken.

    Args:
        value: the bytes of a file, a path, a hub struct `{"bytes", "path"}`, a PIL image, an array (height, width) or
            (height, width, 1 | 3 | 4), `Base64`, `Url`, or a function without arguments that returns one of these.
        options: a picture above their limits is refused before it is decoded.
        limits: of what is decoded in the guarded process: all but usual files of PNG, JPEG, GIF and WebP.

    Raises:
        MediaError: the value is not a picture, or too large.
    """
    if isinstance(value, Image.Image):
        return _rgb(ImageOps.exif_transpose(_bounded(value, options)))
    if isinstance(value, np.ndarray):
        return _rgb(_bounded(_from_array(value), options))
    if isinstance(value, Callable):
        return decode(value(), options, limits)
    content, origin = storage.read(value, "image", options.max_bytes), storage.origin(value)
    if content.startswith(tuple(_USUAL.values())):
        with readable("image", f"{len(content)} bytes{origin}"), _opened(content, list(_USUAL)) as opened:
            if _decodes_soon(_bounded(opened, options), content):
                return _upright_rgb(opened)
    found = guard.call(_pixels, content, options, origin, what=f"image{origin}", limits=limits)
    return Image.fromarray(found["pixels"])


def _pixels(content: bytes, options: ImageOptions, origin: str) -> guard.Arrays:
    """The image of a file of any kind."""
    with readable("image", f"{len(content)} bytes{origin}"), _opened(content, [*_USUAL, *_OTHERS]) as opened:
        return {"pixels": np.asarray(_upright_rgb(_bounded(opened, options)))}


def _opened(content: bytes, formats: list[str]) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=formats)


def _decodes_soon(opened: Image.Image, content: bytes) -> bool:
    """Tell whether a file of a usual kind takes the time and memory that its pixels take, and no more."""
    if opened.format == "JPEG" and content.count(_SCAN) > _MOST_SCANS:
        return False
    lean = opened.format == "PNG" or (opened.format == "JPEG" and "progressive" not in opened.info)
    return lean or opened.width * opened.height <= _FEW


def size(image: Image.Image) -> int:
    """The bytes of a picture in memory: four for each pixel."""
    return 4 * image.width * image.height


def save(image: Image.Image, path: Path) -> None:
    """Write a picture as a PNG: 16 % more bytes than the smallest, in a quarter of the time."""
    image.save(path, format="PNG", compress_level=1)


@contextmanager
def readable(noun: str, what: str = "bytes") -> Iterator[None]:
    """Whatever Pillow finds wrong with a file becomes a MediaError."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except MediaError:
        raise
    except BROKEN_FILE as error:
        raise MediaError(f"The {what} are no {noun} that can be decoded ({_reason(error)}).") from error


def check(value: Any) -> None:
    """Raise what is wrong with a value as far as it shows without decoding it.

    Raises:
        MediaError: there is nothing, or no such file.
    """
    if isinstance(value, np.ndarray):
        _from_array(value)
    elif not isinstance(value, Image.Image | Callable):
        storage.check(value, "image")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise MediaError(f"An array of shape {array.shape} is no image: give (height, width) or (height, width, 3).")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array / 257).round().astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MediaError("An array of floats must hold values between 0 and 1; give 0 to 255 as uint8.")
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"An array of type {array.dtype} is no image: give uint8, uint16, or floats from 0 to 1.")
    return Image.fromarray(np.ascontiguousarray(array))


def _bounded(image: Image.Image, options: ImageOptions) -> Image.Image:
    if image.width * image.height > options.max_pixels:
        raise MediaError(
            f"The image has {image.width} x {image.height} pixels; the limit is {options.max_pixels} "
            "(data.media.image.max_pixels, and data.media.row_bytes for all media of a row)."
        )
    if image.width == 0 or image.height == 0:
        raise MediaError(f"The image is empty: {image.width} x {image.height} pixels.")
    return image


def _upright_rgb(opened: Image.Image) -> Image.Image:
    """The image of an opened file, which is decoded in its place: no second copy is made to turn it."""
    ImageOps.exif_transpose(opened, in_place=True)
    return _rgb(opened)


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB, converted in strips, so that a large picture is held twice and not four times."""
    if image.mode == "F" or image.mode.startswith("I"):
        scale = _scale(image)
        return _by_strips(image, lambda strip: _eight_bit(np.asarray(strip), scale))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        return _by_strips(image, _on_white)
    return image.convert("RGB")


def _by_strips(image: Image.Image, made: Callable[[Image.Image], Image.Image]) -> Image.Image:
    whole = Image.new("RGB", image.size)
    for strip in _strips(image):
        top = strip[1]
        whole.paste(made(image.crop(strip)).convert("RGB"), (0, top))
    return whole


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _on_white(strip: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip.convert("RGBA"))


def _scale(grey: Image.Image) -> float:
    """Return the factor that makes 8 bits of deep greys: floats up to 1 count as shares of white, integers above 255 as 16
    bits."""
    top = max(float(np.asarray(grey.crop(strip)).max()) for strip in _strips(grey))
    if grey.mode == "F" and top <= 1:
        return 255.0
    return 1 / 257 if grey.mode.startswith("I;16") or top > 255 else 1.0


def _eight_bit(grey: np.ndarray, scale: float) -> Image.Image:
    return Image.fromarray((grey * scale).round().clip(0, 255).astype(np.uint8))


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    return str(error) or type(error).__name__
