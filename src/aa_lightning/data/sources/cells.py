"""Cells of a media column: nothing, one medium, several, or the frames of one clip."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np

from aa_lightning.data.sources.written import parse

PICTURE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")  # a .gif is a clip
_LONGEST_LITERAL = 200_000  # characters
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
    """Tell whether a cell says nothing: null, blank text, or a list of such."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif one is not None and not (isinstance(one, str) and not one.strip()):
            return False
    return True


def written_list(value: Any) -> Any:
    """The list that a text spells, as JSON or as Python; any other value as it is."""
    if not isinstance(value, str) or not (value.lstrip().startswith("[") and value.rstrip().endswith("]")):
        return value
    for read in (parse, literal):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    return value


def literal(written: str) -> Any:
    """Parse a Python literal; nothing in it is run.

    Raises:
        ValueError, SyntaxError, RecursionError, MemoryError: it is no literal, or too long to be read as one.
    """
    if len(written) > _LONGEST_LITERAL:
        raise ValueError("it is too long for Python's reader, which takes hundreds of times its letters")
    return ast.literal_eval(written)


def is_numeric(value: list[Any]) -> bool:
    """Tell whether a list holds numbers alone, at any depth."""
    left = [value]
    while left:
        one = left.pop()
        if not one:
            return False
        lists = [element for element in one if isinstance(element, list)]
        left += lists
        if len(lists) < len(one) and not all(
            isinstance(element, Number | list) and not isinstance(element, bool) for element in one
        ):
            return False
    return True


def is_picture(value: Any) -> bool:
    """Tell whether an element of a clip's list is a still picture, and so a frame."""
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
