"""docs/models.md: its tables are those of the code, and every family is in them."""

import runpy
import sys
from pathlib import Path

from aa_lightning.models.families.table import FAMILIES
from tests.contract.support import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_families_and_of_the_tests(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = runpy.run_path(str(ROOT / "docs" / "generate_models.py"))
    sys.modules.pop("generate")  # a name that others may want
    assert generate["page"](PAGE) == PAGE, "type: python docs/generate_models.py"
    assert {name for name in FAMILIES if f"\n| `{name}` | text" not in PAGE} == {"compose"}
    assert {model for model in MODELS if f"\n| `{model}` | `" not in PAGE} == set()
