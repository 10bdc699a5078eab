"""The command line before Hydra composes it: flags and options that there are not, and the jobs of a sweep.

Hydra lets an option of an optional group be missing, since the default of one is made of other choices (`recipe:
tiny_dpo`); what somebody types must exist.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from aa_lightning.configuration.comments import LOADER
from aa_lightning.configuration.folders import conf_dir, file_of, option_names
from aa_lightning.configuration.wording import ConfigError, nearest, some

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

ROWS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".tar")  # endings of files of rows
CHOSEN = (
    "algo",
    "model",
    "data",
    "modality",
    "strategy",
    "reward",
    "experiment",
    "logger",
)  # groups that people choose from, of every command
_OF_EVALUATE = "benchmark"
_WITH_VALUE = {"--config-dir": "-cd", "--config-name": "-cn", "--cfg": "-c", "--package": "-p", "--info": "-i"}
_ALONE = {
    "--help": "-h",
    "--hydra-help": "",
    "--version": "",
    "--resolve": "",
    "--run": "-r",
    "--multirun": "-m",
    "--shell-completion": "-sc",
}
FLAGS = {**_WITH_VALUE, **_ALONE}


@dataclass(frozen=True)
class Line:
    """A command line, taken apart.

    Attributes:
        config_name: of the command.
        flags: with their values.
        overrides: all others.
        folders: of configuration groups: ours, then those that the line names.
    """

    config_name: str
    flags: list[str]
    overrides: list[str]
    folders: list[Path]

    @classmethod
    def of(cls, typed: Sequence[str], config_name: str) -> Line:
        """Take apart what was typed, without the program."""
        takes_value = {*_WITH_VALUE, *_WITH_VALUE.values()}
        values = {i + 1 for i, item in enumerate(typed) if item in takes_value}
        is_flag = [item.startswith("-") or i in values for i, item in enumerate(typed)]
        overrides = [item for item, flag in zip(typed, is_flag, strict=True) if not flag]
        return cls(config_name, [*compress(typed, is_flag)], overrides, [conf_dir(), *_own_folders(typed)])

    @property
    def asks_for_help(self) -> bool:
        return bool({"--help", "-h"} & set(self.flags))

    @property
    def sweeps(self) -> bool:
        return bool({"-m", "--multirun"} & set(self.flags)) or "hydra.mode=MULTIRUN" in self.overrides

    @property
    def shows(self) -> bool:
        """Tell whether the configuration is only printed."""
        return any(flag.partition("=")[0] in ("--cfg", "-c") for flag in self.flags)

    def check(self) -> None:
        """Refuse flags and options that there are not.

        Raises:
            ConfigError: with the nearest one.
        """
        check_flags(self.flags)
        options = [item for item in self.overrides if "=" in item or not self.asks_for_help]
        check_options(options, self.config_name, self.folders)


def _own_folders(typed: Sequence[str]) -> list[Path]:
    """The folders given by --config-dir, in both spellings, and by hydra.searchpath."""
    joined = [item.partition("=")[2] for item in typed if item.startswith(("--config-dir=", "-cd="))]
    apart = [typed[i + 1] for i, item in enumerate(typed[:-1]) if item in ("--config-dir", "-cd")]
    searched = [item.partition("=")[2].strip("[]").split(",") for item in typed if item.startswith("hydra.searchpath=")]
    files = [one.strip("'\" ").removeprefix("file://") for several in searched for one in several if "file://" in one]
    return [Path(folder).resolve() for folder in joined + apart + files]


def check_flags(typed: Sequence[str]) -> None:
    """Refuse a flag that there is not.

    Raises:
        ConfigError: with the nearest one.
    """
    known = {*FLAGS, *filter(None, FLAGS.values())}
    for flag in (item.partition("=")[0] for item in typed if item.startswith("-")):
        if flag not in known:
            close = nearest(flag, FLAGS)
            hint = f"did you mean {close}?" if close else f"there is: {', '.join(sorted(FLAGS))}"
            raise ConfigError(f"{flag} cannot be used: there is no such flag\n{hint}")


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Read overrides as Hydra does.

    Raises:
        OverrideParseException: one that cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_overrides([*overrides])


def with_parts_added(typed: Sequence[str]) -> list[str]:
    """Let each part of an algorithm that is typed whole, `algo.loss={name:hinge,target:1}`, have options that the part in the
    algorithm's file lacks."""
    whole = re.compile(r"algo\.[\w.]+=\{.*\bname:")
    return [f"++{one}" if whole.match(one) else one for one in typed]


def check_options(overrides: Sequence[str], config_name: str, folders: Sequence[Path]) -> None:
    """Refuse an option of a group that has no file, and a group that is chosen in another way.

    Raises:
        ConfigError: one line per mistake, with what to type.
    """
    from hydra.core.override_parser.types import OverrideType

    groups, chosen, mistakes = option_names(folders), chosen_groups(config_name), _rewards_with_keys(overrides)
    for one in parsed(overrides):
        if one.key_or_group in groups and one.type is not OverrideType.DEL:
            key = f"{one.key_or_group}@{one.package}" if one.package else one.key_or_group
            added = one.type is OverrideType.ADD
            told = (_refused(key, option, added, chosen, folders) for option in _options(one))
            mistakes += [mistake for mistake in told if mistake is not None]
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _rewards_with_keys(overrides: Sequence[str]) -> list[str]:
    """Rewards that are typed as a text, which is their `_target_`, and have keys beside it: Hydra would drop the text."""
    mistakes = []
    for text in overrides:
        found = re.match(r"\+*reward\.(\w+)=([\w.]+)$", text)
        below = rf"\+*reward\.{found[1]}\.([\w.]+)=(.+)" if found else r"(?!)"
        keys = [told for told in (re.fullmatch(below, item) for item in overrides) if told]
        if keys:
            whole = ",".join([f"_target_:{found[2]}", *(f"{told[1]}:{told[2]}" for told in keys)])
            mistakes.append(
                f"{keys[0][0]} cannot be used: {text} is a text, which has no keys\ntype: '+reward.{found[1]}={{{whole}}}'"
            )
    return mistakes


def _refused(key: str, option: str, added: bool, chosen: Mapping[str, str], folders: Sequence[Path]) -> str | None:
    """Say why an option cannot be chosen in this way; None: it can."""
    group, known = key.partition("@")[0], option_names(folders)[key.partition("@")[0]]
    if group == _OF_EVALUATE and group not in chosen and option in known:
        return (
            f"{key}={option} cannot be used: it belongs to another command\ntype: python -m aa_lightning.evaluate "
            f"{key}={option}"
        )
    ours, given = chosen.get(group), f"{'+' if added else ''}{key}={option}"
    if group == "stage":
        best = option if option in known else nearest(option, known) or "<name>"
        return f"{given} cannot be used: a run starts from a stage\ntype: init=stage:{best}"
    if option == "null":
        key = ours or group
        return f"{given} cannot be used: no option is called so\ntype: {key}=<option>, or ~{key} to choose none"
    if option not in known:
        return _no_option(group, option, ours or (group if group == _OF_EVALUATE else f"+{group}"), folders)
    if ours is None and not added:
        return f"{given} cannot be used: nothing is chosen from {group} yet\ntype: +{group}={option}"
    if ours is not None and (added or key != ours):
        return f"{given} cannot be used: the key is another one\ntype: {ours}={option}"
    return None


def chosen_groups(config_name: str) -> dict[str, str]:
    """Group → the key that chooses from it (`scale` → `scale@_global_`), as the command's own file says."""
    written = yaml.load((conf_dir() / f"{config_name}.yaml").read_text(encoding="utf-8"), LOADER)
    chosen: dict[str, str] = {}
    for entry in written.get("defaults", []):
        if isinstance(entry, dict):
            key = next(iter(entry)).removeprefix("optional ")
            chosen |= {} if key.startswith("override ") else {key.partition("@")[0]: key}
        elif entry != "_self_":
            chosen |= chosen_groups(entry)
    return chosen


def jobs_of(overrides: Sequence[str]) -> list[list[str]]:
    """List the overrides of single jobs of a sweep, so many that each value that was typed is in one of them."""
    values = [*filter(None, (list(_values(one)) for one in parsed(overrides) if not one.is_hydra_override()))]
    first = [several[0] for several in values]
    return [first, *([*first[:i], other, *first[i + 1 :]] for i, several in enumerate(values) for other in several[1:])]


def _values(one: Override) -> Iterator[str]:
    """An override without its sweep; the first number alone stands for a range or an interval, nothing for a pattern."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    key, value = one.input_line.partition("=")[0], one.value()
    if isinstance(value, RangeSweep | IntervalSweep):
        yield f"{key}={value.start}"
    elif one.is_choice_sweep() and not isinstance(value, Glob):
        yield from (f"{key}={text}" for text in one.sweep_string_iterator())
    elif not isinstance(value, Glob):
        yield one.input_line


def _options(one: Override) -> list[str]:
    """The options that an override chooses from a group; none by a pattern."""
    from hydra.core.override_parser.types import Glob

    if one.is_choice_sweep():
        return [] if isinstance(one.value(), Glob) else [text.strip("'\"") for text in one.sweep_string_iterator()]
    value = one.value()
    return ["null" if option is None else str(option) for option in (value if isinstance(value, list) else [value])]


def _no_option(group: str, option: str, key: str, folders: Sequence[Path]) -> str:
    known = option_names(folders)[group]
    refused = f"{key}={option} cannot be used: there is no {group}/{option}.yaml"
    if not option:
        return f"{key}= cannot be used: it names no option\ntype: {key}=<option>; --help {group} lists them"
    if group == "data" and option.endswith(ROWS):
        return f"{refused}\ntype: data=local data.train.path={option}"
    if group == "model" and "/" in option:
        return f"{refused}\n{_model_of_path(option, key, known, folders)}"
    theirs = _called_elsewhere(tuple(folders)) if group == "data" else {}
    close = theirs.get(option.lower()) or nearest(option, known)
    hint = f"did you mean {key}={close}? " if close else ""
    return f"{refused}\n{hint}{some(known, group)}"


@functools.cache
def _called_elsewhere(folders: tuple[Path, ...]) -> dict[str, str]:
    """The names in align-anything, in small letters → ours, as the comments of the files say them."""
    found: dict[str, str] = {}
    for name in option_names(folders)["data"]:
        text = file_of("data", name, folders).read_text(encoding="utf-8")
        for theirs in re.findall(r"^# align-anything: (.+)", text, re.M):
            found = {**{one.partition(" ")[0].lower(): name for one in theirs.split(", ")}, **found}
    return found


def _model_of_path(path: str, key: str, known: Sequence[str], folders: Sequence[Path]) -> str:
    """Say what to type for a hub id or a folder: the option that names it, else the nearest one with this path."""
    paths = {}
    for name in known:
        told = re.search(r"^path: (\S+)", file_of("model", name, folders).read_text(encoding="utf-8"), re.M)
        paths |= {told[1]: name} if told else {}
    if path in paths:
        return f"did you mean {key}={paths[path]}?"
    close = nearest(path, paths)
    return f"type: {key}={paths[close] if close else '<one of its family>'} model.path={path}"
