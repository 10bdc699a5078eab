"""Sources of the bytes of a medium: a path, bytes, a hub struct, base64, a data URI, an address."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from aa_lightning.media.errors import MediaError
from aa_lightning.media.options import FetchOptions


@dataclass(frozen=True)
class Base64:
    """A string that holds a medium in base64, because the user said so."""

    content: str


@dataclass(frozen=True)
class Url:
    """An address that a medium may be fetched from, because the user said so."""

    address: str
    options: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True)
class Stretch:
    """A medium that is a stretch of a file, such as a member of an archive."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def is_address(value: str) -> bool:
    """Tell whether a text says where a medium is to be fetched."""
    return value.startswith(("http://", "https://"))


def meant(value: str) -> str | Base64:
    """Resolve a text that stands for a medium: a data URI is its content, a `file://` address its path."""
    if value.startswith("data:"):
        return Base64(value)
    if value.startswith("file://"):
        return unquote(urlsplit(value).path)
    return value


def check(value: Any, noun: str) -> None:
    """Raise what is wrong with a stored medium as far as it shows without reading it.

    Args:
        value: bytes, a path, a hub struct `{"bytes", "path"}`, `Base64`, `Url` or `Stretch`.
        noun: what the medium is called: image, audio, video.

    Raises:
        MediaError: there is nothing, no such file, or nothing that bytes could be read from.
    """
    if isinstance(value, str):
        value = meant(value)
    if value is None:
        raise MediaError(f"There is no {noun} (null).")
    if isinstance(value, Mapping):
        check(_of_struct(value, noun), noun)
    elif isinstance(value, bytes | bytearray):
        if not value:
            raise MediaError(f"The {noun} has no bytes.")
    elif isinstance(value, str | Path):
        if not str(value).strip():
            raise MediaError(f"The path of the {noun} is empty.")
        if not os.path.isfile(value):  # also false of names too long, or with a null character
            raise MediaError(f"There is no {noun} file {str(value)[:200]!r}. {_advice(str(value))}")
    elif not isinstance(value, Base64 | Url | Stretch):
        raise MediaError(f"No {noun} can be read from a value of type {type(value).__name__}.")


def locate(value: Any, noun: str, max_bytes: int) -> bytes | Path:
    """The file that a stored medium means, or its bytes where it is in no file.

    Raises:
        MediaError: as in `check`; it cannot be fetched; or it has more bytes than `max_bytes`.
    """
    check(value, noun)
    if isinstance(value, str):
        value = meant(value)
    if isinstance(value, Mapping):
        return locate(_of_struct(value, noun), noun, max_bytes)
    if isinstance(value, str | Path):
        found = Path(value)
        with readable(noun):
            _check_size(found.stat().st_size, noun, max_bytes)
    elif isinstance(value, Stretch):
        _check_size(value.size, noun, max_bytes)
        with readable(noun):
            found = value.read()
    else:
        found = _bytes(value, max_bytes)
        _check_size(len(found), noun, max_bytes)
    return found


def _check_size(size: int, noun: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise MediaError(f"The {noun} has {size} bytes; the limit is {max_bytes} (data.media.*.max_bytes).")
    if size == 0:
        raise MediaError(f"The {noun} has no bytes.")


def read(value: Any, noun: str, max_bytes: int) -> bytes:
    """The bytes of a stored medium; arguments and errors as in `locate`."""
    found = locate(value, noun, max_bytes)
    with readable(noun):
        return found.read_bytes() if isinstance(found, Path) else found


def stream(found: bytes | Path) -> BinaryIO:
    """The bytes as an open file. Libraries never see its name, whose ending may lie about the format."""
    with readable("medium"):
        return io.BytesIO(found) if isinstance(found, bytes) else found.open("rb")


@contextmanager
def readable(noun: str) -> Iterator[None]:
    """Turn what the system says against reading a file into a MediaError."""
    try:
        yield
    except OSError as error:
        raise MediaError(f"The {noun}'s file cannot be read ({error.strerror or error}).") from error


def origin(value: Any) -> str:
    """` of 'cat.png'` where a stored medium names its file, for errors."""
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, str | Path) or (isinstance(path, str) and path.startswith("data:")):
        return ""
    return f" of {str(path)!r}"


def _bytes(value: Any, max_bytes: int) -> bytes:
    if isinstance(value, Base64):
        return _from_base64(value.content)
    if isinstance(value, Url):
        from aa_lightning.media.fetching import fetch

        return fetch(value.address, value.options, max_bytes)
    return bytes(value)


def _of_struct(value: Mapping[str, Any], noun: str) -> Any:
    content = value.get("bytes") or value.get("path")
    if not content:
        raise MediaError(f"The {noun}'s struct has neither bytes nor a path; its keys are {', '.join(value)}.")
    return content


def _from_base64(content: str) -> bytes:
    head, comma, body = content.partition(",") if content.startswith("data:") else ("", "", content)
    if comma and not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError as error:
        raise MediaError(f"The text of {len(content)} characters is not base64 ({error}).") from error


def _advice(value: str) -> str:
    if is_address(value):
        return "It is an address: set data.media.fetch=true to fetch what rows name so."
    if len(value) > 260:
        return "It looks like base64: write `as: base64` in the template to decode it."
    return "Give the folder that relative paths start from as `root`."
