"""Store of what stays in memory from epoch to epoch, up to a number of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor


class Kept:
    """Items by their index, as long as they fit.

    Args:
        limit: bytes of all of them together.
    """

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self._items: dict[int, Any] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._items

    def __getitem__(self, index: int) -> Any:
        return self._items[index]

    def offer(self, index: int, item: Any) -> None:
        """Keep an item if there is room for it."""
        size = bytes_of(item)
        if self.size + size <= self.limit:
            self._items[index], self.size = item, self.size + size


def bytes_of(value: Any) -> int:
    """The memory behind tensors, arrays, pictures and text, wherever they lie in a value."""
    if isinstance(value, Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(bytes_of(part) for part in value.values())
    if isinstance(value, Sequence):
        return sum(bytes_of(part) for part in value)
    if is_dataclass(value):
        return bytes_of(vars(value))
    return 0
