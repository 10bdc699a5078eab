"""The rooms of docs/architecture.md, lowest first: a room imports from those below it, and no files import in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aa_lightning

PACKAGE = Path(aa_lightning.__file__).parent
FLOORS = [
    {"system", "types", "losses"},
    {"configuration"},
    {"media", "runs"},
    {"data", "launch"},
    {"models"},
    {"rewards"},
    {"algos", "engines", "scoring"},
    {"evaluation", "benchmarks"},
    {"report"},
    {"training"},
    {"assembly"},
    {"train", "evaluate", "generate", "check", "sweep"},
]
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(name: str) -> set[str]:
    """The modules of this package that a module imports, inside functions and for types alone too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            within = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {one if one in MODULES else node.module for one in within}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
    return found - {name}


IMPORTS = {name: imported(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def circles(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            new = arrows[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    all_reached = {name: reached(name) for name in arrows}
    groups = {frozenset(b for b in all_reached[a] if a in all_reached[b]) for a in arrows}
    return [set(group) for group in groups if len(group) > 1]


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_files_import_in_a_circle():
    assert circles(IMPORTS) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_room_imports_only_from_those_below(name):
    own = room(name)
    if own == "__init__":
        return
    assert own in HEIGHT, f"{own} stands on no floor: add it to docs/architecture.md and to this list"
    above = {one for one in IMPORTS[name] if room(one) not in (own, "__init__") and HEIGHT[room(one)] >= HEIGHT[own]}
    assert not above, f"{name} imports from its own floor or from above: {sorted(above)}"


def test_few_rooms_and_few_arrows_between_them():
    arrows = {(room(name), room(one)) for name, ones in IMPORTS.items() for one in ones}
    arrows = {(a, b) for a, b in arrows if a != b and "__init__" not in (a, b)}
    assert len(arrows) <= 94, sorted(arrows)


@pytest.mark.parametrize("folder, most", [(PACKAGE, 10), (PACKAGE / "models", 14)], ids=["door", "models"])
def test_little_stands_at_the_door(folder, most):
    files = [path for path in folder.glob("*.py") if folder == PACKAGE or path.name != "__init__.py"]
    folders = [] if folder == PACKAGE else [path.parent for path in folder.glob("*/__init__.py")]
    assert len(files) + len(folders) <= most, sorted(path.name for path in [*files, *folders])


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_no_file_is_longer_than_350_lines_and_no_function_than_50(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 350
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > 50}
    assert not long


@pytest.mark.parametrize(
    "name",
    ["types", "configuration.check", "launch.command", "configuration.help", "algos.preference", "train", "sweep"],
)
def test_what_the_command_line_needs_imports_neither_torch_nor_lightning(name):
    code = f"import sys, aa_lightning.{name}; print({{'torch', 'lightning', 'transformers'}} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
