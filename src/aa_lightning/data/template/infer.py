"""Rows that need no template: the columns of the field's formats are recognised by their names, over all rows.

prompt (a text, turns or parts), image or images, audio or audios, video or videos, system, tools, answer
+ chosen and rejected [+ margin] | response [+ label] | nothing: prompts alone
messages: a conversation whose last turn is learnt [+ label, or rejected_response: the worse last turn]
chosen and rejected without prompt: conversations that share their beginning
and the same under the names of Alpaca, ShareGPT, ms-swift and OpenAI's fine-tuning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from aa_lightning.data.errors import BadRow
from aa_lightning.data.options import DataOptions
from aa_lightning.data.sources.open import Chain, open_source
from aa_lightning.data.template.schema import PartOptions, Select, TemplateOptions

_MEDIA = ("image", "audio", "video")
_PROMPTS = ("prompt", "question", "query", "problem")
_CONVERSATIONS = ("messages", "conversations", "conversation")
_RESPONSES = ("response", "completion", "output")
_LABELS = ("label", "kto_tag")
_MEANT = ("prompt", "chosen", "rejected", "label", "margin", "messages", *_MEDIA, *(f"{medium}s" for medium in _MEDIA))
_FORMS = (
    "Name them prompt, [image | images], [audio | audios], [video | videos], and chosen + rejected, or response [+ label]; "
    "or messages; or say in data.template which column is what"
)


def completed(options: DataOptions) -> DataOptions:
    """The options of a data set with the mapping that its columns tell, where none is written, and with its check: so that
    what rows hold is known before any of them is read.

    Raises:
        FileNotFoundError, ValueError: as in `open_source` and `recognise`.
    """
    template = options.template or recognise(Chain([open_source(origin) for origin in options.origins]))
    if options.check is None:
        return replace(options, template=template)
    others = {need: replace(other, check=options.check) for need, other in options.templates.items()}
    return replace(options, template=replace(template, check=options.check), templates=others)


def _of_no_rows(source: Any) -> str:
    """Why no row of a source can be read."""
    if not len(source):
        return (
            "there are no rows in the data, so there is nothing to learn from: give a file with one object on each line"
        )
    try:
        return f"no row of the data has a column; the first one is {source[0]}"
    except BadRow as fault:
        return f"no row of the data can be read. The first one: {fault}"


def recognise(source: Any) -> TemplateOptions:
    """The template of a source by the columns in which any of its rows says something.

    Raises:
        ValueError: the columns are not of these formats; the message says which ones are.
    """
    counts = source.filled()
    if not counts:
        raise ValueError(_of_no_rows(source))
    columns = [column for column, count in counts.items() if count]
    _refuse_near_misses(columns)
    told = _Columns(columns, {column for column in columns if counts[column] < len(source)})
    template = _with_prompt(told) or _of_conversations(told) or _of_openai(told)
    if template is None:
        raise ValueError(f"the columns {', '.join(counts)} are not recognised without a template. {_FORMS}")
    return template


def _refuse_near_misses(columns: Sequence[str]) -> None:
    """A column whose name is nearly one that is read, where that one is absent, was meant to be read."""
    for column in columns:
        near = get_close_matches(column.lower(), _MEANT, n=1, cutoff=0.8)
        if column not in _MEANT and near and near[0] not in columns:
            raise ValueError(
                f"the column {column} is not read: did you mean {near[0]}? Rename it, or say in data.template which column "
                "is what (docs/data.md)"
            )


class _Columns:
    """The columns of a source, and what stands beside prompt and answers in each format.

    Args:
        names: of columns in which some row says something.
        partly: those in which another row says nothing.
    """

    def __init__(self, names: Sequence[str], partly: Collection[str]):
        self.names, self.partly = set(names), partly
        self.media = [
            PartOptions(**{medium: Select(column=column, optional=True)})
            for medium in _MEDIA
            for column in (medium, f"{medium}s")
            if column in self.names
        ]
        self.pair = {"chosen", "rejected"} <= self.names

    def first(self, names: Sequence[str]) -> str | None:
        """The first of some names that there is."""
        return next((name for name in names if name in self.names), None)

    def beside(self, **options: Any) -> dict[str, Any]:
        """Select the columns that every kind of row may have, and the options given."""
        told = {"system": self.optional("system"), "tools": self.optional("tools"), "answer": self.optional("answer")}
        return {**told, "drop": ["equal_responses"], **options}

    def optional(self, column: str) -> Select | None:
        """A column that rows may leave empty, where there is one."""
        return Select(column=column, optional=True) if column in self.names else None

    @property
    def margin(self) -> str | Select | None:
        """Optional where some rows do not say it, so that what needs a margin of every row is refused."""
        return "margin" if "margin" in self.names - set(self.partly) else self.optional("margin")


def _turns(column: str) -> list[PartOptions]:
    return [PartOptions(messages=column)]


def _with_prompt(told: _Columns) -> TemplateOptions | None:
    """A prompt in a column of its own."""
    column = told.first(_PROMPTS)
    if column is not None:
        prompt = [*told.media, *_turns(column)]
    elif "instruction" in told.names:
        fields = ["instruction", Select(column="input", optional=True)]
        prompt = [*told.media, PartOptions(text=Select(join=fields, with_="\n", skip_empty=True))]
    else:
        return None
    if told.pair:
        return _preference(told, prompt, "chosen", "rejected")
    response = told.first(_RESPONSES)
    if response is None and column == "question":
        response = told.first(("answer",))
    if response is None:
        return TemplateOptions(kind="prompt", prompt=prompt, **told.beside())
    label = told.first(_LABELS)
    kind = "demonstration" if label is None else "rating"
    return TemplateOptions(kind=kind, prompt=prompt, completion=_turns(response), label=label, **told.beside())


def _preference(told: _Columns, prompt: list[PartOptions], better: str, worse: str, **options: Any) -> TemplateOptions:
    return TemplateOptions(
        kind="preference",
        prompt=prompt,
        responses=[_turns(better), _turns(worse)],
        preferred="first",
        **told.beside(margin=told.margin, **options),
    )


def _of_conversations(told: _Columns) -> TemplateOptions | None:
    """Turns whose last one is the answer, or that two answers follow; or two conversations that share their beginning."""
    column = told.first(_CONVERSATIONS)
    if column is None:
        if not told.pair:
            return None
        shared = ["chosen", "rejected"]
        options = told.beside(margin=told.margin)
        return TemplateOptions(
            kind="preference", prompt=told.media, split_common_prefix=shared, preferred="first", **options
        )
    if told.pair:
        return _preference(told, [*told.media, *_turns(column)], "chosen", "rejected")
    before = [*told.media, *_turns(f"{column}[:-1]")]
    if "rejected_response" in told.names:
        return _preference(told, before, f"{column}[-1:]", "rejected_response")
    label = told.first(_LABELS)
    if label is not None:
        completion = _turns(f"{column}[-1:]")
        return TemplateOptions(kind="rating", prompt=before, completion=completion, label=label, **told.beside())
    return TemplateOptions(kind="demonstration", prompt=[*told.media, *_turns(column)], **told.beside())


def _of_openai(told: _Columns) -> TemplateOptions | None:
    """Preferences as OpenAI's fine-tuning reads them."""
    if not {"input", "preferred_output", "non_preferred_output"} <= told.names:
        return None
    tools = Select(column="input.tools", optional=True)
    return _preference(told, _turns("input.messages"), "preferred_output", "non_preferred_output", tools=tools)
