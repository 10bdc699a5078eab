"""Texts that a chat template writes: prompts up to where the answer begins, and answers as the template itself has them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aa_lightning.data.errors import BadRow
from aa_lightning.models.token.limits import BeyondLimits, limited
from aa_lightning.types import Message, Part, Prompt

_PROBE = "ANSWER"
_BESIDE = ("tool_calls", "reasoning_content")  # of an assistant's text part; keys of the turn for a template
_THOUGHTS = re.compile(r"([<\[])([|\w:]*(?:think|thought|reason)[|\w:]*)([>\]])\s*$", re.IGNORECASE)
_THOUGHT_TAG = re.compile(r"[<\[]/?[|\w:]*(?:think|thought|reason)[|\w:]*[>\]]", re.IGNORECASE)


class ChatTemplate:
    """A processor's chat template. Whatever it cannot say of a row is a fault of that row.

    Args:
        processor: has the template.
        tokenizer: knows the control tokens.
        as_lists: whether the template reads contents as lists of parts, as those of families with media do.

    Attributes:
        opening: what the template writes between the generation prompt and a plain answer.
        end: the token that ends an answer.

    Raises:
        ValueError: a processor without a chat template, or with one that cannot even say a question and its answer, or takes
            too long.
    """

    def __init__(self, processor: Any, tokenizer: Any, as_lists: bool):
        if not processor.chat_template:
            raise ValueError(
                "the checkpoint's processor has no chat template, so a prompt cannot be told from an answer: give one with "
                "model.chat_template=<file.jinja>"
            )
        self.processor, self.as_lists, self._of = processor, as_lists, tokenizer.name_or_path
        self._special = {tokenizer.convert_ids_to_tokens(i): i for i in tokenizer.all_special_ids}
        self.opening, self._closing = self._around_an_answer()
        tail = tokenizer(self._closing, add_special_tokens=False)["input_ids"]
        controls = set(tokenizer.all_special_ids)
        self.end = next((token for token in tail if token in controls), tokenizer.eos_token_id)

    def prompt(self, prompt: Prompt) -> str:
        """The prompt as text, up to where the answer begins.

        Raises:
            BadRow: the template refuses it, or leaves out what a turn says.
        """
        rendered = self._render(prompt, prompt.messages, add_generation_prompt=True)
        for what, column, said in _must_be_said(prompt):
            if said not in rendered and json.dumps(said, ensure_ascii=False)[1:-1] not in rendered:
                raise BadRow(
                    prompt.id,
                    column,
                    f"The chat template does not write {what} ({said[:60]!r}): give one that does with "
                    "model.chat_template=<file.jinja>, or choose another model=.",
                )
        return rendered

    def answer(self, prompt: Prompt, before: str, parts: Sequence[Part]) -> tuple[str, int]:
        """Return the text that the template writes for an answer behind the generation prompt, and the token that ends it.

        Args:
            before: the rendered prompt.
            parts: the texts of the answer.

        Raises:
            BadRow: the template refuses the answer, or leaves out a part of it.
        """
        turn = {"role": "assistant", "content": list(parts)}
        whole = self._render(prompt, [*prompt.messages, turn], add_generation_prompt=False)
        said = "".join(part["text"] for part in parts)
        if not whole.startswith(before):
            if any(part.keys() & set(_BESIDE) for part in parts):
                raise BadRow(
                    prompt.id, "response", "The chat template does not write tool calls or thoughts behind its prompt."
                )
            return self.opening + _behind(before, said), self.end
        written, end = self._without_closing(whole[len(before) :])
        thoughts = "".join(str(part.get("reasoning_content", "")) for part in parts)
        lost = _first_lost(f"{thoughts} {said}", written)
        if lost is not None:
            raise BadRow(
                prompt.id,
                "response",
                f"The chat template leaves out a part of the answer (from {lost!r} on), which would not be learnt: give one "
                "that writes it with model.chat_template=<file.jinja>.",
            )
        return written, end

    def _without_closing(self, written: str) -> tuple[str, int]:
        """An answer without what ends it: the usual closing, or another control token."""
        if self._closing and written.endswith(self._closing):
            return written.removesuffix(self._closing), self.end
        bare = written.rstrip()
        for token, number in self._special.items():
            if bare.endswith(token):
                return bare.removesuffix(token), number
        return written, self.end

    def _around_an_answer(self) -> tuple[str, str]:
        """Return the texts in front of a plain answer and behind it, read off a probe."""
        asked = Prompt(id="probe", messages=[{"role": "user", "content": [{"type": "text", "text": "?"}]}])
        answer = {"role": "assistant", "content": [{"type": "text", "text": _PROBE}]}
        try:
            before = self._render(asked, asked.messages, add_generation_prompt=True)
            after = self._render(asked, [*asked.messages, answer], add_generation_prompt=False)
        except BadRow as bad:
            raise ValueError(
                f"the chat template cannot say a question and its answer ({bad.__cause__}): give one that does with "
                "model.chat_template=<file.jinja>"
            ) from bad
        if not (after.startswith(before) and _PROBE in after):
            return "", after.rpartition(_PROBE)[2]
        opening, closing = after[len(before) :].split(_PROBE, 1)
        return opening, closing

    def _render(self, prompt: Prompt, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        tools = {} if prompt.tools is None else {"tools": prompt.tools}
        outlined = [self._outlined(message) for message in messages]
        try:
            with limited():
                return self.processor.apply_chat_template(
                    outlined, tokenize=False, add_generation_prompt=add_generation_prompt, **tools
                )
        except BeyondLimits as error:
            raise ValueError(
                f"the chat template of {self._of} takes {error} to write row {prompt.id}: give another one with "
                "model.chat_template=<file.jinja>, or choose another model="
            ) from error
        except Exception as error:  # a template may raise anything
            roles = ", ".join(message["role"] for message in messages)
            raise BadRow(
                prompt.id,
                "system" if messages[0]["role"] == "system" else "prompt",
                f"The chat template refuses these turns ({roles}): {error}. Change the row, or give another template with "
                "model.chat_template=<file.jinja>.",
            ) from error

    def _outlined(self, message: Message) -> Message:
        """A message as templates read it: lists of bare parts with media, plain strings without."""
        texts = [{"type": "text", "text": part["text"]} for part in message["content"] if part["type"] == "text"]
        if self.as_lists:
            bare = iter(texts)
            shown = [next(bare) if p["type"] == "text" else {"type": p["type"]} for p in message["content"]]
            content: Any = [part for part in shown if part.get("text") != ""]
        else:
            content = "".join(part["text"] for part in texts)
        beside = {key: part[key] for part in message["content"] for key in _BESIDE if key in part}
        named = {key: message[key] for key in ("name", "tool_call_id") if key in message}
        return {"role": message["role"], "content": content, **beside, **named}


def is_thought_tag(token: str) -> bool:
    """Tell whether a token opens or closes a block of thoughts."""
    return _THOUGHT_TAG.fullmatch(token) is not None


def _must_be_said(prompt: Prompt) -> Iterator[tuple[str, str, str]]:
    """List what of a prompt a template may be unable to say, as (what, column, words); thoughts of earlier turns need not
    be."""
    for tool in prompt.tools or ():
        yield "the tools of a row", "tools", _name_of(tool)
    for message in prompt.messages:
        for part in message["content"]:
            if part["type"] != "text":
                continue
            for call in part.get("tool_calls", ()):
                yield "calls of tools", "messages", _name_of(call)
            said = _THOUGHT_TAG.split(part["text"])[-1] if message["role"] == "assistant" else part["text"]
            yield f"the {message['role']}'s turn", "prompt", said.strip()


def _name_of(tool: Mapping[str, Any]) -> str:
    """Return the name of a tool, or of a call of one; empty where it does not say."""
    function = tool.get("function", tool)
    return str(function.get("name", "")) if isinstance(function, Mapping) else str(function)


def _behind(before: str, said: str) -> str:
    """An answer where the generation prompt may have begun a block of thoughts: its tag stands once, and an answer without
    thoughts closes the block first."""
    opened = _THOUGHTS.search(before)
    if opened is None:
        return said
    tag, close = "".join(opened.groups()), f"{opened[1]}/{opened[2]}{opened[3]}"
    if said.lstrip().startswith(tag):
        return said.lstrip().removeprefix(tag).removeprefix("\n")
    return said if close in said else f"\n{close}\n\n{said}"


def _first_lost(said: str, written: str) -> str | None:
    """The first word of an answer that does not stand, in its turn, in what a template wrote; tags of thoughts aside."""
    place = 0
    for word in re.findall(r"\w+", _THOUGHT_TAG.sub(" ", said)):
        found = written.find(word, place)
        if found < 0:
            return word
        place = found + len(word)
    return None
