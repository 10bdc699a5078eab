"""No worked number is forgotten: every vector of these families is read by some test."""

import ast
import json
from pathlib import Path

import pytest

from tests.vectors.support import ROOT

FAMILIES = ("supervised", "reward", "preference", "multimodal", "pairs", "policy_gradient")
READERS = ("vector", "vectors", "Case")  # what tests read vectors with
BY_NAME = {"vectors"}  # of these readers, those that read all of an algorithm's
SOURCES = sorted((ROOT / "tests").rglob("test_*.py"))


def consumed(path: Path) -> set[tuple[str, str, str]]:
    """(family, algorithm, id) of what a file's tests read; the id * stands for all.

    A call in a test may take names from the test's decorators, and `*NAME` the keys of a table of the file.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tables = {
        target.id: _texts(ast.Tuple([key for key in node.value.keys if key is not None]))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {read for statement in tree.body for read in _reads(statement, tables)}


def _reads(statement: ast.stmt, tables: dict[str, set[str]]) -> set[tuple[str, str, str]]:
    found = set()
    for call in ast.walk(statement):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in READERS):
            continue
        starred = [a.value.id for a in call.args if isinstance(a, ast.Starred) and isinstance(a.value, ast.Name)]
        named = all(isinstance(a, ast.Constant | ast.Starred) for a in call.args[:3])
        said = _texts(call) if named else _texts(statement)
        said = said.union(*(tables.get(name, set()) for name in starred))
        ids = {"*"} if call.func.id in BY_NAME else said
        found |= {(family, name, id) for family in said & set(FAMILIES) for name in said for id in ids}
    return found


def _texts(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_vector_of_the_family_is_read_by_some_test(family):
    read = set().union(*map(consumed, SOURCES))
    whole = json.loads((ROOT / "tests" / "vectors" / f"{family}.json").read_text())
    worked = {(family, name, one["id"]) for name, cases in whole.items() if name != "_meta" for one in cases}
    forgotten = {one for one in worked if one not in read and (*one[:2], "*") not in read}
    assert not forgotten


def test_a_vector_that_no_test_names_would_be_found(tmp_path):
    file = tmp_path / "test_some.py"
    file.write_text(
        "TABLE = {'dpo': 1}\nCASES = vectors('preference', *TABLE)\n"
        "@parametrize('id', ['one', 'two'])\ndef test_kto(id):\n    vector('preference', 'kto', id)\n"
        "def test_other():\n    vector('reward', 'prm', 'three')\n    other('xpo')\n"
    )
    found = consumed(file)
    assert {("preference", "dpo", "*"), ("preference", "kto", "one"), ("preference", "kto", "two")} <= found
    assert ("reward", "prm", "three") in found
    assert not {one for one in found if one[1] == "xpo" or one[2] == "four"}
