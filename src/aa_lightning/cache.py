"""Where this package keeps what is made once for a machine: tiny models, stages, indexes of shards."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """`$AA_LIGHTNING_CACHE`, or `aa_lightning` in the user's cache folder: `$XDG_CACHE_HOME`, or `~/.cache`."""
    given = os.environ.get("AA_LIGHTNING_CACHE")
    if given:
        return Path(given)
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return (
        users if users.is_absolute() else Path.home() / ".cache"
    ) / "aa_lightning"  # relative ones are invalid there
