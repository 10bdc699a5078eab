"""Writes the table of data sets into docs/data.md, out of the files in conf/data: python docs/generate.py, or make docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).parents[1]
CONF, PAGE = ROOT / "conf" / "data", ROOT / "docs" / "data.md"
HEADER = ["`data=`", "modality", "kind", "rows", "what it is", "in align-anything"]
_LETTERS = {"image": "i", "audio": "a", "video": "v"}
_REMARKS = ("@package", "align-anything:", "Columns as documented")


def load(name: str) -> DictConfig:
    """A file of conf/data on top of those it builds on, as Hydra merges them."""
    own = OmegaConf.load(CONF / f"{name}.yaml")
    below = [base for base in own.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*map(load, below), own)


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
    comments = [
        row[1:].strip() for row in (CONF / f"{name}.yaml").read_text(encoding="utf-8").split("\n") if row[:1] == "#"
    ]
    theirs = [row.partition(":")[2].strip() for row in comments if row.startswith("align-anything:")]
    about = _first_sentence([row for row in comments if not row.startswith(_REMARKS)])
    unchecked = any(row.startswith("Columns as documented") or "columns are guessed" in row for row in comments)
    whole = load(name)
    template = OmegaConf.to_container(whole.template) if "template" in whole and whole.template is not None else None
    read, written = modality(template) if template else ("any", "any")
    kind = template["kind"] if template else "as its columns say" if name == "local" else "that of its parts"
    return [
        f"`{name}`",
        f"{read}2{written}",
        kind,
        _rows(whole),
        f"{about}{' ¹' if unchecked else ''}",
        *(theirs or [""]),
    ]


def modality(template: dict[str, Any]) -> tuple[str, str]:
    """What prompts show and what answers hold, in letters."""
    answers = [template.get(key) for key in ("completion", "answers")] + (template.get("responses") or [])
    written = [part for answer in answers for part in (answer if isinstance(answer, list) else [answer])]
    texts = "t" if any(part is not None and not _media(part) for part in written) else ""
    return f"t{_letters(template.get('prompt') or [])}", f"{texts}{_letters(written)}" or "t"


def _letters(parts: list[Any]) -> str:
    """Letters of media; in brackets those that a row may lack."""
    always, perhaps = set(), set()
    for part in parts:
        for kind in _media(part):
            optional = isinstance(part[kind], dict) and part[kind].get("optional")
            (perhaps if optional else always).add(kind)
    sure, unsure = ("".join(_LETTERS[kind] for kind in _LETTERS if kind in kinds) for kinds in (always, perhaps))
    return f"{sure}({unsure})" if unsure else sure


def _media(part: Any) -> set[str]:
    return set(part) & set(_LETTERS) if isinstance(part, dict) else set()


def _first_sentence(comments: list[str]) -> str:
    """The first comment, up to the line that ends it."""
    end = next((i for i, row in enumerate(comments) if row.endswith((".", ":"))), 0)
    return " ".join(comments[: end + 1]).replace("<", "&lt;").replace("|", "&#124;")


def _rows(whole: DictConfig) -> str:
    """Where the rows are."""
    if "train" not in whole:
        return "several data sets"
    if "modality" in whole.train:
        return "made on this machine"
    if OmegaConf.is_missing(whole.train, "path"):
        return "your file"
    if whole.train.path == "json":
        return str(whole.train.files[0])
    name = whole.train.get("name")
    return whole.train.path + (f", {name}" if name else "")


def page(text: str) -> str:
    """The page with the table as it is now."""
    return with_table(text, "generate", HEADER, lines())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
