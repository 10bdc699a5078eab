"""Content parts as the field writes them: transformers', OpenAI's, Anthropic's and Qwen's; and parts compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aa_lightning import media
from aa_lightning.data.sources.cells import is_empty
from aa_lightning.types import Part, Response

_TEXTS = ("text", "input_text", "output_text")
_KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
}
# keys under which a medium of any kind may stand
_SHARED = ("url", "path", "file", "bytes", "base64", "data", "source")


def kind_of(part: Any) -> str | None:
    """text, image, audio or video; None for what is no part that can be read."""
    if isinstance(part, str):
        return "text"
    if not isinstance(part, Mapping):
        return None
    named = part.get("type")
    if named is None:  # told by the key alone
        named = next((key for key in (*_TEXTS, *_KINDS) if part.get(key) is not None), None)
    if not isinstance(named, str):
        return None
    return "text" if named in _TEXTS else _KINDS.get(named)


def kinds_in(part: Any) -> list[str]:
    """The kinds of everything that a part holds; more than one where a medium stands beside something else."""
    if not isinstance(part, Mapping):
        return []
    media = [meaning for key, meaning in _KINDS.items() if not is_empty(part.get(key))]
    texts = ["text"] if any(not is_empty(part.get(key)) for key in _TEXTS) else []
    return list(dict.fromkeys([*texts, *media]))


def text_of(part: Any) -> Any:
    """Return the text of a text part; None where it says nothing."""
    if isinstance(part, str):
        return part
    return next((part[key] for key in _TEXTS if part.get(key) is not None), None)


def content_of(part: Mapping[str, Any], kind: str) -> Any:
    """The medium of a part, undecoded; None for a slot, whose medium is given beside the text.

    Raises:
        ValueError: it names something that only a service could read.
    """
    keys = [*(key for key, meaning in _KINDS.items() if meaning == kind), *_SHARED]
    found = next(((key, part[key]) for key in keys if part.get(key) is not None), None)
    if found is None:
        if part.get("file_id") is not None:
            raise ValueError("It names a file of a service (file_id): give its path, its address or a data URI.")
        return None
    key, value = found
    return medium_of(value, encoded=key in ("base64", "data"))


def medium_of(value: Any, encoded: bool = False) -> Any:
    """A medium out of the mapping that holds it: `{"url": …}`, `{"data": …, "format": …}`, a source.

    Args:
        encoded: whether a text is base64.
    """
    if isinstance(value, str) and encoded and not value.startswith("data:"):
        return media.Base64(value)
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("data"), str) and value.get("type") != "url":
        return medium_of(value["data"], encoded=True)
    if isinstance(value.get("base64"), str):
        return medium_of(value["base64"], encoded=True)
    return value["url"] if isinstance(value.get("url"), str) else value


def text_length(response: Response) -> int:
    """In characters of its texts."""
    return sum(len(part["text"]) for part in response if part["type"] == "text")


def are_equal(one: Response, two: Response) -> bool:
    """Tell whether two responses say and show the same; undecoded media are compared as stored."""
    return len(one) == len(two) and all(_are_equal_parts(a, b) for a, b in zip(one, two, strict=True))


def _are_equal_parts(one: Part, two: Part) -> bool:
    if one["type"] != two["type"]:
        return False
    a, b = one[one["type"]], two[two["type"]]
    if isinstance(a, str) and isinstance(b, str):
        return a.strip() == b.strip() and one.get("tool_calls") == two.get("tool_calls")
    # undecoded media are compared as stored
    return a is b or (isinstance(a, bytes | dict) and type(a) is type(b) and a == b)
