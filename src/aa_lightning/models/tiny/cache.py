"""Tiny models are built once per machine: a folder in the user's cache, found again by a key of all that shaped it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aa_lightning.system.cache import cache_root, code_of, made_once

_LIBRARIES = ("torch", "transformers", "tokenizers", "diffusers")


def tiny_folder(family: str, sizes: Mapping[str, Any] | None = None, seed: int = 0) -> Path:
    """The folder of a tiny model, built on first use.

    Of processes that ask at the same time one builds, and the others wait.

    Args:
        family: a key of `aa_lightning.models.tiny.families.FAMILIES`.
        sizes: what differs from the family's default sizes.
        seed: of the weights.

    Raises:
        ValueError: the family or a size is unknown.
    """
    sizes = dict(sizes or {})
    folder = cache_root() / "tiny" / f"{family}-{_key(family, sizes, seed)}"

    def build_it(workshop: Path) -> None:
        from aa_lightning.models.tiny.families import build

        try:
            build(family, workshop, seed=seed, **sizes)
        except ValueError:
            shutil.rmtree(workshop)
            raise

    return made_once(folder, build_it)


def _key(family: str, sizes: dict[str, Any], seed: int) -> str:
    shaped_by = {
        "family": family,
        "sizes": sizes,
        "seed": seed,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "source": code_of("models/tiny", "data/shapes"),  # a VAE is fitted on pictures of Shapes
    }
    return hashlib.sha256(json.dumps(shaped_by, sort_keys=True).encode()).hexdigest()[:16]
