"""Writes the tables of families and of what is tested into docs/models.md, out of models/families/table.py, conf/model
and the lists that the tests run over: make docs."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

from generate import with_table
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from aa_lightning.models.families.composed import Composed  # noqa: E402
from aa_lightning.models.families.table import FAMILIES  # noqa: E402
from tests.contract import support, test_algorithms, test_layouts, test_likelihood  # noqa: E402
from tests.models import test_speech  # noqa: E402
from tests.strategies import real, test_real  # noqa: E402

CONF, PAGE = ROOT / "conf" / "model", ROOT / "docs" / "models.md"
FAMILY_HEADER = ["`family`", "reads", "writes", "shared rows", "freeze groups", "`model=`", "made offline"]
TESTED_HEADER = ["`model=`", "`modality=`", "its likelihood is", "a step of", "learns and resumes", "two processes"]
_TITLE = "\n## What is tested\n"
_SLOW = " ²"


def families() -> list[list[str]]:
    """All families, in the order of the table in the code, with their files in conf/model."""
    files = defaultdict(list)
    for path in sorted(CONF.glob("*.yaml")):
        family = OmegaConf.load(path).get("family")
        if family is not None:
            files[family].append(path.stem)
    return [_family(name, files[name]) for name in FAMILIES]


def _family(name: str, files: list[str]) -> list[str]:
    row = FAMILIES[name]
    made = [file for file in files if file.startswith("tiny_")]
    reads = "what its towers read" if isinstance(row, Composed) else _words(row.media)
    return [
        f"`{name}`",
        reads,
        _words(medium for medium in row.writes if medium != "text"),
        "as its language model" if isinstance(row, Composed) else "yes" if row.shares_prefix else "no",
        " ".join(f"`{group}`" for group in row.groups),
        " ".join(f"`{file}`" for file in files if file not in made),
        " ".join(f"`{file}`" for file in made),
    ]


def _words(media) -> str:
    return ", ".join(["text", *media])


def tested() -> list[list[str]]:
    """What runs over each offline build."""
    trained = defaultdict(list)
    for model, algo in support.PAIRS:
        soon = model in support.CORE and (model, algo) != ("tiny_sd", "dpo")
        trained[model].append(f"`{algo}`{'' if soon else _SLOW}")
    return [_tested(model, trained[model]) for model in support.MODELS]


def _tested(model: str, trained: list[str]) -> list[str]:
    steps = "each algorithm that serves it" + ("" if model in test_algorithms.QUICK else _SLOW)
    return [
        f"`{model}`",
        f"`{support.modality(model)}`",
        ", ".join(_promises(model)),
        steps,
        " ".join(trained),
        ", ".join(_strategies(model)),
    ]


def _promises(model: str) -> list[str]:
    """What tests/contract finds of the likelihood."""
    moved = [medium for name, medium in test_likelihood.MEDIA if name == model]
    kept = {
        "deterministic": test_likelihood.MODELS,
        "padding-invariant": test_likelihood.TOKENS,
        "prefix sharing exact": test_layouts.TOKENS,
        "equals transformers": [*test_layouts.ALONE, *test_speech.TALKERS],
    }
    found = [promise for promise, models in kept.items() if model in models]
    return [*found, f"uses {', '.join(moved)}"] if moved else found


def _strategies(model: str) -> list[str]:
    """Strategies under which two processes give what one gives."""
    found = defaultdict(set)
    for strategy, variant in test_real.ALL:
        if f"model={model}" in real.VARIANTS[variant] or (model == "tiny_sd" and variant == "pictures"):
            found[strategy].add((strategy, variant) in test_real.FAST)
    return [f"`{strategy}`{'' if any(soon) else _SLOW}" for strategy, soon in found.items()]


def page(text: str) -> str:
    """The page with both tables as they are now."""
    known, title, proved = text.partition(_TITLE)
    return (
        with_table(known, "generate_models", FAMILY_HEADER, families())
        + title
        + with_table(proved, "generate_models", TESTED_HEADER, tested())
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
