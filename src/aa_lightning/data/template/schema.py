"""The mapping language of a data set's YAML: from columns to examples.

Every class here is checked when the configuration is read; nothing heavy is imported.
"""

from __future__ import annotations

import functools
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from aa_lightning.types import Check, RowKind

STRICT = ConfigDict(extra="forbid", populate_by_name=True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Select:
    """A value taken from a row: where it comes from (one of the first five), then what is done to it, in this order."""

    column: str | None = None  # a column, or a path into it: conversations[-1].value
    first_of: list[str] | None = None  # the first of these columns that is there
    join: list[Selector] | str | None = None  # several columns, or the elements of one list column
    format: str | None = None  # literal text with {names}; the names are given beside it
    one_of: list[str] | None = None  # one of these literals, drawn from a seed made of the row's id

    fields: dict[str, Selector] = Field(default_factory=dict)  # of format
    with_: str = Field(default=" ", alias="with")  # between what is joined
    skip_empty: bool = False  # leave empty texts out of a join, an empty text out of a prompt
    optional: bool = False  # null or no such column: leave the part out

    json_: bool = Field(default=False, alias="json")  # the cell is a JSON string
    get: str | None = None  # a path into the value
    after: str | None = None  # what stands behind the last occurrence of this text
    remove: list[str] = Field(default_factory=list)
    replace: dict[str, str] = Field(default_factory=dict)
    strip: bool = False
    lower: bool = False
    then: Selector | None = None  # a text to append
    number: bool = False
    true_values: list[str] | None = None  # the texts that mean true, in any case; null: true, yes, 1
    false_values: list[str] | None = None  # the texts that mean false; null: false, no, 0. Any other text is refused

    as_: Literal["bytes", "path", "url", "pil", "array", "base64"] | None = Field(default=None, alias="as")
    root: str | None = None  # the folder of relative paths; $NAME is read from the environment

    role: str | None = None  # keys of a turn; null: role and content, or from and value
    content: str | None = None
    user: str | None = None  # the names of those who speak; null: the usual ones, such as user and human
    assistant: str | None = None
    system: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _collect_fields(cls, given: Any) -> Any:
        """`{format: "{q}?", q: question}`: names of the format are keys of their own."""
        options = given.kwargs if isinstance(given, ArgsKwargs) else given
        if not isinstance(options, dict) or not isinstance(options.get("format"), str):
            return given
        names = {name for _, name, _, _ in Formatter().parse(options["format"]) if name}
        fields = {name: options[name] for name in names if name in options}
        rest = {key: value for key, value in options.items() if key not in fields}
        return {**rest, "fields": {**rest.get("fields", {}), **fields}}

    @model_validator(mode="after")
    def _has_one_origin(self) -> Select:
        origins = ("column", "first_of", "join", "format", "one_of")
        values = (self.column, self.first_of, self.join, self.format, self.one_of)
        if sum(value is not None for value in values) != 1:
            raise ValueError(f"a mapping in place of a column's name needs exactly one of {', '.join(origins)}")
        if self.format is not None:
            missing = {name for _, name, _, _ in Formatter().parse(self.format) if name} - set(self.fields)
            if missing:
                raise ValueError(f"format names {', '.join(sorted(missing))}: say beside it which column that is")
        return self


Selector = str | Select


def select(selector: Selector) -> Select:
    """The options of a selector; a column's name alone has the usual ones."""
    return selector if isinstance(selector, Select) else _column(selector)


@functools.lru_cache(maxsize=1024)
def _column(name: str) -> Select:
    return Select(column=name)  # checking options takes longer than reading with them


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PartOptions:
    """One piece of a prompt or of an answer."""

    text: Selector | None = None
    image: Selector | None = None  # a list gives several pictures, sounds or videos
    audio: Selector | None = None
    video: Selector | None = None
    messages: Selector | None = None  # a whole list of turns

    @model_validator(mode="after")
    def _is_one_part(self) -> PartOptions:
        given = (self.text, self.image, self.audio, self.video, self.messages)
        if sum(value is not None for value in given) != 1:
            raise ValueError(f"a part is exactly one of {', '.join(PARTS)}")
        return self

    @property
    def medium(self) -> Literal["image", "audio", "video"] | None:
        """The kind of medium; None for texts and turns."""
        given = {"image": self.image, "audio": self.audio, "video": self.video}
        return next((kind for kind, value in given.items() if value is not None), None)

    @property
    def selector(self) -> Selector:
        """The selector that is read."""
        given = (self.text, self.image, self.audio, self.video, self.messages)
        return next(value for value in given if value is not None)


PARTS = ("text", "image", "audio", "video", "messages")


def _as_parts(given: Any) -> Any:
    """An answer is a column of text, one part, or a list of parts."""
    if isinstance(given, str):
        return [{"text": given}]
    if isinstance(given, dict):
        return [given if set(given) & set(PARTS) else {"text": given}]
    return given


Answer = Annotated[list[PartOptions], BeforeValidator(_as_parts)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Preferred:
    """The label of the chosen response: an id column, a number or a rank per response, or a list with a 1."""

    column: str | None = None
    first: str | int | bool | None = None  # the id that prefers the first response
    second: str | int | bool | None = None
    both: str | int | bool | None = None  # the id of a tie, where ties are kept
    other: Literal["drop", "error"] = "error"  # any other id

    scores: list[Selector] | None = None  # the larger wins
    onehot: str | None = None  # a list column with 1 for the preferred response
    ranks: str | None = None  # a list column of ranks
    lower: Literal["better", "worse"] = "better"  # of ranks
    tie: Literal["drop", "error", "keep"] = "error"  # equal scores, ranks or marks; keep: for algo=reward_model_ties

    @model_validator(mode="after")
    def _is_one_form(self) -> Preferred:
        forms = (self.column, self.scores, self.onehot, self.ranks)
        if sum(form is not None for form in forms) != 1:
            raise ValueError("preferred is `first`, `second`, or exactly one of column, scores, onehot, ranks")
        if self.column is not None and (self.first is None or self.second is None):
            raise ValueError(
                "preferred by an id column needs the ids of both responses: {column: c, first: 1, second: 2}"
            )
        return self

    @property
    def keeps_ties(self) -> bool:
        """Tell whether a tie becomes an example."""
        return self.tie == "keep" or self.both is not None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FeedbackOptions:
    """Language feedback on the two responses, in their order; null where there is none for one of them."""

    critique: list[Selector | None] | None = Field(default=None, min_length=2, max_length=2)
    refinement: list[Answer | None] | None = Field(default=None, min_length=2, max_length=2)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FunctionOptions:
    """A function that makes new columns out of columns, where a mapping cannot say it."""

    name: str  # of `data/template/functions.py`, or the dotted path of your own
    columns: list[str]
    arguments: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class KeepOptions:
    """Selection of the scored answers that become demonstrations (rejection sampling)."""

    name: Literal["best", "above", "lottery"]  # lottery: by chance, exp((score − highest) / beta)
    threshold: float | None = None  # of above
    beta: float | None = Field(default=None, gt=0)  # of lottery

    @model_validator(mode="after")
    def _has_its_number(self) -> KeepOptions:
        needed = {"best": [], "above": ["threshold"], "lottery": ["beta"]}[self.name]
        given = [key for key, value in (("threshold", self.threshold), ("beta", self.beta)) if value is not None]
        if given != needed:
            raise ValueError(f"keep_answers {self.name} takes {needed[0] if needed else 'no number'}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AcceptOptions:
    """Selection of the pairs that are learnt from; the others are left out."""

    gap: float | None = Field(default=None, gt=0)  # the better one is better by so much
    length_ratio: float | None = Field(default=None, ge=1)  # the longer one is so many times as long at most


DropRule = Literal["equal_responses", "tie", "other_label", "empty"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TemplateOptions:
    """Mapping of a row to examples."""

    kind: RowKind
    prompt: list[PartOptions] = Field(default_factory=list)  # in the order of the user's turn
    system: str | Select | None = None  # a literal, or {column: c}
    tools: Selector | None = None  # a list of tools that the model may call, for the chat template
    responses: list[Answer] | None = Field(default=None, min_length=2, max_length=2)
    preferred: Literal["first", "second"] | Preferred | None = None
    completion: Answer | None = None  # of demonstrations and ratings; null: the last turn of the prompt's messages
    turns: Literal["last", "all"] = "last"  # which assistant turns of a demonstration are trained
    label: Selector | None = None  # of ratings: true is desirable
    steps: Selector | None = None  # of ratings: a list that says which parts of the completion are right
    safe: list[Selector] | None = Field(default=None, min_length=2, max_length=2)  # whether each response is harmless
    ratings: dict[str, list[Selector] | Selector] | None = None  # dimension: a number per response
    feedback: FeedbackOptions | None = None
    margin: Selector | list[Selector] | None = None  # by how much; of two columns, the difference
    answer: Selector | None = None  # a checkable answer
    check: Check | None = None  # how it is compared with what a model says; null: exact
    keep: dict[str, Selector | list[Selector]] = Field(default_factory=dict)
    drop: list[DropRule] = Field(default_factory=list)  # which rows are left out instead of being errors
    answers: PartOptions | Selector | None = None  # a list column of n answers, which gives pairs
    pairs: Literal["all", "adjacent", "best_vs_worst", "best_vs_random", "best_vs_each"] = "all"
    accept: AcceptOptions = Field(default_factory=AcceptOptions)  # of pairs
    ranked: int | None = Field(default=None, ge=2)  # answers of a ranking, from best to worst; null: all of them
    keep_answers: KeepOptions | None = None  # which answers are demonstrations; null: the better one of each pair
    split_common_prefix: list[str] | None = Field(default=None, min_length=2, max_length=2)
    function: FunctionOptions | None = None

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> TemplateOptions:
        if self.kind in ("preference", "ranking", "feedback"):
            self._check_preference()
        elif self.kind == "demonstration" and self.answers is not None and self.keep_answers is not None:
            if self.preferred is None and self.ratings is None:
                raise ValueError("`keep_answers` needs `preferred` or `ratings`: what the answers are worth")
        elif self.responses is not None or self.answers is not None:
            raise ValueError(f"a {self.kind} has no `responses` or `answers`: write `completion`, or another kind")
        if self.kind == "rating" and (self.completion is None or (self.label is None and self.steps is None)):
            raise ValueError("a rating needs `completion` and `label`, or `steps` in place of the label")
        if not self.prompt and self.split_common_prefix is None:
            raise ValueError("`prompt` is missing: say which columns the prompt is made of")
        self._check_prompt()
        return self

    @property
    def offers(self) -> frozenset[str]:
        """Things that rows bring besides responses, by the names of `Algorithm.wants`."""
        critiques = None if self.feedback is None else self.feedback.critique
        refined = None if self.feedback is None else self.feedback.refinement
        ties = True if isinstance(self.preferred, Preferred) and self.preferred.keeps_ties else None
        ratings = self.ratings if self.kind == "feedback" else None
        partly = isinstance(self.margin, Select) and self.margin.optional
        told = {
            "margin": None if partly else self.margin,
            "safe": self.safe,
            "steps": self.steps,
            "critique": critiques,
        }
        told |= {"ratings": ratings, "tie": ties, "gold": refined}
        return frozenset(name for name, value in told.items() if value is not None)

    def _check_prompt(self) -> None:
        turns = sum(part.messages is not None for part in self.prompt) + (self.split_common_prefix is not None)
        if turns > 1 or (turns and any(part.text is not None for part in self.prompt)):
            raise ValueError("a prompt is either texts and images of one turn, or one list of turns and images")
        if self.kind == "demonstration" and self.completion is None and self.answers is None and not turns:
            raise ValueError("a demonstration needs `completion`, or turns whose last one is the answer")

    def _check_preference(self) -> None:
        given = [self.responses, self.answers, self.split_common_prefix]
        if sum(value is not None for value in given) != 1:
            raise ValueError(f"a {self.kind} needs exactly one of `responses`, `answers`, `split_common_prefix`")
        if self.preferred is None and self.ratings is None:
            raise ValueError(f"a {self.kind} needs `preferred` (or `ratings`): which response is the chosen one")
        if self.answers is not None and (self.feedback, self.margin, self.safe) != (None, None, None):
            raise ValueError("`feedback`, `margin` and `safe` belong to two `responses`, not to a list of `answers`")
        if self.accept.gap is not None and self.answers is None and self.margin is None:
            raise ValueError("`accept.gap` of two responses needs `margin`: by how much the better one is better")
        if self.kind == "ranking" and self.answers is None:
            raise ValueError("a ranking needs `answers`, a list column; of two `responses` it is a preference")


def columns_read(options: Any) -> set[str]:
    """The columns of a row that a mapping reads, or a part of a mapping."""
    if isinstance(options, str):
        return {options.partition(".")[0].partition("[")[0]}
    if isinstance(options, list):
        return {column for one in options for column in columns_read(one)}
    if isinstance(options, Select):
        named = [options.column, options.first_of, options.join, list(options.fields.values()), options.then]
        return {column for one in named if one is not None for column in columns_read(one)}
    if isinstance(options, PartOptions):
        return columns_read(options.selector)
    if not isinstance(options, TemplateOptions):
        return set()
    literal = options.system if isinstance(options.system, Select) else None
    read = [options.prompt, options.responses, options.completion, options.answers, options.split_common_prefix]
    read += [literal, options.label, options.steps, options.safe, options.margin, options.answer, options.tools]
    return {column for one in read if one is not None for column in columns_read(one)}
