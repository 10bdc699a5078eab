"""What an option of a model names by its import path: a user's own decoder or encoder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def named(option: str, path: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
    """The object at `<package>.<module>.<name>`.

    Args:
        option: as it is typed, for errors.
        path: what was typed.
        wanted: in words, what the option takes.
        fits: whether an object is that.

    Raises:
        ValueError: nothing of this name can be imported, or it is something else.
    """
    module, _, name = path.rpartition(".")
    try:
        found = vars(import_module(module))[name]
    except (ImportError, KeyError, ValueError) as error:
        raise ValueError(
            f"{option}={path} cannot be imported ({error}). It takes {wanted}: type {option}=<package>.<module>.<name>, "
            "of a module that this Python finds (PYTHONPATH=<its folder> in front of the command, or pip install)"
        ) from error
    if not fits(found):
        raise ValueError(f"{option}={path} is a {type(found).__name__}, and the option takes {wanted}")
    return found
