"""Hydra's errors in the words of this project: what was given, why it cannot work, what to type. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aa_lightning.configuration.comments import elsewhere
from aa_lightning.configuration.folders import option_names
from aa_lightning.configuration.typed import CHOSEN, jobs_of
from aa_lightning.configuration.wording import ConfigError, is_slip, nearest, nearest_key, some

if TYPE_CHECKING:
    from omegaconf import DictConfig


def check_jobs(overrides: Sequence[str], config_name: str, folders: Sequence[Path]) -> None:
    """Refuse what a job cannot run with; of a sweep, before its first job takes its time.

    Raises:
        ConfigError: as the job would.
    """
    from hydra.errors import HydraException

    from aa_lightning.configuration.compose import checked
    from aa_lightning.configuration.composed import composed

    for job in jobs_of(overrides):
        try:
            checked(composed(config_name, job, folders), config_name, folders)
        except HydraException as error:
            raise ConfigError(explain(error, config_name, folders, job)) from error


def explain(error: Exception, config_name: str, folders: Sequence[Path], typed: Sequence[str]) -> str:
    """An error of a command line, or one that Hydra raised while it composed the configuration, in a few lines.

    Args:
        error: what was raised.
        config_name: of the command.
        folders: of configuration groups.
        typed: the overrides.
    """
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, str(error), folders)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_file(error.missing_cfg_file, error.options or [], folders)
    several = re.match(r"Ambiguous value for argument '(.+)'", str(error))
    if several:
        return _several_values(several[1])
    key = _refused_key(error)
    if key is not None:
        own = key.startswith("hydra.")
        return _hydras_own(key, typed) if own else _no_keys(key, config_name, folders, typed) or str(error)
    present = re.search(r"Could not append to config. An item is already at '([^']+)'", str(error))
    present = present or re.search(
        r"Could not append '([^'=@]+)[^']*'.\s+'[^']+' is already in the defaults list", str(error)
    )
    if present:
        return f"+{present[1]} cannot be added: the key exists\ntype: {present[1]}=<value>"
    cause = f"\n{error.__cause__}" if error.__cause__ else ""
    return f"{error}{cause}".strip()


def _unreadable(override: str, message: str, folders: Sequence[Path]) -> str:
    key, equals, _ = override.partition("=")
    if not equals:
        groups = option_names(folders)
        meant = next((f"{group}={key}" for group in groups if key in groups[group]), None)
        hint = f"did you mean {meant}?" if meant else f"type: {override}=<value>"
        return f"{override} cannot be read: it has no value\n{hint}"
    return (
        f"{override} cannot be read: {message.splitlines()[0]}\n"
        f"type: '{key}=\"<value>\"' (quotes inside quotes) if the value holds one of , = : {{ }} [ ] ( ) or a space"
    )


def _no_file(missing: str, options: Sequence[str], folders: Sequence[Path]) -> str:
    """An option that a file of the configuration chooses, or one of Hydra's own groups."""
    group, _, option = missing.rpartition("/")
    known = [name for name in options if name] or option_names(folders).get(group, [])
    close = nearest(option, known)
    hint = f"did you mean {group}={close}? " if close else ""
    return f"{group}={option} cannot be used: there is no {missing}.yaml\n{hint}{some(known, group)}"


def _several_values(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{override} gives {key} several values\ntype: -m {override} to run each, or {key}=[{value}] for one list"


def _refused_key(error: Exception) -> str | None:
    """The key that Hydra could not override."""
    found = re.search(r"Could not override '([^']+)'", str(error))
    return found and found[1].partition("@")[0]


def _hydras_own(key: str, typed: Sequence[str]) -> str:
    """A key of the section in which Hydra is configured."""
    from hydra.conf import HydraConf
    from omegaconf import OmegaConf

    from aa_lightning.configuration.nested import dotted_keys

    known = dotted_keys({"hydra": OmegaConf.to_container(OmegaConf.structured(HydraConf))})
    value = next(item.partition("=")[2] for item in typed if item.startswith(f"{key}="))
    close = nearest_key(key, known)
    hint = f"did you mean {close}={value}?" if close else "type: --cfg hydra to see all of them"
    return f"{key}={value} cannot be used: there is no key {key}\n{hint}"


def _no_keys(first: str, config_name: str, folders: Sequence[Path], typed: Sequence[str]) -> str | None:
    """Say what is wrong with keys that the configuration lacks: added, they are answered as all others are; one that may
    be added, or that other options have, is told how. None: Hydra refuses something else as well."""
    from omegaconf import OmegaConf

    from aa_lightning.configuration.compose import checked
    from aa_lightning.configuration.nested import dotted_keys

    completed = _with_missing_keys(first, config_name, folders, jobs_of(typed)[0])
    if completed is None:
        return None
    cfg, added = completed
    try:
        checked(cfg, config_name, folders)
    except ConfigError as error:
        unknown = "there is no key" in str(error)
        return (unknown and _keys_of_others(added, folders)) or str(error)
    return "\n".join(_may_be_added(item, list(dotted_keys(OmegaConf.to_container(cfg)))) for item in added)


def _keys_of_others(added: Sequence[str], folders: Sequence[Path]) -> str | None:
    """Name the options that have keys which those chosen do not; None: a key that none has."""
    others = {item: elsewhere(item.partition("=")[0], folders, CHOSEN) for item in added}
    if not all(others.values()):
        return None
    return "\n".join(
        f"{item} cannot be used: what is chosen has no such key, and {other} has\ntype: {other} {item}"
        for item, other in others.items()
    )


def _may_be_added(item: str, known: Sequence[str]) -> str:
    key, _, value = item.partition("=")
    refused = f"{item} cannot be used: the configuration has no such key yet"
    slips = [name for name in known if is_slip(key, name)]
    if slips:
        return f"{refused}\ndid you mean {slips[0]}={value}? to add it, type: +{item}"
    return f"{refused}\ntype: +{item}"


def _with_missing_keys(
    first: str, config_name: str, folders: Sequence[Path], job: Sequence[str]
) -> tuple[DictConfig, list[str]] | None:
    """Compose a job with the keys added that there are not, the first of which is known; also these keys."""
    from hydra.errors import ConfigCompositionException

    from aa_lightning.configuration.composed import composed

    given, added, key = [*job], [], first
    while key is not None:
        place = next((i for i, item in enumerate(given) if re.match(rf"{re.escape(key)}[@=]", item)), None)
        if place is None:
            return None
        added.append(given[place])
        given[place] = f"+{given[place]}"
        try:
            return composed(config_name, given, folders), added
        except ConfigCompositionException as error:
            key = _refused_key(error)
    return None
