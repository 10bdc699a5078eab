"""The strategy of a `trainer` section, and what it means for the rest of a run. Imports neither torch nor Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Strategy:
    """One strategy, as conf/strategy/ names it.

    Attributes:
        name: of its class, "" where Lightning chooses.
        stage: of ZeRO.
        offload: whether the optimiser's state is in host memory, and in stage 3 the weights.
    """

    name: str = ""
    stage: int | None = None
    offload: bool = False

    @property
    def is_deepspeed(self) -> bool:
        """Tell whether DeepSpeed's engine trains, which keeps weights in float32 beside."""
        return "DeepSpeed" in self.name

    @property
    def shards_weights(self) -> bool:
        """Tell whether no process holds all weights, those of a frozen reference too."""
        return self.name == "FSDP" or self.stage == 3


def strategy_of(trainer: Mapping[str, Any]) -> Strategy:
    """Read the strategy off a `trainer` section."""
    given = trainer.get("strategy")
    if not isinstance(given, Mapping):
        return Strategy()
    return Strategy(given["_target_"].rpartition(".")[2], given.get("stage"), given.get("offload", False))
