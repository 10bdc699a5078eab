"""Docstrings say what a thing is or does, and functions of tensors say their shapes."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "aa_lightning"
QUESTION = re.compile(r"\W*(What|Whether|How|Which|Where)\b")
_AXIS = r"[\w…\[\]]+(?: ?[·+×−*] ?\w+)*"
AXES = re.compile(
    rf"\((?:|…|[A-Z]|{_AXIS},|{_AXIS}(?:\[?, {_AXIS})+\]?)\)|\b(?:[Ss]calars?|of any shape|of the same shape)\b"
)
_NAMED = re.compile(r"(dict|Mapping)\[str, Tensor\]|Callable\[\[Tensor\], Tensor\]")
FILES = sorted(SOURCE.rglob("*.py"))


def documented(path: Path) -> list[tuple[str, str]]:
    """Name and docstring of a module and of all classes and functions in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "name", path.name), ast.get_docstring(node) or "") for node in nodes]


def public_functions(path: Path) -> list[tuple[str, ast.FunctionDef, str]]:
    """The functions and methods that others may call, none inside another function or a private class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    functions = [(node, []) for node in tree.body] + [(node, one.bases) for one in classes for node in one.body]
    return [
        (f.name, f, text)
        for f, bases in functions
        if isinstance(f, ast.FunctionDef) and not f.name.startswith("_")
        if (text := ast.get_docstring(f) or "") or not bases  # a method without a docstring has that of its base
    ]


def has_tensors(function: ast.FunctionDef) -> bool:
    """Tell whether a tensor is among the annotations of a function; weights by name have shapes of all kinds."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    hints = [
        ast.unparse(hint) for hint in (*(one.annotation for one in arguments), function.returns) if hint is not None
    ]
    return any(re.search(r"\bTensor\b", _NAMED.sub("", hint)) for hint in hints)


def test_no_docstring_begins_with_a_question():
    asking = [
        f"{path.relative_to(SOURCE)}:{name}"
        for path in FILES
        for name, text in documented(path)
        if QUESTION.match(text)
    ]
    assert asking == []


def test_public_functions_of_tensors_give_shapes():
    functions = [(path, *one) for path in FILES for one in public_functions(path)]
    of_tensors = [
        (f"{path.relative_to(SOURCE)}:{name}", text) for path, name, node, text in functions if has_tensors(node)
    ]
    assert len(of_tensors) > 100
    assert [name for name, text in of_tensors if not AXES.search(text)] == []
