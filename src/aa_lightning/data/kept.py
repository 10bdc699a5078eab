"""Store of what stays in memory once it is made, up to a number of bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Items by their index, as long as they fit.

    Args:
        limit: bytes of all of them together.
    """

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self._items: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, index: int) -> bool:
        return index in self._items

    def __getitem__(self, index: int) -> T:
        return self._items[index]

    def share(self, processes: int) -> None:
        """Leave to each of several processes, which begin as copies of this one, its part of the room that is left."""
        self.limit = self.size + (self.limit - self.size) // processes

    def offer(self, index: int, item: T, size: int) -> None:
        """Keep an item of so many bytes if there is room for it."""
        if self.size + size <= self.limit:
            self._items[index], self.size = item, self.size + size
