"""The command that trains, killed in the midst of what it does: with `DIES="<what> <n>"`, when that begins the n-th time."""

from __future__ import annotations

import os
import signal
import time
from functools import wraps
from typing import Any

from aa_lightning import train
from aa_lightning.models.token.network import TokenNetwork
from aa_lightning.rewards.reward import Rewards
from aa_lightning.training.drawing import Drawing
from aa_lightning.training.module import AlignmentModule

WHAT: dict[str, tuple[type, str]] = {  # and how it is called in a run
    "drawing": (TokenNetwork, "next_logits"),  # a token of each response, and of held-out answers
    "scoring": (Rewards, "__call__"),
    "reading": (Drawing, "_read_again"),
    "learning": (AlignmentModule, "training_step"),
}


def main() -> None:
    what, at = os.environ["DIES"].split()
    owner, name = WHAT[what]
    called, count = getattr(owner, name), iter(range(1, 10**6))

    @wraps(called)
    def dying(*args: Any, **given: Any) -> Any:
        if next(count) == int(at):
            os.kill(os.getsid(0), signal.SIGKILL)  # the command, whose ranks end with it
            time.sleep(60)
        return called(*args, **given)

    setattr(owner, name, dying)
    train.main()
