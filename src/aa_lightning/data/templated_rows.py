"""Rows that are read more than once, kept as their template made them."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from aa_lightning.types import Example


class TemplatedRows:
    """Examples that a template made of rows, as bytes.

    Args:
        limit: of all of them together.
    """

    def __init__(self, limit: int):
        self._room, self._rows = limit, dict[int, bytes]()

    def of(self, row: int, make: Callable[[], list[Example]]) -> list[Example]:
        """The examples of a row, made where they are not kept, and kept where there is room."""
        if row in self._rows:
            return pickle.loads(self._rows[row])
        examples = make()
        if self._room:
            packed = pickle.dumps(examples, pickle.HIGHEST_PROTOCOL)
            if len(packed) > self._room:
                self._room = 0
            else:
                self._room, self._rows[row] = self._room - len(packed), packed
        return examples
