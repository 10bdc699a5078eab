"""Corrupted prompt media: they show what a model still says when it cannot see or hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

from aa_lightning.data.corruption.options import CorruptionOptions
from aa_lightning.types import Example, Message, Part


def corrupt(example: Example, options: CorruptionOptions, others: Callable[[], Iterable[Example]]) -> Example:
    """The example with spoiled prompt media, the same whenever it is asked for.

    Args:
        example: a decoded example.
        options: what is done to the media.
        others: decoded examples, among which `swap` takes the first with other media.

    Raises:
        ValueError: `swap` finds no row with other media.
    """
    from aa_lightning.data.corruption.transforms import TRANSFORMS

    spoiled: dict[str, Iterator[Any]] = {}
    for kind in options.kinds:
        media = prompt_media(example, kind)
        if media and options.name == "swap":
            spoiled[kind] = iter(_of_another_row(example, kind, media, others()))
        elif media:
            rng = Random(f"{options.seed}/{options.name}/{example.id}")
            spoiled[kind] = iter([TRANSFORMS[kind][options.name](medium, options, rng) for medium in media])
    return replace(example, messages=_with_media(example.messages, spoiled)) if spoiled else example


def prompt_media(example: Example, kind: str) -> list[Any]:
    """The media of one kind in a prompt, in order."""
    return [part[kind] for message in example.messages for part in message["content"] if part["type"] == kind]


def _with_media(messages: list[Message], spoiled: dict[str, Iterator[Any]]) -> list[Message]:
    def changed(part: Part) -> Part:
        kind = part["type"]
        return {"type": kind, kind: next(spoiled[kind])} if kind in spoiled else part

    return [{**message, "content": [changed(part) for part in message["content"]]} for message in messages]


def _of_another_row(example: Example, kind: str, media: list[Any], others: Iterable[Example]) -> list[Any]:
    from aa_lightning.data.corruption.transforms import media_differ

    for other in others:
        theirs = prompt_media(other, kind)
        if theirs and all(media_differ(kind, a, b) for a in media for b in theirs):
            return [theirs[i % len(theirs)] for i in range(len(media))]
    raise ValueError(
        f"corruption=swap finds no other {kind} for row {example.id}: the data set needs rows with different "
        "media of this kind; take corruption=blank"
    )
