"""A trained model as a folder that transformers, diffusers or peft load by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from aa_lightning.models.lora import move_bases
from aa_lightning.models.whole import seal
from aa_lightning.system.atomic import publish
from aa_lightning.system.console import say


def export(policy: Any, weights: dict[str, Tensor] | None, folder: Path) -> Path:
    """Write model and processor, whole or not at all, and say what others must know of it.

    Args:
        policy: what was trained.
        weights: its gathered weights, where a strategy sharded them; None: its own.
        folder: the target; an older export there is replaced.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    remark = policy.save(aside, weights)
    move_bases(aside, folder)
    seal(aside)
    shutil.rmtree(folder, ignore_errors=True)
    if remark is not None:
        say(remark)
    return publish(aside, folder)
