"""A command line that names a run folder: what was typed for that run comes first. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import NoReturn

from aa_lightning.configuration.literal import as_string, literal
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.runs.layout import RunFolder
from aa_lightning.runs.received import TRUST, check_own, recorded, settings_of
from aa_lightning.system.atomic import publish
from aa_lightning.system.shown import printable

_PENDING = ".hydra_resumed"
_ODD = re.compile(r"[^\w./:+-]")  # in the name of a folder, what Hydra would not take for itself


def with_recorded_overrides(argv: list[str], key: str, same_folder: bool) -> list[str]:
    """The command line with the overrides of the run that `key=<run folder>` names put in front.

    Args:
        argv: what was typed, without the program.
        key: `resume` or `run`.
        same_folder: whether the command goes on writing into that folder.

    Raises:
        SystemExit: no run folder, or one that asks for more than to be read as data; the reason was printed.
    """
    given = [item for item in argv if item.startswith(f"{key}=")]
    if not given or given[0] in (f"{key}=null", f"{key}="):
        return argv
    folder = Path(given[0].removeprefix(f"{key}="))
    typed = RunFolder(folder).typed
    if not typed.is_file():
        there = "the runs there: ls -d outputs/*/* outputs/sweeps/*/*/*"
        _refuse(f"{given[0]} is no run folder: there is no {typed}", f"{key}=outputs/<date>/<run>; {there}")
    ours, trusted = [item.partition("=")[0] for item in argv], TRUST in argv
    try:
        settings_of(folder)
    except ConfigError as error:
        _refuse(str(error), f"{key}=<another run folder>")
    try:
        before = recorded(folder, ours, trusted)
        if same_folder and not trusted:
            check_own(folder)
    except ConfigError as error:
        _refuse(str(error), f"{given[0]} {TRUST} if you know who made that folder, to let it")
    # what is typed now becomes the run's own only once it has proved to fit (`commit_overrides`)
    same = [f"hydra.run.dir={as_string(str(folder))}", f"hydra.output_subdir={_PENDING}"] if same_folder else []
    named = literal(argv, words=(), files=(key,)) if _ODD.search(str(folder)) else argv
    return [*before, *named, *same]


def _refuse(why: str, advice: str) -> NoReturn:
    print(printable(f"error: {why}\ntype: {advice}"), file=sys.stderr)
    raise SystemExit(1)


def commit_overrides(folder: Path) -> None:
    """Make what was typed to resume a run the run's own, for the next time."""
    for path in (folder / _PENDING).glob("*.yaml"):
        publish(path, RunFolder(folder).hydra / path.name)
    with contextlib.suppress(FileNotFoundError):
        (folder / _PENDING).rmdir()
