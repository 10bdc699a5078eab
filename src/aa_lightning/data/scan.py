"""The findings of reading all rows of a split once."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from itertools import compress
from random import Random

from aa_lightning.data.records import Record
from aa_lightning.types import Example, Rating

_LOOKED_AT = 32  # rows that are read again where a scan is used again


@dataclass(frozen=True)
class Dropped:
    """A row that was left out, and why. `declared`: the template itself wants such rows left out."""

    row: str
    column: str
    reason: str
    declared: bool = False


def _numbers() -> array:
    return array("q")  # 8 bytes a number, where a list takes 36


@dataclass
class Scan:
    """The examples that rows give, and what set-up must know of them.

    Attributes:
        rows: of the source, for each example.
        parts: which of the examples of that row.
        dropped: rows that were left out.
        showing: how many prompts show each medium.
        labels: how many answers are desirable, and how many are not.
    """

    rows: array = field(default_factory=_numbers)
    parts: array = field(default_factory=_numbers)
    dropped: list[Dropped] = field(default_factory=list)
    showing: Counter[str] = field(default_factory=Counter)
    labels: Counter[bool] = field(default_factory=Counter)

    def enter(self, row: int, examples: Sequence[Example]) -> None:
        """Take the examples of a row."""
        self.labels.update(example.desirable for example in examples if isinstance(example, Rating))
        self.showing.update(medium for example in examples for medium in prompt_media_of(example))
        self.rows.extend([row] * len(examples))
        self.parts.extend(range(len(examples)))

    def keep(self, served: Sequence[bool]) -> None:
        """Leave examples out, one value for each."""
        self.rows, self.parts = (array("q", compress(kept, served)) for kept in (self.rows, self.parts))

    def looked_at(self) -> dict[int, int]:
        """Some rows with the number of their examples, others each time; and all that had a fault, which may be mended."""
        drawn = Random().sample(range(len(self.rows)), min(_LOOKED_AT, len(self.rows)))
        rows = {
            self.rows[i]: bisect_right(self.rows, self.rows[i]) - bisect_left(self.rows, self.rows[i]) for i in drawn
        }
        return rows | {int(dropped.row): 0 for dropped in self.dropped if not dropped.declared}

    def record(self) -> Record:
        """Return it as numbers and what JSON can hold."""
        labels = [[label, count] for label, count in self.labels.items()]
        told = {"dropped": list(map(astuple, self.dropped)), "showing": self.showing, "labels": labels}
        return Record({"rows": self.rows, "parts": self.parts}, told)


def scan_of(record: Record) -> Scan:
    """The scan that a record holds."""
    told = record.told
    dropped = [Dropped(*row) for row in told["dropped"]]
    return Scan(
        record.numbers["rows"],
        record.numbers["parts"],
        dropped,
        Counter(told["showing"]),
        Counter(dict(told["labels"])),
    )


def prompt_media_of(example: Example) -> set[str]:
    """The kinds of media that a prompt shows."""
    return {part["type"] for message in example.messages for part in message["content"]} - {"text"}
