"""Conversations: turns out of a list column, placeholders and media, the shared start of two answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aa_lightning.data.errors import BadRow
from aa_lightning.data.sources.cells import is_empty, listed, written_list
from aa_lightning.data.sources.written import parse
from aa_lightning.data.template.parts import content_of, kind_of, kinds_in, text_of
from aa_lightning.data.template.row_reader import Reader, name
from aa_lightning.data.template.schema import Select, Selector, select
from aa_lightning.types import Message, Part, text

_MARKER = re.compile(r"\n?<(image|audio|video)(?:_placeholder)?>\n?")
_PLURAL = {"image": "pictures", "audio": "sounds", "video": "videos"}
_MOST_TURNS = 2_000  # each answer may be learnt with all turns before it
_BESIDE = ("tool_calls", "reasoning_content")  # what a turn of the assistant may have beside its text
_SPEAKERS = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "AI"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
}


def read_turns(reader: Reader, value: Any, selector: Selector, speaker: str = "user") -> list[Message]:
    """The messages of a column: a list of turns, one turn, one turn's parts, or a text.

    Args:
        reader: the row.
        value: mappings with a speaker and a text or a list of parts; a text or a list of parts is one turn.
        selector: says how keys and speakers are called.
        speaker: who says what stands alone.
    """
    told = select(selector)
    column = name(selector)
    turns = [value] if isinstance(value, Mapping) else written_list(value)
    if not isinstance(turns, str):  # which is looked at where it is read
        reader.sound(turns, column)
    if isinstance(value, str) and not _are_turns(turns, told):
        turns = value
    if isinstance(turns, list) and len(turns) > 1 and all(isinstance(turn, str) for turn in turns):
        raise reader.bad(
            column,
            f"A list of {len(turns)} texts was found where one is read. Several answers to choose from are `answers` with "
            "`ratings` or `ranks` in the template; of turns, say who speaks.",
        )
    if not isinstance(turns, list):
        return [{"role": speaker, "content": [reader.text_part(turns, column)]}]
    if not turns:
        raise reader.unwanted("empty", column, "The list of turns is empty.")
    if not _are_turns(turns, told) and all(kind_of(part) is not None for part in turns):
        return [{"role": speaker, "content": _read_content(reader, turns, column)}]
    if not all(isinstance(turn, Mapping) for turn in turns):
        raise reader.bad(column, "A list of turns, each with keys and values, was expected.")
    if len(turns) > _MOST_TURNS:
        raise reader.bad(column, f"There are {len(turns)} turns; {_MOST_TURNS} are read at most.")
    return [_read_turn(reader, told, i, turn, column) for i, turn in enumerate(turns)]


def _are_turns(value: Any, told: Select) -> bool:
    keys = {"role", "from"} if told.role is None else {told.role}
    return isinstance(value, list) and any(isinstance(turn, Mapping) and set(turn) & keys for turn in value)


def _read_turn(reader: Reader, told: Select, i: int, turn: Mapping[str, Any], column: str) -> Message:
    role, key = _key(reader, told.role, ("role", "from"), i, turn, column), told.content
    role = _role(reader, told, i, turn[role], column)
    _refuse_media_beside(reader, i, turn, column)
    beside = {one: turn[one] for one in _BESIDE if turn.get(one) is not None}
    if role == "call":
        role, beside = "assistant", {"tool_calls": _call(reader, turn, key or "value", column)}
        parts: list[Part] = []
    elif beside and turn.get("content") is None:
        parts = []
    else:
        key = _key(reader, key, ("content", "value"), i, turn, column)
        parts = _read_content(reader, turn[key], column, may_be_empty=bool(beside) or role == "tool")
    if "tool_calls" in beside:
        beside["tool_calls"] = _calls(reader, beside["tool_calls"], column)
    if beside:
        first = parts[0] if parts and parts[0]["type"] == "text" else None
        parts = [{**(first or text("")), **beside}, *(parts[1:] if first else parts)]
    named = {one: turn[one] for one in ("name", "tool_call_id") if turn.get(one) is not None}
    unlearnt = {"unlearnt": True} if turn.get("loss") is False or turn.get("weight") == 0 else {}
    return {"role": role, "content": parts, **named, **unlearnt}


def _refuse_media_beside(reader: Reader, i: int, turn: Mapping[str, Any], column: str) -> None:
    """Media that stand in a turn and not in its content would not be seen."""
    beside = [key for key in turn if key.removesuffix("s") in _PLURAL and not is_empty(turn[key])]
    if beside:
        raise reader.bad(
            column,
            f"Turn {i} has {beside[0]!r} beside its content, where nobody looks: write it as a part of the content, "
            f'{{"type": "{beside[0].removesuffix("s")}", …}}, or give the row a column {beside[0]!r}.',
        )


def _key(reader: Reader, told: str | None, usual: tuple[str, str], i: int, turn: Mapping[str, Any], column: str) -> str:
    """The key of a turn under which something stands."""
    found = next((key for key in ((told,) if told else usual) if key in turn), None)
    if found is None:
        raise reader.bad(column, f"Turn {i} has no {told or usual[0]!r}; its keys are {', '.join(map(str, turn))}.")
    return found


def _role(reader: Reader, told: Select, i: int, said: Any, column: str) -> str:
    """user, assistant, system, tool; call for an assistant's turn that is a call alone."""
    own = {told.user: "user", told.assistant: "assistant", told.system: "system"}
    known = {**_SPEAKERS, **{name: role for name, role in own.items() if name is not None}}
    if not isinstance(said, str) or said not in known:
        listed = [told.user or "user", told.assistant or "assistant", told.system or "system", "tool"]
        raise reader.bad(column, f"Turn {i} is said by {said!r}; known are {', '.join(listed)}.")
    return known[said]


def _calls(reader: Reader, given: Any, column: str) -> list[Any]:
    """Calls of tools, their arguments as mappings: templates write those out, and would quote a text twice."""
    calls = written_list(given)
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise reader.bad(column, f"The tool_calls of a turn are a list of calls, and {given!r:.80} was found.")
    return reader.sound([_with_arguments(call) for call in calls], column)


def _with_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_arguments(call["function"])}
    try:
        arguments = parse(call["arguments"]) if isinstance(call.get("arguments"), str) else None
    except ValueError:
        arguments = None
    return {**call, "arguments": arguments} if isinstance(arguments, dict) else dict(call)


def _call(reader: Reader, turn: Mapping[str, Any], key: str, column: str) -> list[dict[str, Any]]:
    """The call that a turn of its own spells as JSON."""
    try:
        call = reader.sound(parse(turn.get(key, turn.get("content"))), column)
    except BadRow:
        raise
    except (TypeError, ValueError) as error:
        raise reader.bad(column, f"A turn that calls a tool is JSON with a name and arguments ({error}).") from error
    calls = call if isinstance(call, list) else [call]
    if not all(isinstance(one, Mapping) for one in calls):
        raise reader.bad(
            column, f"A turn that calls a tool is JSON with a name and arguments, and {call!r:.80} was found."
        )
    return [{"type": "function", "function": one} for one in calls]


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
    """Tell whether a part is only a place for a medium that is given beside the text."""
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
    given = zip((one, two), columns, strict=True)
    first, second = (read_turns(reader, value, column, "assistant") for value, column in given)
    # the last turn is an answer even where both answers are the same
    pairs = zip(first[:-1], second[:-1], strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)) - 1)
    return (
        first[:shared],
        *(only_answer(reader, turns[shared:], column) for turns, column in zip((first, second), columns, strict=True)),
    )


def only_answer(reader: Reader, messages: list[Message], column: str, prompt: Sequence[Message] = ()) -> list[Part]:
    """The parts of an answer that is given as turns: one of the assistant, perhaps behind the prompt once more."""
    asked = [message for message in prompt if message["role"] != "system"]
    said = [message for message in messages if message["role"] != "system"]
    answer = said[len(asked) :] if asked and _repeats(said, asked) else messages
    if [message["role"] for message in answer] != ["assistant"]:
        roles = ", ".join(message["role"] for message in answer) or "nothing"
        raise reader.bad(column, f"One assistant turn was expected as the answer, and {roles} found.")
    slot = next((part["type"] for part in answer[0]["content"] if is_slot(part)), None)
    if slot is not None:
        raise reader.bad(column, f"The answer has a place for {slot}, and no {slot} is given in it.")
    return answer[0]["content"]


def _repeats(said: Sequence[Message], asked: Sequence[Message]) -> bool:
    """Tell whether the turns that were asked stand at the beginning of others, media aside, markers of media too."""
    if [turn["role"] for turn in said[: len(asked)]] != [turn["role"] for turn in asked]:
        return False
    return all(_words(one) == _words(other) for one, other in zip(said, asked, strict=False))


def _words(turn: Message) -> str:
    return _MARKER.sub("", "".join(part["text"] for part in turn["content"] if part["type"] == "text")).strip()


def _split_texts(
    reader: Reader, one: str, two: str, columns: list[str]
) -> tuple[list[Message], list[Part], list[Part]]:
    # answers begin at a word, and each has at least one
    longest = min(len(one.rstrip()), len(two.rstrip())) - 1
    shared = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), longest)
    cut = max((match.end() for match in re.finditer(r"\s+", one) if match.end() <= min(shared, longest)), default=0)
    if not one[:cut].strip():
        raise reader.bad(
            columns[0],
            f"It shares no beginning with {columns[1]!r} that could be the prompt. If the prompt stands in a column of "
            "its own, call that column prompt, or name it in data.template.",
        )
    answers = [[reader.text_part(value[cut:], column)] for value, column in zip((one, two), columns, strict=True)]
    return [{"role": "user", "content": [text(one[:cut].rstrip())]}], *answers


def _read_content(reader: Reader, content: Any, column: str, may_be_empty: bool = False) -> list[Part]:
    if may_be_empty and (content is None or content in ("", [])):
        return []
    if isinstance(content, str):
        return [reader.text_part(content, column)]
    if not isinstance(content, list):
        raise reader.bad(
            column, f"A turn's content is a text or a list of parts, and {type(content).__name__} was found."
        )
    if not content:
        raise reader.unwanted("empty", column, "The list of a turn's parts is empty.")
    return [made for part in content for made in _read_part(reader, part, column)]


def _read_part(reader: Reader, part: Any, column: str) -> list[Part]:
    kind, kinds = kind_of(part), kinds_in(part)
    if len(kinds) > 1:
        raise reader.bad(column, f"A part holds {' and '.join(kinds)}; give each a part of its own.")
    if kind == "text":
        said = text_of(part)
        return [reader.text_part("" if said is None else said, column)]
    if kind is None:
        named = part.get("type") if isinstance(part, Mapping) else part
        raise reader.bad(column, f"A part of type {named!r} cannot be read; write text, {', '.join(_PLURAL)}.")
    try:
        content = content_of(part, kind)
    except ValueError as error:
        raise reader.bad(column, str(error)) from error
    # columnar storage fills the keys of other parts with null
    if content is None:
        return [{"type": kind}]
    return [reader.media_part(kind, medium, column) for medium in listed(kind, content) or [content]]


def with_slots(parts: list[Part], kinds: Collection[str]) -> list[Part]:
    """Texts cut at the placeholders of some kinds of media."""
    out: list[Part] = []
    for part in parts:
        out += _cut(part, kinds) if part["type"] == "text" else [part]
    return out


def _cut(part: Part, kinds: Collection[str]) -> list[Part]:
    content = part["text"]
    found = [match for match in _MARKER.finditer(content) if match[1] in kinds]
    if not found:
        return [part]
    out: list[Part] = []
    starts = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(content)]
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        out += [{"type": found[i - 1][1]}] if i else []
        out += [text(content[start:end])] if content[start:end].strip() else []
    return out
