"""How an algorithm declares its hyperparameters: typed, immutable, and nothing else accepted."""

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

hyperparameters = dataclass(frozen=True, kw_only=True, config=STRICT)
