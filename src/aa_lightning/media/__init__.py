"""How a medium is checked and decoded; no model, no data set.

`decode` turns an undecoded part into a decoded one (images: an RGB `PIL.Image.Image`); `check` finds cheap faults
without decoding. Each medium has a module with these two functions.
"""

from __future__ import annotations

from typing import Any

from aa_lightning.media import image
from aa_lightning.media.errors import MediaError
from aa_lightning.media.image import Base64, Url

__all__ = ["MEDIA", "Base64", "MediaError", "Url", "check", "decode"]

MEDIA = {"image": image}


def decode(part: dict[str, Any]) -> dict[str, Any]:
    """The part with its medium decoded; a text part is returned as it is.

    Args:
        part: `{"type": "image", "image": bytes | path | hub struct | PIL | array | ...}`.

    Raises:
        MediaError: the medium cannot be read.
    """
    kind = part["type"]
    return part if kind == "text" else {"type": kind, kind: _module(kind).decode(part[kind])}


def check(part: dict[str, Any]) -> None:
    """Raise what can be found wrong with a part without decoding it: nothing there, no such file.

    Raises:
        MediaError: the medium cannot be read.
    """
    if part["type"] != "text":
        _module(part["type"]).check(part[part["type"]])


def _module(kind: str) -> Any:
    if kind not in MEDIA:
        raise MediaError(f"There is a part of type {kind!r}; what can be read is text, {', '.join(MEDIA)}.")
    return MEDIA[kind]
