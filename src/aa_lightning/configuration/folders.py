"""The folders of configuration groups: ours, then those of the user. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_dir() -> Path:
    """The configuration groups: the checkout's, else those in the wheel."""
    checkout = PACKAGE.parents[1] / "conf"
    return checkout if PACKAGE.parent.name == "src" and checkout.is_dir() else PACKAGE / "conf"


def option_names(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Group → its options, in all configuration folders."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(found.items()) if group != "hydra"}


def option_file(group: str, option: str, folders: Sequence[Path]) -> Path | None:
    """The file of an option; of several of that name, the one that Hydra takes."""
    return next((path for folder in folders if (path := folder / group / f"{option}.yaml").is_file()), None)


def file_of(group: str, option: str, folders: Sequence[Path]) -> Path:
    """The same of an option that there is."""
    path = option_file(group, option, folders)
    assert path is not None, f"there is no {group}/{option}.yaml"
    return path
