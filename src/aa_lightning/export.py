"""A trained model as a folder that transformers, diffusers or peft load by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor


def export(policy: Any, weights: dict[str, Tensor] | None, folder: Path) -> Path:
    """Write model and processor, whole or not at all.

    Args:
        policy: what was trained.
        weights: its gathered weights, where a strategy sharded them; None: its own.
        folder: the target; an older export there is replaced.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    policy.save(aside, weights)
    shutil.rmtree(folder, ignore_errors=True)
    return aside.rename(folder)
