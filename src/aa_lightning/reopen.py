"""A command line that names a run folder: what was typed for that run comes first. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_ASIDE = ".hydra_resumed"


def overrides_of(argv: list[str], key: str, same_folder: bool) -> list[str]:
    """The command line with the overrides of the run that `key=<run folder>` names put in front.

    Args:
        argv: what was typed, without the program.
        key: `resume` or `run`.
        same_folder: whether the command goes on writing into that folder.
    """
    given = [item for item in argv if item.startswith(f"{key}=")]
    if not given or given[0] in (f"{key}=null", f"{key}="):
        return argv
    folder = Path(given[0].removeprefix(f"{key}="))
    typed = folder / ".hydra" / "overrides.yaml"
    if not typed.is_file():
        print(f"error: {given[0]} is no run folder: there is no {typed}", file=sys.stderr)
        print(f"type: {key}=outputs/<date>/<run>; the runs there: ls -d outputs/*/*", file=sys.stderr)
        raise SystemExit(1)
    from omegaconf import OmegaConf

    ours = {item.partition("=")[0] for item in argv}
    before = [item for item in OmegaConf.load(typed) if item.partition("=")[0] not in {*ours, "resume"}]
    # what is typed now becomes the run's own only once it has proved to fit (`adopt`)
    same = [f"hydra.run.dir='{folder}'", f"hydra.output_subdir={_ASIDE}"] if same_folder else []
    quoted = f"{key}='{folder}'"  # a folder of a sweep has = in its name, which Hydra would refuse
    return [*before, *(quoted if item == given[0] else item for item in argv), *same]


def adopt(folder: Path) -> None:
    """Make what was typed to resume a run the run's own, for the next time."""
    for path in (folder / _ASIDE).glob("*.yaml"):
        os.replace(path, folder / ".hydra" / path.name)
    with contextlib.suppress(FileNotFoundError):
        (folder / _ASIDE).rmdir()
