"""What a cell of a media column holds: nothing, one medium, several, or the frames of one clip."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

PICTURE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # a .gif is a clip
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF")  # of PNG, JPEG, BMP; and of WebP, whose name comes later


def listed(kind: str, value: Any) -> list[Any]:
    """The media of a cell, in order. A list is several media, unless it is one: frames, rows of pixels, samples.

    Args:
        kind: image, audio or video.
        value: null, an empty text or a list of such is no medium; a text may be a list that is written out.
    """
    value = written_list(value)
    if is_empty(value):
        return []
    if not isinstance(value, list):
        return [value]
    if kind == "image" and is_numeric(value):
        return [_pixels(value)]
    if kind == "audio" and is_numeric(value):
        return [value]
    if kind == "video" and all(is_picture(element) for element in value):
        return [value]
    return value


def is_empty(value: Any) -> bool:
    """Whether a cell says nothing: null, blank text, or a list of such."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list) and all(map(is_empty, value)))


def written_list(value: Any) -> Any:
    """The list that a text spells, as JSON or as Python; any other value as it is."""
    if not isinstance(value, str) or not (value.lstrip().startswith("[") and value.rstrip().endswith("]")):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    return value


def is_numeric(value: list[Any]) -> bool:
    """Whether a list holds numbers alone, at any depth."""
    return bool(value) and all(
        is_numeric(element)
        if isinstance(element, list)
        else isinstance(element, Number) and not isinstance(element, bool)
        for element in value
    )


def is_picture(value: Any) -> bool:
    """Whether an element of a clip's list is a still picture, and so a frame."""
    if isinstance(value, Mapping):
        return is_picture(value.get("bytes") or value.get("path") or value.get("url"))
    if isinstance(value, bytes | bytearray):
        return value.startswith(_SIGNATURES[:3]) or (value.startswith(_SIGNATURES[3]) and value[8:12] == b"WEBP")
    if isinstance(value, str):
        named = value.partition("?")[0] if value.startswith("http") else value
        return value.startswith("data:image/") or Path(named[-300:]).suffix.lower() in PICTURE_FILES
    return isinstance(value, list) and is_numeric(value)


def _pixels(value: list[Any]) -> np.ndarray | list[Any]:
    """Rows of pixels as an array; whole numbers are bytes. What has no shape stays a list, which no picture is."""
    try:
        array = np.array(value)
    except ValueError:
        return value
    whole = np.issubdtype(array.dtype, np.integer) and array.size > 0 and array.min() >= 0 and array.max() <= 255
    return array.astype(np.uint8) if whole else array
