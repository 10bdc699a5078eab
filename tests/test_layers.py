"""The layers of docs/architecture.md, lowest first: a module imports from its own layer and from those below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aa_lightning

PACKAGE = Path(aa_lightning.__file__).parent
LAYERS = [
    {
        *("_torchvision", "atomic", "locks", "stopping", "checkpoints", "cache"),
        *("types", "kinds", "random_state", "shown"),
    },
    {
        *("configuration", "config", "signatures", "compose", "changes"),
        *("workers", "jobs", "launch", "console", "received", "reopen", "literal", "same_run", "run_folders", "claims"),
    },
    {"media"},
    {"data"},
    {"models"},
    {"rewards", "losses"},
    {"algos"},
    {"feedback"},
    {"runs", "report", "evaluation"},
    {"sweep", "sweep_table", "strategies", "loader", "kept", "supervision", "datamodule", "module", "callbacks"},
    {"compatible", "assembly", "build", "stages", "export", "summary", "inspection"},
    {"train", "evaluate", "generate", "check"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.Module) -> set[str]:
    """The first names after `aa_lightning.` that a module imports, inside functions too, but not for types alone."""
    types_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    skipped = {id(child) for node in types_only for child in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "aa_lightning":
            found |= {alias.name for alias in node.names if alias.name in HEIGHT}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aa_lightning."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("aa_lightning.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_and_those_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in HEIGHT, f"{own} stands in no layer: add it to docs/architecture.md and to this list"
    above = {name for name in imported(ast.parse(path.read_text(encoding="utf-8"))) if HEIGHT[name] > HEIGHT[own]}
    assert not above, f"{own} imports from layers above its own: {sorted(above)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_400_lines_and_no_function_than_60(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= 400
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > 60}
    assert not long


@pytest.mark.parametrize(
    "name", ["types", "config", "launch", "configuration.help", "algos.preference", "train", "sweep"]
)
def test_what_the_command_line_needs_imports_neither_torch_nor_lightning(name):
    code = f"import sys, aa_lightning.{name}; print({{'torch', 'lightning', 'transformers'}} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
