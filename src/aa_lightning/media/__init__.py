"""Decoders of media with their checks; no model, no data set.

`decode` turns an undecoded part into a decoded one (image: an RGB `PIL.Image.Image`; audio: a `Sound`; video: a `Clip`);
`check` finds cheap faults without decoding; `save` writes it as a file. Each medium has a module with these functions.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import MediaOptions
from aa_lightning.media.storage import Base64, Url, is_address, meant

__all__ = [
    "MEDIA",
    "Base64",
    "MediaError",
    "MediaOptions",
    "Url",
    "check",
    "decode",
    "is_address",
    "meant",
    "save",
    "size",
]

MEDIA = ("image", "audio", "video")
_DEFAULTS = MediaOptions()
_ENDINGS = {"image": ".png", "audio": ".wav", "video": ".webp"}


def decode(part: dict[str, Any], options: MediaOptions = _DEFAULTS) -> dict[str, Any]:
    """The part with its medium decoded; a text part is returned as it is.

    Args:
        part: `{"type": "image", "image": bytes | path | hub struct | PIL | array | ...}`; other keys stay.
        options: what is read, and the limits.

    Raises:
        MediaError: the medium cannot be read.
    """
    kind = part["type"]
    if kind == "text":
        return part
    chosen = {"image": options.image, "audio": options.audio, "video": options.video}
    return {**part, kind: _module(kind).decode(part[kind], chosen[kind], options.guard)}


def size(part: dict[str, Any]) -> int:
    """The bytes of a decoded medium in memory; a text part has none."""
    return 0 if part["type"] == "text" else _module(part["type"]).size(part[part["type"]])


def check(part: dict[str, Any]) -> None:
    """Raise what can be found wrong with a part without decoding it: nothing there, no such file.

    Raises:
        MediaError: the medium cannot be read.
    """
    if part["type"] != "text":
        _module(part["type"]).check(part[part["type"]])


def save(part: dict[str, Any], stem: Path) -> Path:
    """Write a decoded medium as a file that people can open: PNG, WAV, or animated WebP (without the sound track).

    Args:
        stem: the path without its ending.

    Returns:
        The file.
    """
    kind = part["type"]
    file = stem.with_name(f"{stem.name}{_ENDINGS[kind]}")
    _module(kind).save(part[kind], file)
    return file


def _module(kind: str) -> Any:
    if kind not in MEDIA:
        raise MediaError(f"There is a part of type {kind!r}; what can be read is text, {', '.join(MEDIA)}.")
    return import_module(f"aa_lightning.media.{kind}")  # on demand: options are read before anything heavy
