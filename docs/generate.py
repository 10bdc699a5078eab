"""Writes the table of data sets into docs/data.md, out of the files in conf/data: python docs/generate.py, or make docs."""

from __future__ import annotations

import re
from pathlib import Path

from aa_lightning.configuration.catalogue import data_set

ROOT = Path(__file__).parents[1]
CONF, PAGE = ROOT / "conf" / "data", ROOT / "docs" / "data.md"
HEADER = ["`data=`", "modality", "kind", "rows", "what it is", "in align-anything"]


def with_table(text: str, script: str, header: list[str], rows: list[list[str]]) -> str:
    """A page with a table in place of what stands between the marks of `script`."""
    begin, end = f"<!-- begin: written by docs/{script}.py -->", "<!-- end -->"
    table = "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def lines() -> list[list[str]]:
    """All data sets, by modality and name."""
    names = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "default")
    return sorted((line(name) for name in names), key=lambda row: (row[1], row[0]))


def line(name: str) -> list[str]:
    """The cells of one data set."""
    told = data_set(name, [CONF.parent])
    theirs = [row.partition(":")[2].strip() for row in told.remarks if row.startswith("align-anything:")]
    unchecked = any(row.startswith("Columns as documented") or "columns are guessed" in row for row in told.remarks)
    about = told.about.replace("<", "&lt;").replace("|", "&#124;")
    return [
        f"`{name}`",
        told.modality,
        told.kind,
        told.rows,
        f"{about}{' ¹' if unchecked else ''}",
        *(theirs or [""]),
    ]


def page(text: str) -> str:
    """The page with the table as it is now."""
    return with_table(text, "generate", HEADER, lines())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
