"""The local format that needs no template: columns are recognised by their names.

prompt (a text or a list of turns), image or images, audio or audios, video or videos, system, answer
+ chosen and rejected | response (or completion) | response and label | nothing: prompts alone
messages: a conversation whose answers are demonstrations
chosen and rejected without prompt: conversations that share their beginning
"""

from __future__ import annotations

from typing import Any

from aa_lightning.data.files import first_row
from aa_lightning.data.mapping import PartOptions, Select, TemplateOptions

_MEDIA = ("image", "audio", "video")
_RESPONSES = ("response", "completion")


def recognise(source: Any) -> TemplateOptions:
    """The template of a source by its columns.

    Raises:
        ValueError: the columns are not of this format; the message says which ones are.
    """
    row = first_row(source)
    columns = set(row)
    common = {
        "system": Select(column="system") if "system" in columns else None,
        "answer": "answer" if "answer" in columns else None,
        "drop": ["equal_responses"],
    }
    media = [
        PartOptions(**{medium: Select(column=column, optional=True)})
        for medium in _MEDIA
        for column in (medium, f"{medium}s")
        if column in columns
    ]
    if "prompt" in columns:
        return _with_prompt(row, media, common)
    if {"chosen", "rejected"} <= columns:
        return TemplateOptions(
            kind="preference",
            prompt=media,
            split_common_prefix=["chosen", "rejected"],
            preferred="first",
            **common,
        )
    if "messages" in columns:
        return TemplateOptions(kind="demonstration", prompt=[*media, PartOptions(messages="messages")], **common)
    raise ValueError(
        f"the columns {', '.join(row) or '(none)'} are not recognised without a template. Name them prompt, "
        "[image | images], [audio | audios], [video | videos], and chosen + rejected, or response [+ label]; or messages; "
        "or say in data.template which column is what"
    )


def _with_prompt(row: dict[str, Any], media: list[PartOptions], common: dict[str, Any]) -> TemplateOptions:
    said = PartOptions(messages="prompt") if isinstance(row["prompt"], list) else PartOptions(text="prompt")
    prompt = [*media, said]
    if {"chosen", "rejected"} <= set(row):
        responses = [_answer(row, column) for column in ("chosen", "rejected")]
        margin = "margin" if "margin" in row else None
        return TemplateOptions(
            kind="preference", prompt=prompt, responses=responses, preferred="first", margin=margin, **common
        )
    response = next((column for column in _RESPONSES if column in row), None)
    if response is None:
        return TemplateOptions(kind="prompt", prompt=prompt, **common)
    completion = _answer(row, response)
    if "label" in row:
        label = Select(column="label", true_values=["True", "true", "1"]) if isinstance(row["label"], str) else "label"
        return TemplateOptions(kind="rating", prompt=prompt, completion=completion, label=label, **common)
    return TemplateOptions(kind="demonstration", prompt=prompt, completion=completion, **common)


def _answer(row: dict[str, Any], column: str) -> list[PartOptions]:
    return [PartOptions(messages=column) if isinstance(row[column], list) else PartOptions(text=column)]
