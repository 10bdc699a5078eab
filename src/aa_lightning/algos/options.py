"""How an algorithm declares its hyperparameters: typed, immutable, and nothing else accepted."""

from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid")

hyperparameters = dataclass(frozen=True, kw_only=True, config=STRICT)


@hyperparameters
class Part:
    """A part of an objective, chosen by its name.

    Attributes:
        wants: what a batch must bring besides its responses.
        remembers: statistics that are carried from step to step.
    """

    wants: ClassVar[tuple[str, ...]] = ()
    remembers: ClassVar[tuple[str, ...]] = ()
