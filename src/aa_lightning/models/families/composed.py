"""Family fields that depend on the components of a composed model: the media that it reads, and which parameters stay
idle."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from aa_lightning.models.families.family import Family


def idle(config: Any) -> str | None:
    """Parameters of the towers behind the states that are read, as the configuration names them."""
    return rf"^({'|'.join(re.escape(name) for name in config.idle)})$" if config.idle else None


class Composed(Family):
    """The family whose media hang on a model's towers, and shared rows on its language model."""

    def of_model(self, config: Any, lookup: Callable[[Any], Family]) -> Family:
        media = config.reads
        return replace(
            self,
            media=media,
            towers=tuple(tower for tower in self.towers if set(tower) & set(media)),
            shares_prefix=lookup(config.get_text_config()).shares_prefix,
        )
