"""The arguments of what `_target_`s of a configuration name. Imports neither torch nor Lightning."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aa_lightning.configuration.comments import attributes
from aa_lightning.configuration.folders import PACKAGE
from aa_lightning.configuration.wording import ConfigError

OTHERS = "…"  # what a name of the source's own stands for


@dataclass(frozen=True)
class Parameter:
    """An argument of a class: what it takes, in words, and what is said of it."""

    takes: str
    about: str

    def takes_value(self, value: Any) -> bool:
        """Tell whether a text or a number fits; anything else is left to the class itself."""
        words = self.takes.split(" | ")
        if not self.takes or OTHERS in words or not isinstance(value, str | int | float):
            return True
        kinds = {bool: ["true"], int: ["whole number", "number"], float: ["number"], str: ["text"]}
        return any(word in words for word in kinds[type(value)])


def named_class(target: str) -> type:
    """Import the class that a `_target_` names.

    Raises:
        ConfigError: there is no such module or no such class in it.
    """
    try:
        return _imported(target)
    except (ModuleNotFoundError, KeyError) as error:
        raise ConfigError(
            f"_target_: {target} cannot be imported ({_why(target, error)})\n"
            f"make sure that its folder is on the Python path: PYTHONPATH=<folder> or pip install -e <folder>"
        ) from error


def named_object(option: str, path: str, wanted: str, fits: Callable[[Any], bool]) -> Any:
    """Import what an option names: a user's own decoder or encoder.

    Args:
        option: as it is typed, for errors.
        path: what was typed, `<package>.<module>.<name>`.
        wanted: in words, what the option takes.
        fits: whether an object is that.

    Raises:
        ValueError: nothing of this name can be imported, or it is something else.
    """
    try:
        found = _imported(path)
    except (ImportError, KeyError, ValueError) as error:
        raise ValueError(
            f"{option}={path} cannot be imported ({_why(path, error)}). It takes {wanted}: type "
            f"{option}=<package>.<module>.<name>, of a module that this Python finds (PYTHONPATH=<its folder> in front of "
            "the command, or pip install)"
        ) from error
    if not fits(found):
        raise ValueError(f"{option}={path} is a {type(found).__name__}, and the option takes {wanted}")
    return found


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return vars(importlib.import_module(module))[name]


def _why(path: str, error: Exception) -> str:
    module, _, name = path.rpartition(".")
    return f"the module {module} has no {name}" if isinstance(error, KeyError) else str(error)


def trainer_arguments() -> dict[str, Parameter]:
    """The arguments of Lightning's Trainer, read from its source, since importing it takes seconds."""
    spec = importlib.util.find_spec("lightning")
    assert spec is not None and spec.origin is not None
    return parameters(Path(spec.origin).parent / "pytorch" / "trainer" / "trainer.py", "Trainer")


def strategy_arguments(target: str) -> dict[str, Parameter]:
    """The arguments of one of our strategies."""
    return parameters(PACKAGE / "training/strategies.py", target.rpartition(".")[2])


@functools.cache
def parameters(source: Path, name: str) -> dict[str, Parameter]:
    """Read the arguments of a class out of the source of a module that is too heavy to import."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    init = next(node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    told = {**attributes(ast.get_docstring(found) or ""), **attributes(ast.get_docstring(init) or "")}
    return {
        argument.arg: Parameter(_in_words(argument.annotation), told.get(argument.arg, ""))
        for argument in [*init.args.args[1:], *init.args.kwonlyargs]
    }


_WORDS = {
    "int": "whole number",
    "float": "number",
    "bool": "true | false",
    "str": "text",
    "list": "list",
    "List": "list",
}


def _in_words(annotation: ast.expr | None) -> str:
    """A type as one would say it; classes of other libraries are left out."""
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "null"
    if isinstance(annotation, ast.Name):
        return _WORDS.get(annotation.id, OTHERS if annotation.id.startswith("_") else "")
    if isinstance(annotation, ast.BinOp):
        return _either([_in_words(annotation.left), _in_words(annotation.right)])
    if isinstance(annotation, ast.Tuple):
        return _either([_in_words(one) for one in annotation.elts])
    if not isinstance(annotation, ast.Subscript) or not isinstance(annotation.value, ast.Name):
        return ""
    outer, inner = annotation.value.id, _in_words(annotation.slice)
    if outer in ("Optional", "Union") and inner:
        return _either([inner, "null"] if outer == "Optional" else [inner])
    return _WORDS.get(outer, "")


def _either(words: list[str]) -> str:
    return " | ".join(dict.fromkeys(filter(None, words)))
