"""Family fields that depend on the components of a composed model: the media that it reads, and which parameters stay
idle."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from aa_lightning.models.families.family import Family


def idle(config: Any) -> str | None:
    """Parameters of the towers behind the states that are read, as the configuration names them."""
    return rf"^({'|'.join(re.escape(name) for name in config.idle)})$" if config.idle else None


def of_its_parts(row: Family, config: Any, language: Family) -> Family:
    """Complete the family of a composed model: its towers decide which media it reads, its language model whether rows are
    shared."""
    media = config.reads
    return replace(
        row,
        media=media,
        placeholders=tuple(f"{medium}_token" for medium in media),
        towers=tuple(tower for tower in row.towers if set(tower) & set(media)),
        shares_prefix=language.shares_prefix,
    )
