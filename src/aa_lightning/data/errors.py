"""Faults of rows, with row and column."""

from __future__ import annotations

from typing import Any

_LONGEST = 2_000  # characters of a reason, which may name the columns of a row that has many


class BadRow(ValueError):
    """A row that cannot become an example. `reason` is made of full sentences.

    `column` is the column (or the path into it) at fault. Characters that no terminal and no file can write are spelled out.
    """

    def __init__(self, row: str, column: str, reason: str):
        reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}…"
        column, reason = (said.encode(errors="backslashreplace").decode() for said in (column, reason))
        super().__init__(f"row {row}, column {column!r}: {reason}")
        self.row, self.column, self.reason = row, column, reason

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        """Errors travel out of worker processes."""
        return type(self), (self.row, self.column, self.reason)


class LeftOut(BadRow):
    """A row that the template itself wants left out: a tie, two equal responses, a label without a decision."""


def described(value: Any) -> str:
    """A value of a row as errors show it: short, with its type."""
    if value is None:
        return "null"
    try:
        written = repr(value)
    except ValueError:  # Python spells no number of thousands of digits
        written = "a number too long to be written"
    return f"{written if len(written) <= 80 else written[:77] + '...'} (of type {type(value).__name__})"
