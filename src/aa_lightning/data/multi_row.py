"""Prompts that are made of several rows: a picture among others, demonstrations before the question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass as plain
from dataclasses import field, replace
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import BY_NAME, STRICT
from aa_lightning.types import Example, Kind, Message, Preference, text

Place = tuple[int, int]  # a row, and which of its examples
_DRAWN = 64  # rows among which one of about the same length is sought
_ORDINALS = ("first", "second", "third", "fourth")
_CORNERS = ("top left", "top right", "bottom left", "bottom right")


@plain
class QuestionIndex:
    """Index of questions: the rows that ask each, and the right answer there.

    Attributes:
        read: the decoded example at a place.
        places: by question and answer.
        asked: by question.
        told: question and answer by place.
    """

    read: Callable[[Place], Example]
    places: dict[str, dict[str, list[Place]]] = field(default_factory=dict)
    asked: dict[str, list[Place]] = field(default_factory=dict)
    told: dict[Place, tuple[str, str]] = field(default_factory=dict)

    def add(self, example: Example, place: Place) -> None:
        """Enter an example, decoded or not.

        Raises:
            ValueError: it has no single picture, more than one turn, or no words.
        """
        question, answer = _question(example), _answer(example)
        asked = [message for message in example.messages if message["role"] != "system"]
        media = [part["type"] for message in asked for part in message["content"] if part["type"] != "text"]
        if len(asked) != 1 or media != ["image"] or not question:
            raise ValueError(
                f"data.multi_row needs one turn with one image and a question, and there are {len(asked)} turns with "
                f"{len(media)} media."
            )
        self.told[place] = question, answer
        self.places.setdefault(question, {}).setdefault(answer, []).append(place)
        self.asked.setdefault(question, []).append(place)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Album:
    """The picture of a row among those of others, and the question about it alone (MIA-DPO, 2410.17637).

    Attributes:
        forms: sequence: pictures one after another; grid: all in one; inset: one small in a corner of another.
        images: in a sequence or a grid.
        rejected: own: the row's worse answer; other: what is right about another picture of the album, where one was asked
            the same question, and otherwise the row's own.
    """

    name: Literal["album"]
    forms: list[Literal["sequence", "grid", "inset"]] = Field(min_length=1)
    images: int = Field(ge=2, le=4)
    rejected: Literal["own", "other"]
    seed: int = 0

    makes_pairs: ClassVar = False
    lacking: ClassVar = "There are too few other rows for data.multi_row.images."

    def has_partners(self, place: Place, catalogue: QuestionIndex) -> bool:
        """Tell whether there are other rows enough."""
        return len(catalogue.told) >= self.images

    def made(self, example: Example, place: Place, catalogue: QuestionIndex) -> Example:
        """The example with its picture among others, the same whenever it is asked for."""
        from aa_lightning.data.collage import arrange

        rng = Random(f"{self.seed}/album/{example.id}")
        form = rng.choice(self.forms)
        count = 2 if form == "inset" else self.images
        misleading = self._misleading(example, place, catalogue, rng)
        beside = self._beside(place, catalogue, rng, misleading, count - 1)
        spot = rng.randrange(count)
        pictures = [_picture(other) for other in beside]
        pictures.insert(spot, _picture(example))
        asked = f"In the {_where(form, spot)}: {_decapitalised(catalogue.told[place][0])}"
        shown = [{"type": "image", "image": picture} for picture in arrange(form, pictures)]
        turn: Message = {"role": "user", "content": [*shown, text(asked)]}
        changed: dict[str, Any] = {"rejected": beside[0].responses[0]} if misleading else {}
        return replace(example, messages=[*example.messages[:-1], turn], **changed)

    def _misleading(self, example: Example, place: Place, catalogue: QuestionIndex, rng: Random) -> list[Place]:
        """A row whose right answer is wrong here, about as long, or lengths would tell which answer is the better one."""
        if self.rejected == "own" or not isinstance(example, Preference):
            return []
        question, right = catalogue.told[place]
        asked = catalogue.asked[question]
        drawn = [catalogue.told[other] + (other,) for other in rng.sample(asked, min(_DRAWN, len(asked)))]
        wrong = [(abs(len(answer) - len(right)), other) for _, answer, other in drawn if answer != right]
        return [min(wrong)[1]] if wrong else []

    def _beside(
        self, place: Place, catalogue: QuestionIndex, rng: Random, first: list[Place], count: int
    ) -> list[Example]:
        chosen = list(first)
        everywhere = list(catalogue.told)
        while len(chosen) < count:
            other = rng.choice(everywhere)
            chosen += [other] if other != place and other not in chosen else []
        return [catalogue.read(other) for other in chosen]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Symbols:
    """Demonstrations of the same question in which symbols stand for answers; only who looks finds the symbol of the
    right one (SymDPO, 2411.11909). Rows need nothing but a right answer: the wrong symbol is that of another.

    Attributes:
        demonstrations: before the question, one of them with the same answer.
        symbols: words that mean nothing here.
    """

    name: Literal["symbols"]
    demonstrations: int = Field(ge=2)
    symbols: list[str]
    seed: int = 0

    makes_pairs: ClassVar = True
    lacking: ClassVar = (
        "Too few other rows ask the same, one of them with the same answer, for data.multi_row.demonstrations."
    )

    @model_validator(mode="after")
    def _has_a_symbol_for_each(self) -> Symbols:
        if len(set(self.symbols)) < self.demonstrations:
            raise ValueError(f"{self.demonstrations} demonstrations need as many different symbols")
        return self

    def has_partners(self, place: Place, catalogue: QuestionIndex) -> bool:
        """Tell whether the same is asked often enough."""
        question, right = catalogue.told[place]
        found = catalogue.places[question]
        return len(found[right]) > 1 and len(found) >= self.demonstrations

    def made(self, example: Example, place: Place, catalogue: QuestionIndex) -> Preference:
        """The pair of the right and of a wrong symbol, the same whenever it is asked for."""
        rng = Random(f"{self.seed}/symbols/{example.id}")
        question, right = catalogue.told[place]
        found = catalogue.places[question]
        alike = {**found, right: [other for other in found[right] if other != place]}
        wrong = rng.sample([answer for answer in found if answer != right], self.demonstrations - 1)
        answers = rng.sample([right, *wrong], self.demonstrations)
        symbol = dict(zip(answers, rng.sample(self.symbols, len(answers)), strict=True))
        turns: list[Message] = []
        for answer in answers:
            asked = catalogue.read(rng.choice(alike[answer])).messages[-1]
            turns += [asked, {"role": "assistant", "content": [text(symbol[answer])]}]
        return Preference(
            id=example.id,
            messages=[*example.messages[:-1], *turns, example.messages[-1]],
            answer=symbol[right],
            keep=example.keep,
            chosen=[text(symbol[right])],
            rejected=[text(symbol[rng.choice(wrong)])],
        )


MultiRow = Annotated[Album | Symbols, Field(discriminator="name"), BY_NAME]


def source_kind_for(multi_row: Album | Symbols | None, wanted: Kind) -> Kind:
    """The kind of rows that are read to make what is wanted of them.

    Raises:
        ValueError: what is made is not of that kind.
    """
    if multi_row is None or (not multi_row.makes_pairs and wanted not in ("feedback", "critique")):
        return wanted
    if multi_row.makes_pairs and wanted in ("prompt", "demonstration", "preference"):
        return "demonstration"
    made = "two answers" if multi_row.makes_pairs else "the answers of their row"
    raise ValueError(
        f"data.multi_row.name={multi_row.name} makes prompts with {made}, and the algorithm learns from {wanted} rows: type "
        "algo=dpo, or another one of preferences, or data.multi_row=null"
    )


def _question(example: Example) -> str:
    return " ".join(part["text"] for part in example.messages[-1]["content"] if part["type"] == "text").strip()


def _answer(example: Example) -> str:
    said = example.responses[0] if example.responses else []
    return "".join(part["text"] for part in said if part["type"] == "text").strip()


def _picture(example: Example) -> Any:
    return next(part["image"] for part in example.messages[-1]["content"] if part["type"] == "image")


def _where(form: str, spot: int) -> str:
    if form == "inset":
        return f"{('large', 'small')[spot]} picture"
    return f"{_ORDINALS[spot]} picture" if form == "sequence" else f"picture at the {_CORNERS[spot]}"


def _decapitalised(question: str) -> str:
    return f"{question[0].lower()}{question[1:]}"
