"""What the commands say: the help page, and Hydra's errors in the words of this project. Imports no torch."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_FLAGS = """\
  --help <group>          what each option of a group is
  --cfg job [--resolve]   print the configuration and stop
  -m                      sweep: every combination of comma-separated values
  --config-dir <folder>   your own configuration groups beside ours
  --hydra-help            the other flags; shell completion: eval "$(aa-train -sc install=bash)\""""


def help_page(config_name: str, about: str, folders: Sequence[Path]) -> str:
    """The page of `--help`.

    Args:
        config_name: of the command.
        about: what the command does, with examples.
        folders: where configuration groups lie.
    """
    groups = option_names(folders)
    width = max(len(name) for name in groups) + 2
    lines = [
        textwrap.fill(", ".join(options), 116, initial_indent=f"  {name:<{width}}", subsequent_indent=" " * (width + 2))
        for name, options in groups.items()
    ]
    usage = f"python -m aa_lightning.{config_name} <group>=<option> … <key>=<value> …"
    return "\n".join([about, "", usage, "", "groups and their options", *lines, "", "flags", _FLAGS])


def group_page(group: str, folders: Sequence[Path]) -> str:
    """The page of `--help <group>`: each option with the first comment of its file.

    Raises:
        ValueError: there is no such group.
    """
    groups = option_names(folders)
    if group not in groups:
        raise ValueError(f"there is no group {group}\nthere is: {', '.join(groups)}")
    width = max(len(name) for name in groups[group]) + 2
    files = {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}
    return "\n".join(f"  {group}={name:<{width}}{_first_comment(files[name])}" for name in groups[group])


def option_names(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Group → its options, in all configuration folders."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(options) for group, options in sorted(found.items()) if group != "hydra"}


def explain(error: Exception, config_name: str, folders: Sequence[Path], typed: Sequence[str]) -> str:
    """An error that Hydra raised while it read the command line or composed the configuration, in two to four lines."""
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, str(error))
    several = re.match(r"Ambiguous value for argument '(.+)'", str(error))
    if several:
        return _several_values(several[1])
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_option(error.missing_cfg_file, error.options or [], folders)
    refused = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and refused:
        return _no_key(refused[1].partition("@")[0], config_name, folders, typed)
    present = re.search(r"Could not append to config. An item is already at '([^']+)'", str(error))
    if present:
        return f"+{present[1]} cannot be added: the key exists\ntype: {present[1]}=<value>"
    cause = f"\n{error.__cause__}" if error.__cause__ else ""
    return f"{error}{cause}".strip()


def _first_comment(path: Path) -> str:
    comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((line for line in comments if not line.startswith("@package")), "")


def _unreadable(override: str, message: str) -> str:
    key, equals, _ = override.partition("=")
    if not equals:
        return f"{override} cannot be read: it has no value\ntype: {override}=<value>"
    return (
        f"{override} cannot be read: {message.splitlines()[0]}\n"
        f"type: '{key}=\"<value>\"' (quotes inside quotes) if the value holds one of , = : {{ }} [ ] ( ) or a space"
    )


def _several_values(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{override} gives {key} several values\ntype: -m {override} to run each, or {key}=[{value}] for one list"


def _no_option(missing: str, options: Sequence[str], folders: Sequence[Path]) -> str:
    from aa_lightning.config import nearest

    group, _, option = missing.rpartition("/")
    known = [name for name in options if name] or option_names(folders).get(group, [])
    close = nearest(option, known)
    hint = f"did you mean {group}={close}? " if close else ""
    return f"{group}={option} cannot be used: there is no {group}/{option}.yaml\n{hint}there is: {', '.join(known)}"


def _no_key(key: str, config_name: str, folders: Sequence[Path], typed: Sequence[str]) -> str:
    given = next((item for item in typed if re.match(rf"[+~]*{re.escape(key)}(@|=|$)", item)), key)
    if key.startswith("trainer.") and key.removeprefix("trainer.") in _trainer_arguments():
        return f"{given} cannot be used: conf/ leaves this argument of Lightning's Trainer alone\ntype: +{given}"
    known = [*option_names(folders), *_keys(config_name, folders, [item for item in typed if item != given])]
    close = _nearest_key(key, known)
    hint = f"did you mean {close}={given.partition('=')[2]}?" if close else "type: --cfg job to see all keys"
    return f"{given} cannot be used: there is no key {key}\n{hint}"


def _trainer_arguments() -> list[str]:
    from aa_lightning.config import trainer_arguments

    return trainer_arguments()


def _nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The same last name elsewhere, else the nearest dotted key, else the nearest last name."""
    from aa_lightning.config import nearest

    last = {name.rpartition(".")[2]: name for name in reversed(known)}
    name = key.rpartition(".")[2]
    if name in last:
        return last[name]
    close = nearest(key, known)
    return close or last.get(nearest(name, last) or "")


def _keys(config_name: str, folders: Sequence[Path], overrides: Sequence[str]) -> list[str]:
    """Every dotted key of the configuration that the rest of the command line composes; none if it does not."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException

    ours, *extra = folders
    search = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in extra)}]"] if extra else []
    try:
        with initialize_config_dir(str(ours), version_base="1.3"):
            cfg = compose(config_name, [*overrides, *search])
    except HydraException as error:
        print(f"(no suggestion: {error})", file=sys.stderr)
        return []
    return list(_flat(cfg))


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    from omegaconf import DictConfig

    for key in node:
        yield f"{prefix}{key}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing() or child._is_interpolation()):
            yield from _flat(child, f"{prefix}{key}.")
