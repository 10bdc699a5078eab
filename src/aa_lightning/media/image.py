"""Pictures: from whatever a data set stores to an upright 8-bit RGB image of bounded size."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import urllib.request
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from aa_lightning.media.errors import MediaError

MAX_PIXELS = 64_000_000
MAX_DOWNLOAD = 64 * 2**20  # bytes
_TIMEOUT = 30  # seconds
_BROKEN_FILE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Base64:
    """A string that holds a picture in base64, because the user said so."""

    content: str


@dataclass(frozen=True)
class Url:
    """An address that a picture may be fetched from, because the user said so."""

    address: str


def decode(value: Any, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An upright RGB image.

    Transparent pixels become white, 16-bit greys are scaled to 8 bits, of an animation the first frame is taken.

    Args:
        value: the bytes of a file, a path, a hub struct `{"bytes", "path"}`, a PIL image, an array (height, width) or
            (height, width, 1 | 3 | 4), `Base64`, `Url`, or a function without arguments that returns one of these.
        max_pixels: a picture with more is refused before it is decoded.

    Raises:
        MediaError: the value is not a picture, or too large.
    """
    if isinstance(value, Image.Image):
        return _upright_rgb(value, max_pixels)
    if isinstance(value, np.ndarray):
        return _upright_rgb(_from_array(value), max_pixels)
    if isinstance(value, Callable):
        return decode(value(), max_pixels)
    content = _read(value)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as opened:
            return _upright_rgb(opened, max_pixels)
    except MediaError:
        raise
    except _BROKEN_FILE as error:
        raise MediaError(
            f"The {len(content)} bytes{_origin(value)} are not a picture that can be decoded ({_reason(error)})."
        ) from error


def check(value: Any) -> None:
    """Raise what is wrong with a value as far as it shows without decoding it.

    Raises:
        MediaError: there is nothing, or no such file.
    """
    if value is None:
        raise MediaError("There is no picture (null).")
    if isinstance(value, Mapping):
        check(_of_struct(value))
    elif isinstance(value, bytes | bytearray) and not value:
        raise MediaError("The picture has no bytes.")
    elif isinstance(value, str | Path):
        if not str(value).strip():
            raise MediaError("The path of the picture is empty.")
        if not _is_file(value):
            raise MediaError(f"There is no picture file {str(value)[:200]!r}. {_advice(str(value))}")
    elif isinstance(value, np.ndarray):
        _from_array(value)
    elif not isinstance(value, bytes | bytearray | Image.Image | Base64 | Url | Callable):
        raise MediaError(f"A picture cannot be read from a value of type {type(value).__name__}.")


def _is_file(value: str | Path) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def _read(value: Any) -> bytes:
    check(value)
    if isinstance(value, Mapping):
        return _read(_of_struct(value))
    if isinstance(value, str | Path):
        return Path(value).read_bytes()
    if isinstance(value, Base64):
        return _from_base64(value.content)
    if isinstance(value, Url):
        return _download(value.address)
    return bytes(value)


def _of_struct(value: Mapping[str, Any]) -> Any:
    content = value.get("bytes") or value.get("path")
    if not content:
        raise MediaError(f"The picture's struct has neither bytes nor a path; its keys are {', '.join(value)}.")
    return content


def _from_base64(content: str) -> bytes:
    body = content.partition("base64,")[2] if content.startswith("data:") else content
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise MediaError(f"The text of {len(content)} characters is not base64 ({error}).") from error


def _download(address: str) -> bytes:
    if not address.startswith(("http://", "https://")):
        raise MediaError(f"{address!r} is not an http address; write `as: path` for files.")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
            content = answer.read(MAX_DOWNLOAD + 1)
    except OSError as error:
        raise MediaError(f"{address} could not be fetched ({error}).") from error
    if len(content) > MAX_DOWNLOAD:
        raise MediaError(f"{address} has more than {MAX_DOWNLOAD} bytes.")
    return content


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


def _origin(value: Any) -> str:
    path = value.get("path") if isinstance(value, Mapping) else value
    return f" of {str(path)!r}" if isinstance(path, str | Path) else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    return str(error) or type(error).__name__


def _advice(value: str) -> str:
    if value.startswith(("http://", "https://")):
        return "It is an address: write `as: url` in the template to fetch it."
    if value.startswith("data:") or len(value) > 260:
        return "It looks like base64: write `as: base64` in the template to decode it."
    return "Give the folder that relative paths start from as `root`."
