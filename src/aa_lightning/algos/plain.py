"""Algorithms that are plain classes: `__call__(policy, batch) -> (loss, metrics)`, and nothing else that they must say."""

from __future__ import annotations

from copy import copy
from typing import Any, ClassVar, get_args

from aa_lightning.algos.hyperparameters import Objective
from aa_lightning.algos.step import takes_step
from aa_lightning.types import Algorithm, Kind


class Plain(Objective):
    """Attributes of an algorithm whose class leaves them out."""

    supervision: ClassVar = "preference"
    accepts: ClassVar = ("exact", "elbo")
    trains: ClassVar = "policy"
    uses_reference: ClassVar = False

    @property
    def of_reference(self) -> tuple[str, ...]:
        """Whatever it wants: a class need not say what it reads of the reference."""
        return tuple(self.wants)


def completed(algorithm: Any) -> Algorithm:
    """An algorithm that says everything of itself: what its own class leaves open is as `Plain` has it.

    Raises:
        ValueError: it is no algorithm, or it says what means nothing.
    """
    if isinstance(algorithm, Objective):
        return algorithm
    cls = type(algorithm)
    if not callable(algorithm):
        raise ValueError(
            f"_target_: {cls.__module__}.{cls.__name__} is no algorithm: name a class with "
            "__call__(self, policy, batch) that returns a loss and a dictionary of metrics"
        )
    whole = copy(algorithm)
    object.__setattr__(whole, "__class__", type(cls.__name__, (cls, Plain), {"__module__": cls.__module__}))
    _check(whole)
    return whole


def _check(algorithm: Algorithm) -> None:
    """Refuse words that nothing else would understand.

    Raises:
        ValueError: what the class says, and what it may say.
    """
    allowed = {"supervision": get_args(Kind), "trains": ("policy", "reward_model")}
    name = type(algorithm).__name__
    for attribute, given in (("supervision", algorithm.supervision), ("trains", algorithm.trains)):
        if given not in allowed[attribute]:
            raise ValueError(
                f"{name}.{attribute} = {given!r} means nothing: write one of {', '.join(allowed[attribute])}"
            )
    lists = {"accepts": algorithm.accepts, "wants": algorithm.wants, "remembers": algorithm.remembers}
    for attribute, given in lists.items():
        if isinstance(given, str):
            raise ValueError(f"{name}.{attribute} = {given!r} is a text where a tuple is needed: write ({given!r},)")
    if algorithm.remembers and not takes_step(algorithm):
        raise ValueError(
            f"{name}.remembers = {algorithm.remembers!r} is kept in step.memory, and {name} takes no step: write "
            "__call__(self, policy, batch, step)"
        )
