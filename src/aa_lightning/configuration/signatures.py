"""Classes that check the arguments of a user's own class. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import field, make_dataclass
from typing import Any, get_type_hints

from pydantic.dataclasses import dataclass, is_pydantic_dataclass

from aa_lightning.configuration.schema import STRICT
from aa_lightning.configuration.wording import ConfigError


def schema_of(named: type) -> type | None:
    """A class with the same arguments, of the same types and no others; None: the class takes whatever it is given.

    Args:
        named: any class; one of pydantic checks by itself and is returned as it is.

    Raises:
        ConfigError: it is a function.
    """
    if inspect.isroutine(named):
        raise ConfigError(
            f"_target_: {named.__module__}.{named.__name__} is a function, and a class is needed\n"
            "type: the name of a class; an algorithm has __call__(self, policy, batch)"
        )
    return arguments_of(named)


def arguments_of(named: Callable[..., Any], without: Collection[str] = ()) -> type | None:
    """A class with the arguments of a class or a function; None: it takes whatever it is given.

    Args:
        named: one of pydantic's dataclasses checks by itself and is returned as it is.
        without: arguments that are no options.
    """
    if is_pydantic_dataclass(named):
        return named
    arguments = [one for one in inspect.signature(named).parameters.values() if one.name not in without]
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return None
    hints = get_type_hints(named.__init__ if inspect.isclass(named) else named)
    made = make_dataclass(
        named.__name__, [_field(argument, hints.get(argument.name, Any)) for argument in arguments], kw_only=True
    )
    return dataclass(made, config=STRICT)


def _field(argument: inspect.Parameter, hint: Any) -> tuple:
    if argument.default is argument.empty:
        return argument.name, hint
    return argument.name, hint, field(default_factory=lambda: argument.default)
