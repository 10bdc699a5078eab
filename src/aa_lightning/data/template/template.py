"""A mapping written in YAML, applied to rows: one row gives one example or several, or is bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from aa_lightning.data.errors import LeftOut
from aa_lightning.data.sources.written import is_finite
from aa_lightning.data.template import functions
from aa_lightning.data.template.allowed import ANYTHING, Allowed
from aa_lightning.data.template.answers import accepts, make_pair, read_answers, response_columns
from aa_lightning.data.template.conversations import (
    only_answer,
    place_in_parts,
    place_in_turns,
    read_turns,
    split_prefix,
)
from aa_lightning.data.template.labels import by_scores, chosen_index, means, read_ratings
from aa_lightning.data.template.row_reader import Reader, name
from aa_lightning.data.template.schema import PartOptions, Selector, TemplateOptions
from aa_lightning.types import (
    Demonstration,
    Example,
    Feedback,
    Kind,
    Message,
    Part,
    Preference,
    Prompt,
    Rating,
    Response,
    text,
)


class Template:
    """Applies a mapping to rows. Media stay undecoded in the parts.

    Args:
        options: the mapping.
        allowed: what rows may name and hold.
    """

    def __init__(self, options: TemplateOptions, allowed: Allowed = ANYTHING):
        self.options, self.allowed = options, allowed
        self._function = functions.find(options.function.name) if options.function else None
        answers = [*(options.responses or []), *([options.completion] if options.completion else [])]
        read = [*options.prompt, *(part for answer in answers for part in answer)]
        self._kinds = {part.medium for part in read if part.medium is not None}

    def serving(self, wanted: Kind) -> Template:
        """The mapping that gives lists of answers whole to who ranks them, and the answers to keep to who imitates them."""
        options, kind = self.options, None
        if options.answers is not None and wanted == "ranking":
            kind = "ranking"
        elif options.keep_answers is not None and wanted == "demonstration":
            kind = "demonstration"
        if kind is None:
            return self
        other = copy(self)
        other.options = replace(options, kind=kind)
        return other

    def __call__(self, row: Mapping[str, Any], row_id: str) -> list[Example]:
        """The examples of a row, of the kind that the mapping names.

        Args:
            row: column to value.
            row_id: names the examples and errors.

        Raises:
            LeftOut: a drop rule of the mapping leaves the row out.
            BadRow: the row does not have what the mapping needs.
        """
        reader = Reader(row, row_id, self.options.drop, self.allowed)
        if self._function is not None:
            reader.row = {**row, **self._computed(reader)}
        examples = self._examples(reader)
        if len(examples) == 1:
            return examples
        return [replace(example, id=f"{row_id}/{i}") for i, example in enumerate(examples)]

    def _examples(self, reader: Reader) -> list[Example]:
        options = self.options
        if options.split_common_prefix is not None:
            return self._from_prefix(reader)
        if options.kind == "demonstration" and options.completion is None and options.answers is None:
            return self._from_turns(reader)
        base = self._base(reader, self._prompt(reader))
        if options.kind == "prompt":
            return [Prompt(**base)]
        if options.answers is not None:
            return read_answers(self.options, reader, base)
        asked = base["messages"]
        if options.kind == "demonstration":
            return [Demonstration(**base, response=self._answer(reader, options.completion, asked))]
        if options.kind == "rating":
            return [self._rating(reader, base)]
        responses = [self._answer(reader, answer, asked) for answer in options.responses]
        return [self._preference(reader, base, responses)]

    # ------------------------------------------------------------ prompts

    def _base(self, reader: Reader, messages: list[Message]) -> dict[str, Any]:
        options = self.options
        if messages[-1]["role"] not in ("user", "tool"):
            raise reader.bad(
                self._prompt_column,
                f"The prompt ends with a turn of the {messages[-1]['role']}; it must end with the user's. "
                "Leave the answer out with a slice: `messages: messages[:-1]`.",
            )
        return {
            "id": reader.id,
            "messages": messages,
            "answer": None if options.answer is None else reader.text_if_given(options.answer),
            "check": options.check or "exact",
            "tools": None if options.tools is None else reader.tools(options.tools),
            "keep": {
                key: [reader.value(s) for s in told] if isinstance(told, list) else reader.value(told)
                for key, told in options.keep.items()
            },
        }

    @property
    def _prompt_column(self) -> str:
        part = self.options.prompt[-1] if self.options.prompt else None
        return name(part.selector) if part else self.options.split_common_prefix[0]

    def _prompt(self, reader: Reader) -> list[Message]:
        """The turns up to the answer, or, for a conversation, with it."""
        turns = next((part.messages for part in self.options.prompt if part.messages is not None), None)
        if turns is not None:
            return self._with_media(reader, read_turns(reader, reader.value(turns), turns))
        parts = reader.parts(self.options.prompt)
        if not parts:
            raise reader.unwanted("empty", self._prompt_column, "The prompt is empty.")
        return self._with_system(reader, [{"role": "user", "content": self._placed(reader, parts)}])

    def _with_media(self, reader: Reader, messages: list[Message]) -> list[Message]:
        given = reader.parts([part for part in self.options.prompt if part.medium is not None])
        messages = place_in_turns(reader, messages, given, self._prompt_column, self._kinds)
        return self._with_system(reader, messages)

    def _with_system(self, reader: Reader, messages: list[Message]) -> list[Message]:
        system = self.options.system
        if system is None or messages[0]["role"] == "system":
            return messages
        said = system if isinstance(system, str) else reader.text_or_nothing(system)
        # an empty system turn would silence the one that a chat template writes by itself
        return [{"role": "system", "content": [text(said)]}, *messages] if said.strip() else messages

    # ------------------------------------------------------------ answers

    def _answer(self, reader: Reader, options: list[PartOptions], asked: Sequence[Message] = ()) -> Response:
        """The parts of an answer; one that is given as turns may repeat what was asked."""
        if len(options) == 1 and options[0].messages is not None:
            selector = options[0].messages
            turns = read_turns(reader, reader.value(selector), selector, "assistant")
            return only_answer(reader, turns, name(selector), asked)
        parts = reader.parts(options)
        if not parts:
            raise reader.unwanted("empty", name(options[0].selector), "The answer is empty.")
        return self._placed(reader, parts)

    def _placed(self, reader: Reader, parts: list[Part]) -> list[Part]:
        return place_in_parts(reader, parts, self._prompt_column, self._kinds)

    def _rating(self, reader: Reader, base: dict[str, Any]) -> Rating:
        """A response that is right if it is said to be, or if all of its steps are."""
        options = self.options
        if options.steps is None:
            response = self._answer(reader, options.completion, base["messages"])
            return Rating(**base, response=response, desirable=reader.truth(options.label))
        response = self._stepwise(reader, options.completion[0].selector)
        right = tuple(reader.truth_of(value, options.steps) for value in reader.elements(options.steps))
        if len(right) != len(response):
            raise reader.bad(name(options.steps), f"There are {len(right)} values for {len(response)} steps.")
        desirable = all(right) if options.label is None else reader.truth(options.label)
        return Rating(**base, response=response, desirable=desirable, steps=right)

    def _stepwise(self, reader: Reader, selector: Selector) -> Response:
        """One part for each step, a line each."""
        steps = [reader.text_part(str(step or ""), name(selector)) for step in reader.elements(selector)]
        if not steps:
            raise reader.unwanted("empty", name(selector), "There is no step.")
        return [*(text(f"{step['text'].rstrip()}\n") for step in steps[:-1]), steps[-1]]

    def _preference(self, reader: Reader, base: dict[str, Any], responses: list[Response]) -> Preference:
        options = self.options
        ratings = read_ratings(reader, options.ratings or {}, n=2)
        if options.preferred is not None:
            chosen = chosen_index(reader, options.preferred)
        else:
            chosen = by_scores(reader, means(reader, ratings), ", ".join(ratings))
        order = (0, 1) if chosen is None else (chosen, 1 - chosen)
        made = make_pair(self.options, reader, base, responses, order, ratings)
        safe = None if options.safe is None else tuple(reader.truth(options.safe[i]) for i in order)
        made = replace(made, margin=self._margin(reader, order), safe=safe, tie=chosen is None)
        if not accepts(self.options, made.margin, made.chosen, made.rejected):
            raise LeftOut(reader.id, response_columns(self.options), "The pair is none that `accept` accepts.")
        if not isinstance(made, Feedback) or options.feedback is None:
            return made
        told = options.feedback
        critiques = [None if c is None else reader.text(c) for c in told.critique or (None, None)]
        refined = [None if r is None else self._answer(reader, r) for r in told.refinement or (None, None)]
        return replace(
            made,
            critique=(critiques[order[0]], critiques[order[1]]),
            refinement=(refined[order[0]], refined[order[1]]),
        )

    def _margin(self, reader: Reader, order: tuple[int, int]) -> float | None:
        margin = self.options.margin
        if margin is None:
            return None
        if not isinstance(margin, list):
            given = reader.if_given(margin)
            return None if given is None else self._signed(reader, reader.number(given, name(margin)), name(margin))
        first, second = (reader.number(reader.value(margin[i]), name(margin[i])) for i in order)
        return self._signed(reader, first - second, ", ".join(map(name, margin)))

    def _signed(self, reader: Reader, margin: float, column: str) -> float:
        if margin < 0:
            raise reader.bad(
                column,
                f"The margin is {margin:g}, as if the chosen response were the worse one: a margin says by how much it is "
                "better, and is 0 or more.",
            )
        return margin

    # ------------------------------------------------------------ rows that give other forms

    def _from_prefix(self, reader: Reader) -> list[Example]:
        messages, *responses = split_prefix(reader, self.options.split_common_prefix)
        if not messages:
            raise reader.bad(self._prompt_column, "The two conversations share no turn that could be the prompt.")
        base = self._base(reader, self._with_media(reader, messages))
        return [self._preference(reader, base, responses)]

    def _from_turns(self, reader: Reader) -> list[Example]:
        messages = self._prompt(reader)
        if messages[-1]["role"] != "assistant":
            raise reader.bad(self._prompt_column, f"The last turn is the {messages[-1]['role']}'s, not an answer.")
        answered = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if self.options.turns == "last":
            answered = answered[-1:]
        answered = [i for i in answered if "unlearnt" not in messages[i]]
        if not answered:
            raise reader.bad(self._prompt_column, "The answer is marked as one that is not learnt (loss or weight).")
        asked = [i for i in answered if i > 0 and messages[i - 1]["role"] in ("user", "tool")]
        if not asked:
            raise reader.bad(self._prompt_column, "The answer follows no turn of the user or of a tool.")
        return [Demonstration(**self._base(reader, messages[:i]), response=messages[i]["content"]) for i in asked]

    def _computed(self, reader: Reader) -> dict[str, Any]:
        told = self.options.function
        values = [reader.value(column) for column in told.columns]
        columns = ", ".join(told.columns)
        try:
            made = self._function(*values, **told.arguments)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise reader.bad(columns, f"The function {told.name} refuses it: {error}") from error
        if not is_finite([values, made]):  # which no comparison notices
            raise reader.bad(
                columns, f"The function {told.name} works on finite numbers, and NaN or infinity was found."
            )
        return made
