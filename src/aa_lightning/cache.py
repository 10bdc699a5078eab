"""Where this package keeps what is made once for a machine: tiny models, stages, indexes of shards."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """`$AA_LIGHTNING_CACHE`, or `aa_lightning` in the user's cache folder."""
    given = os.environ.get("AA_LIGHTNING_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "aa_lightning"
