"""The data sets as the files of their group describe them, none being opened: modality, kind, where the rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from aa_lightning.configuration.comments import LOADER, MISSING, head, sentence
from aa_lightning.configuration.folders import file_of

Origin = Literal["shapes", "hub", "yours", "several"]
_LETTERS = {"image": "i", "audio": "a", "video": "v"}
_REMARKS = ("align-anything:", "Columns as documented")


@dataclass(frozen=True)
class DataSet:
    """One file of the data group.

    Attributes:
        modality: what prompts show and what answers hold, as ti2t; letters in brackets may be lacking in a row.
        kind: of the rows.
        about: the first comment.
        rows: where they are.
        origin: made on this machine, of the hub, of a file to be named, or of other data sets.
        needs: keys that must be typed, as data.train.path.
        remarks: its other comments.
    """

    name: str
    modality: str
    kind: str
    about: str
    rows: str
    origin: Origin
    needs: tuple[str, ...]
    remarks: tuple[str, ...]


def data_set(name: str, folders: Sequence[Path]) -> DataSet:
    """Describe a data set by its file."""
    comments, whole = head(file_of("data", name, folders)), loaded(name, folders)
    template, train = whole.get("template"), whole.get("train")
    read, says = modality(template) if template else ("any", "any")
    own = "that of its parts" if train is None else "as its columns say"
    return DataSet(
        name=name,
        modality=f"{read}2{says}",
        kind=template["kind"] if template else own,
        about=sentence([line for line in comments if not line.startswith(_REMARKS)]),
        rows=_rows(train),
        origin=_origin(train, whole.get("parts"), folders),
        needs=tuple(f"data.train.{key}" for key, value in (train or {}).items() if value == MISSING),
        remarks=tuple(comments),
    )


def loaded(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """A file of the data group on top of those it builds on."""
    own = yaml.load(file_of("data", name, folders).read_text(encoding="utf-8"), LOADER) or {}
    whole: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            whole = _merged(whole, loaded(base, folders))
    return _merged(whole, own)


def modality(template: Mapping[str, Any]) -> tuple[str, str]:
    """Say in letters what prompts show and what answers hold."""
    answers = [template.get(key) for key in ("completion", "answers")] + (template.get("responses") or [])
    parts = [part for answer in answers for part in (answer if isinstance(answer, list) else [answer])]
    texts = "t" if any(part is not None and not _media(part) for part in parts) else ""
    return f"t{_letters(template.get('prompt') or [])}", f"{texts}{_letters(parts)}" or "t"


def _letters(parts: Sequence[Any]) -> str:
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


def _rows(train: Mapping[str, Any] | None) -> str:
    """Say where the rows are."""
    if train is None:
        return "several data sets"
    if "modality" in train:
        return "made on this machine"
    if train.get("path", MISSING) == MISSING:
        return "your file"
    if train["path"] == "json":
        return str(train["files"][0])
    name = train.get("name")
    return train["path"] + (f", {name}" if name else "")


def _origin(train: Mapping[str, Any] | None, parts: Any, folders: Sequence[Path]) -> Origin:
    if train is not None:
        return "shapes" if "modality" in train else "yours" if train.get("path", MISSING) == MISSING else "hub"
    named = parts if isinstance(parts, Mapping) else {}
    below = [
        loaded(part.get("data", name) if isinstance(part, Mapping) else name, folders) for name, part in named.items()
    ]
    made = [one for one in below if "modality" in one.get("train", {})]
    return "shapes" if below and len(made) == len(below) else "several"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings key by key, anything else replaced."""
    mappings = {key: value for key, value in above.items() if isinstance(value, Mapping)}
    both = {key: _merged(below[key], value) for key, value in mappings.items() if isinstance(below.get(key), Mapping)}
    return {**below, **above, **both}
