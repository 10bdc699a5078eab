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

from aa_lightning.media import stored
from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import ImageOptions

_DEFAULTS = ImageOptions()
# PostScript and metafiles are left out: Pillow hands them to other programs
_COMMON = ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "DIB", "TIFF"]
_RARE = ["PPM", "ICO", "ICNS", "TGA", "JPEG2000", "PCX", "SGI", "QOI", "DDS", "PSD"]
BROKEN_FILE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def decode(value: Any, options: ImageOptions = _DEFAULTS) -> Image.Image:
    """An upright RGB image.

    Transparent pixels become white, 16-bit greys are scaled to 8 bits, of an animation the first frame is taken.

    Args:
        value: the bytes of a file, a path, a hub struct `{"bytes", "path"}`, a PIL image, an array (height, width) or
            (height, width, 1 | 3 | 4), `Base64`, `Url`, or a function without arguments that returns one of these.
        options: a picture above their limits is refused before it is decoded.

    Raises:
        MediaError: the value is not a picture, or too large.
    """
    if isinstance(value, Image.Image):
        return _upright_rgb(value, options.max_pixels)
    if isinstance(value, np.ndarray):
        return _upright_rgb(_from_array(value), options.max_pixels)
    if isinstance(value, Callable):
        return decode(value(), options)
    content = stored.read(value, "picture", options.max_bytes)
    with (
        readable("picture", f"{len(content)} bytes{stored.origin(value)}"),
        Image.open(io.BytesIO(content), formats=[*_COMMON, *_RARE]) as opened,
    ):
        return _upright_rgb(opened, options.max_pixels)


def save(image: Image.Image, path: Path) -> None:
    """Write a picture; the ending of the path says in which format."""
    image.save(path)


@contextmanager
def readable(noun: str, what: str = "bytes") -> Iterator[None]:
    """Whatever Pillow finds wrong with a file becomes a MediaError."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except MediaError:
        raise
    except BROKEN_FILE as error:
        raise MediaError(f"The {what} are not a {noun} that can be decoded ({_reason(error)}).") from error


def check(value: Any) -> None:
    """Raise what is wrong with a value as far as it shows without decoding it.

    Raises:
        MediaError: there is nothing, or no such file.
    """
    if isinstance(value, np.ndarray):
        _from_array(value)
    elif not isinstance(value, Image.Image | Callable):
        stored.check(value, "picture")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise MediaError(f"An array of shape {array.shape} is no picture: give (height, width) or (height, width, 3).")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = (array / 257).round().astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MediaError("An array of floats must hold values between 0 and 1; give 0 to 255 as uint8.")
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MediaError(f"An array of type {array.dtype} is no picture: give uint8, uint16, or floats from 0 to 1.")
    return Image.fromarray(np.ascontiguousarray(array))


def _upright_rgb(image: Image.Image, max_pixels: int) -> Image.Image:
    if image.width * image.height > max_pixels:
        raise MediaError(f"The picture has {image.width} x {image.height} pixels; the limit is {max_pixels}.")
    if image.width == 0 or image.height == 0:
        raise MediaError(f"The picture is empty: {image.width} x {image.height} pixels.")
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB":
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bit(np.asarray(image)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(grey: np.ndarray) -> Image.Image:
    """Deep greys: floats up to 1 count as shares of white, integers above 255 as 16 bits."""
    top = float(grey.max())
    if np.issubdtype(grey.dtype, np.floating) and top <= 1:
        scale = 255.0
    else:
        scale = 1 / 257 if grey.dtype == np.uint16 or top > 255 else 1.0
    return Image.fromarray((grey * scale).round().clip(0, 255).astype(np.uint8))


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    return str(error) or type(error).__name__
