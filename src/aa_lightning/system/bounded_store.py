"""Values that are made once: kept in memory, and on the disk for later runs, each as long as they fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from aa_lightning.system.cache import bytes_of, keep_within
from aa_lightning.system.console import say
from aa_lightning.system.store import Store

_Found = TypeVar("_Found")
_IN_MEMORY = 2**30  # bytes of a process
_FREE = 2**30  # bytes that are left to others on the disk


class BoundedStore:
    """Values of any number of makers by their keys.

    What is there stays. A value that does not fit any more is given back to be made again, so that rows which come round in
    turn are found as often as there is room, where a cache of the last ones would find none of them.

    Args:
        parent: of a folder for each maker. Those that were not used for longest go where all of them together are too large.
        most: bytes on the disk, of this maker or of all of them. No more are kept in memory.
    """

    def __init__(self, parent: Path, most: int):
        self.parent, self.most = parent, most
        self._values: dict[tuple[str, bytes], bytes] = {}
        self._size = 0
        self._stores: dict[str, Store] = {}
        self._has_disk = True

    def get(self, maker: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Those values of a maker that are there."""
        found = {key: self._values[maker, key] for key in keys if (maker, key) in self._values}
        missing = {*keys} - found.keys()
        if missing:
            from_disk = self._with_store(maker, lambda store: store.get(missing)) or {}
            self._remember(maker, from_disk)
            found |= from_disk
        return found

    def put(self, maker: str, values: Mapping[bytes, bytes]) -> None:
        """Keep values where there is room."""
        self._remember(maker, values)
        if values:
            self._with_store(maker, lambda store: self._write(store, values))

    def _remember(self, maker: str, values: Mapping[bytes, bytes]) -> None:
        for key, value in values.items():
            if self._size + len(value) <= min(self.most, _IN_MEMORY):
                self._size += len(value)
                self._values[maker, key] = value

    def _write(self, store: Store, values: Mapping[bytes, bytes]) -> None:
        size = sum(map(len, values.values()))
        if bytes_of(store.folder) + size <= self.most and shutil.disk_usage(store.folder).free >= size + _FREE:
            store.put(values)

    def _with_store(self, maker: str, work: Callable[[Store], _Found]) -> _Found | None:
        """Do something with the store of a maker; None once there is none: a run does not end for want of a disk on which to
        keep what it can make again."""
        if not self._has_disk:
            return None
        try:
            return work(self._store(maker))
        except OSError as error:
            say(f"features are kept in memory alone: {error}")
            self._has_disk = False
            return None

    def _store(self, maker: str) -> Store:
        if maker not in self._stores:
            folder = self.parent / maker
            folder.mkdir(parents=True, exist_ok=True)
            folder.touch()
            keep_within(self.parent, self.most)
            self._stores[maker] = Store(folder)
        return self._stores[maker]
