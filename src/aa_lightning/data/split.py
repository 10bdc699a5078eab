"""The rows of a split, and the key under which what was found in them is kept."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Literal

from aa_lightning.data.options import DataOptions, Table
from aa_lightning.data.records import code_that_reads, state_of
from aa_lightning.data.shapes import Shapes
from aa_lightning.data.sources.open import is_local, local_files
from aa_lightning.data.template.allowed import Allowed
from aa_lightning.types import Kind

Split = Literal["train", "val"]
_UNCHANGING = (".jsonl", ".json", ".csv", ".parquet", ".arrow")  # files whose rows stand in them


def rows_of(size: int, options: DataOptions, split: Split) -> Sequence[int]:
    """The rows of a source that belong to a split, by index.

    Raises:
        ValueError: there is none.
    """
    rows: Sequence[int] = range(size)
    if options.val_share is not None:
        kept = held_out(size, options.val_share)
        rows = array("q", (row for row in rows if (row in kept) == (split == "val")))
        if not rows:
            raise ValueError(
                f"{size} row cannot be both trained on and held out: give more rows, or type data.val_share=null "
                "+data.val.path=<file> to measure on others"
                if size == 1
                else f"{options.train.path} holds no rows"
            )
    return rows[: options.limit]


def held_out(size: int, share: float) -> set[int]:
    """The rows to hold out of `size`: by a hash of each one's index, so that rows keep their side when others are added.

    At least one is held out and at least one trains, where there are two.
    """
    hashes = (blake2b(str(row).encode(), digest_size=4).digest() for row in range(size))
    place = array("d", (int.from_bytes(digest, "big") / 2**32 for digest in hashes))
    found = {row for row in range(size) if place[row] < share}
    if size > 1 and not found:
        return {min(range(size), key=place.__getitem__)}
    return found - {max(range(size), key=place.__getitem__)} if size > 1 and len(found) == size else found


def key_of(origin: Shapes | Table, options: DataOptions, split: Split, wanted: Kind, allowed: Allowed) -> str | None:
    """All that decides what is found in the rows of a split, as one text; None where that is not kept: rows may change
    unseen, all of them are needed, or all media are looked into."""
    if isinstance(origin, Shapes) or not is_local(origin) or options.multi_row is not None or options.verify_media:
        return None
    files = local_files(origin)
    if not all(file.is_file() and file.suffix in _UNCHANGING for file in files):
        return None
    asked = replace(options, val=None, templates={})
    rooted = allowed if allowed.root is None else replace(allowed, root=os.path.abspath(allowed.root))
    told = f"{split} {wanted} {rooted!r} {asked!r}"
    # folders of media may be named by variables
    return "\n".join([code_that_reads(), os.path.expandvars(told), *map(state_of, files)])
