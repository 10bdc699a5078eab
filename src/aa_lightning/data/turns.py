"""Conversations: turns out of a list column, placeholders and media, the shared start of two answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from aa_lightning.data.mapping import Select, Selector
from aa_lightning.data.reading import Reader, name
from aa_lightning.types import Message, Part, text

_MARKER = re.compile(r"\n?<(image|audio|video)(?:_placeholder)?>\n?")
_PLURAL = {"image": "pictures", "audio": "sounds", "video": "videos"}


def read_turns(reader: Reader, value: Any, selector: Selector) -> list[Message]:
    """The messages of a list column.

    Args:
        reader: the row.
        value: a list of mappings with a speaker and a text or a list of parts.
        selector: says how keys and speakers are called.
    """
    told = selector if isinstance(selector, Select) else Select(column=selector)
    column = name(selector)
    if not isinstance(value, list) or not all(isinstance(turn, Mapping) for turn in value):
        raise reader.bad(column, "A list of turns, each with keys and values, was expected.")
    if not value:
        raise reader.unwanted("empty", column, "The list of turns is empty.")
    roles = {told.user: "user", told.assistant: "assistant", told.system: "system"}
    messages = []
    for i, turn in enumerate(value):
        for key in (told.role, told.content):
            if key not in turn:
                raise reader.bad(column, f"Turn {i} has no {key!r}; its keys are {', '.join(map(str, turn))}.")
        if turn[told.role] not in roles:
            raise reader.bad(column, f"Turn {i} is said by {turn[told.role]!r}; known are {', '.join(roles)}.")
        parts = _read_content(reader, turn[told.content], column)
        messages.append({"role": roles[turn[told.role]], "content": parts})
    return messages


def place_in_turns(
    reader: Reader, messages: list[Message], given: list[Part], column: str, kinds: Collection[str]
) -> list[Message]:
    """Put media where turns have placeholders for them; without any, in front of the first user turn.

    Args:
        reader: the row.
        messages: turns whose texts may hold `<image>` and kin, and whose parts may be empty slots.
        given: the media of the prompt, in order.
        column: named when the numbers do not agree.
        kinds: of media that the data set has; the markers of others are plain text.
    """
    cut = [with_slots(message["content"], kinds) for message in messages]
    slotted = {part["type"] for parts in cut for part in parts if is_slot(part)}
    front = [part for part in given if part["type"] not in slotted]
    if front:
        first = next((i for i, message in enumerate(messages) if message["role"] == "user"), None)
        if first is None:
            raise reader.bad(column, f"There is no user turn that the {front[0]['type']} could belong to.")
        cut[first] = [*front, *cut[first]]
    filled = _fill(reader, cut, [part for part in given if part["type"] in slotted], column)
    return [{**message, "content": parts} for message, parts in zip(messages, filled, strict=True)]


def place_in_parts(reader: Reader, parts: list[Part], column: str, kinds: Collection[str]) -> list[Part]:
    """Put the media among some parts where the texts among them have placeholders; without any, leave the order."""
    cut = with_slots([part for part in parts if part["type"] == "text"], kinds)
    slotted = {part["type"] for part in cut if is_slot(part)}
    if not slotted:
        return parts
    media = [part for part in parts if part["type"] != "text"]
    front = [part for part in media if part["type"] not in slotted]
    return [*front, *_fill(reader, [cut], [part for part in media if part["type"] in slotted], column)[0]]


def is_slot(part: Part) -> bool:
    """Whether a part is only a place for a medium that is given beside the text."""
    return len(part) == 1


def _fill(reader: Reader, cut: list[list[Part]], given: list[Part], column: str) -> list[list[Part]]:
    """The parts with each slot filled by the next medium of its kind."""
    for kind in dict.fromkeys(part["type"] for parts in cut for part in parts if is_slot(part)):
        slots = sum(part == {"type": kind} for parts in cut for part in parts)
        there = sum(part["type"] == kind for part in given)
        if slots != there:
            raise reader.bad(
                column,
                f"The text has {slots} placeholders such as <{kind}> for {there} {_PLURAL[kind]}. Correct the row, or "
                f'write `remove: ["<{kind}>"]` beside the column in the template.',
            )
    media = {kind: iter([part for part in given if part["type"] == kind]) for kind in _PLURAL}
    return [[next(media[part["type"]]) if is_slot(part) else part for part in parts] for parts in cut]


def split_prefix(reader: Reader, columns: list[str]) -> tuple[list[Message], list[Part], list[Part]]:
    """The prompt that two columns share, and the two answers that follow it."""
    one, two = (reader.value(column) for column in columns)
    if isinstance(one, str) and isinstance(two, str):
        return _split_texts(reader, one, two, columns)
    first, second = (read_turns(reader, value, column) for value, column in zip((one, two), columns, strict=True))
    # the last turn is an answer even where both answers are the same
    pairs = zip(first[:-1], second[:-1], strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)) - 1)
    return (
        first[:shared],
        *(only_answer(reader, turns[shared:], column) for turns, column in zip((first, second), columns, strict=True)),
    )


def only_answer(reader: Reader, messages: list[Message], column: str) -> list[Part]:
    """The parts of an answer that is given as a list of one assistant turn."""
    if [message["role"] for message in messages] != ["assistant"]:
        said = ", ".join(message["role"] for message in messages) or "nothing"
        raise reader.bad(column, f"One assistant turn was expected as the answer, and {said} found.")
    return messages[0]["content"]


def _split_texts(
    reader: Reader, one: str, two: str, columns: list[str]
) -> tuple[list[Message], list[Part], list[Part]]:
    # answers begin at a word, and each has at least one
    longest = min(len(one.rstrip()), len(two.rstrip()))
    starts = (match.end() for match in re.finditer(r"\s+", one) if match.end() < longest)
    cut = max((start for start in starts if one[:start] == two[:start]), default=0)
    if not one[:cut].strip():
        raise reader.bad(
            columns[0],
            f"It shares no beginning with {columns[1]!r} that could be the prompt. If the prompt stands in a column of "
            "its own, call that column prompt, or name it in data.template.",
        )
    answers = [[reader.text_part(value[cut:], column)] for value, column in zip((one, two), columns, strict=True)]
    return [{"role": "user", "content": [text(one[:cut].rstrip())]}], *answers


def _read_content(reader: Reader, content: Any, column: str) -> list[Part]:
    if isinstance(content, str):
        return [reader.text_part(content, column)]
    if not isinstance(content, list):
        raise reader.bad(column, "A turn's content is a text or a list of parts.")
    return [_read_part(reader, part, column) for part in content]


def _read_part(reader: Reader, part: Any, column: str) -> Part:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return reader.text_part(str(part.get("text") or ""), column)
    if kind in _PLURAL:
        # columnar storage fills the keys of other parts with null
        content = part.get(kind)
        return {"type": kind} if content is None else reader.media_part(kind, content, column)
    raise reader.bad(column, f"A part of type {kind!r} cannot be read; write text, {', '.join(_PLURAL)}.")


def with_slots(parts: list[Part], kinds: Collection[str]) -> list[Part]:
    """Texts cut at the placeholders of some kinds of media."""
    out: list[Part] = []
    for part in parts:
        out += _cut(part["text"], kinds) if part["type"] == "text" else [part]
    return out


def _cut(content: str, kinds: Collection[str]) -> list[Part]:
    found = [match for match in _MARKER.finditer(content) if match[1] in kinds]
    if not found:
        return [text(content)]
    out: list[Part] = []
    starts = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(content)]
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        out += [{"type": found[i - 1][1]}] if i else []
        out += [text(content[start:end])] if content[start:end].strip() else []
    return out
