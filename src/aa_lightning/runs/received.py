"""Settings that a run folder recorded, read as data: it may set values of known sections, and make nothing run. Imports
nothing
heavy.

A folder may come from anybody. `recorded` gives the settings of its run, each a plain `key=value`; whatever asks for more
is refused in one sentence that says what it would have done, unless the user types `trust=true`.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from aa_lightning.configuration.folders import conf_dir
from aa_lightning.configuration.plain_yaml import read_yaml
from aa_lightning.configuration.schema import SECTIONS, Train
from aa_lightning.configuration.typed import chosen_groups, parsed
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.runs.layout import RunFolder
from aa_lightning.system.shown import one_line

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

Steps = tuple[str, ...]  # where a value stands in a configuration
Leaf = tuple[Steps, Any]

TRUST = "trust=true"
_OWN = ("resume", "trust")  # of a command itself
_LONGEST, _MOST = 4_000, 500  # characters of one recorded setting, and how many there may be
_FUNCTION = ("function", "name")  # of a template
_NAMES = (("_target_",), _FUNCTION, ("image_decoder",), ("speech", "encoder"), ("speech", "decoder"))
_ASKS = {  # switches that reach further, each with the value that does not, and what the other one does
    ("trust_remote_code",): (False, "run Python code that lies beside the weights"),
    ("media", "fetch"): (False, "read from the addresses that rows name"),
    ("fetching", "private"): (False, "read from addresses of this machine and its network"),
    ("below_root",): (True, "read media outside of the folder of the rows"),
}


def recorded(folder: Path, without: Sequence[str] = (), trusted: bool = False) -> list[str]:
    """The settings that a run folder recorded.

    Args:
        folder: of the run.
        without: keys that are typed now and therefore not taken from there.
        trusted: take everything.

    Raises:
        ConfigError: no run folder, or a setting that is more than data.
    """
    items = [item for item in _taken(folder, trusted) if item.partition("=")[0] not in without]
    for item in () if trusted else items:
        if why := refusal(item):
            raise ConfigError(f"{RunFolder(folder).typed} says {_short(item)}, which {why}")
    return items


def settings_of(folder: Path) -> list[str]:
    """Read what was typed for a run from its folder.

    Raises:
        ConfigError: the file is no list of texts, or too long a one.
    """
    found = read_yaml(RunFolder(folder).typed)
    if found is None:
        raise ConfigError(
            f"{RunFolder(folder).typed} is empty, as no run leaves it, so it is not known what its run was"
        )
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ConfigError(f"{RunFolder(folder).typed} is no list of settings, so it is not known what its run was")
    if len(found) > _MOST:
        raise ConfigError(f"{RunFolder(folder).typed} has {len(found)} settings, and would be read for a long time")
    return found


def names_code(folder: Path) -> bool:
    """Tell whether a run of one's own names code of one's own, or whatever else is taken from a folder only with
    `trust=true`."""
    return RunFolder(folder).typed.is_file() and any(map(refusal, _taken(folder)))


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a run of one's own; shards and links ask for trust, whoever made them."""
    sharded = any(path.is_dir() for path in RunFolder(folder).checkpoints.glob("step_*.ckpt"))
    more = [TRUST] if sharded or names_code(folder) or ways_out(folder) else []
    return shlex.join(["python", "-m", "aa_lightning.train", f"resume={folder}", *more])


def check_own(folder: Path) -> None:
    """Refuse to write into a run folder where it would be written elsewhere.

    Raises:
        ConfigError: the first such place.
    """
    if ways := ways_out(folder):
        raise ConfigError(
            f"{one_line(ways[0])} leads out of the run folder, and what is written there would change something else"
        )


def ways_out(folder: Path) -> list[Path]:
    """List what in a folder is no file of its own: links out of it, pipes, devices. To write there is to write elsewhere."""
    root = folder.resolve()
    return sorted(
        path
        for path in folder.rglob("*")
        if (path.is_symlink() and not path.resolve().is_relative_to(root))
        or (path.exists() and not path.is_file() and not path.is_dir())
    )


def refusal(item: str) -> str | None:
    """Why a recorded setting is more than data, as what it would do; None: it is plain data."""
    if item.startswith("-"):
        return "is a flag, and would change which files the command reads or what it does"
    if len(item) > _LONGEST:
        return f"is {len(item)} characters long, and would be read for a long time"
    try:
        (one,) = parsed([item])
    except (Exception, RecursionError):  # whatever the grammar makes of it
        return "is no key=value, so it is not known what it would do"
    return _refused_form(one, item) or next(filter(None, (_refused_value(*leaf) for leaf in _leaves_of(one))), None)


def _short(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= 120 else f"{shown[:120]}…"


def _taken(folder: Path, trusted: bool = False) -> list[str]:
    """The settings of a run but those that every command decides for itself: where it writes too, unless trusted."""
    own = _OWN if trusted else (*_OWN, "output")
    return [item for item in settings_of(folder) if item.partition("=")[0].lstrip("+") not in own]


def _refused_form(one: Override, item: str) -> str | None:
    name = one.key_or_group if one.package is None else f"{one.key_or_group}@{one.package}"
    first = _steps(one.key_or_group)[0]
    if first == "hydra" or first.startswith("hydra/"):
        return "would change where and how the command itself runs"
    if one.is_delete():
        return "would take a part of the configuration away"
    if one.is_sweep_override():
        return "would start more than one run"
    if name not in _groups() and (first not in _sections() or one.package is not None or "/" in name):
        return "is a setting of no known section, so it is not known what it would do"
    if name in _groups() and not all(re.fullmatch(r"[\w.-]+", option) for option in _options_of(one.value())):
        return "is no name of an option, so it is not known what it would do"
    if "${" in item:
        return "would read the environment or other settings of this machine"
    return None


def _refused_value(path: Steps, value: Any) -> str | None:
    place = _place(path)
    if place is not None:
        ours = value is None or (isinstance(value, str) and (place, value) in _ours())
        return None if ours else f"would import {_short(str(value))} and run it"
    for switch, (harmless, does) in _ASKS.items():
        if path[-len(switch) :] == switch and value is not harmless:
            return f"would {does}"
    served = path[0] == "reward" or path[:2] == ("rollout", "endpoint")
    if served and path[-1] in ("url", "key_env") and value is not None:
        return "would send prompts and answers to a server"
    if path[:2] == ("logger", "others") and path[-1] not in _keys_of_loggers():
        return "would have a logger write or send elsewhere"
    if path[0] == "trainer" and isinstance(value, str) and path not in _texts_of_trainer():
        return "would have the trainer import or write what it names"
    return None


def _place(path: Steps) -> Steps | None:
    """Return where a name of code stands, without what lies between: objectives nest, and so do data sets; None: no such
    name."""
    if path[0] == "reward" and len(path) == 2:  # `reward.mine=my_module.my_reward`
        return ("reward", "_target_")
    name = next((name for name in _NAMES if path[-len(name) :] == name), None)
    if name is None or path[0] == "trainer":
        return None if name is None else path
    return path[0], *name


def _options_of(value: Any) -> list[str]:
    """List what is chosen from a group, one option or several."""
    return [str(option) for option in (value if isinstance(value, list) else [value])]


def _steps(key: str) -> list[str]:
    """The parts of a dotted key, in both spellings, without the numbers of lists."""
    return [step for step in re.findall(r"[^.\[\]]+", key) if not step.isdigit()] or [key]


def _leaves_of(one: Override) -> Iterator[Leaf]:
    name = one.key_or_group if one.package is None else f"{one.key_or_group}@{one.package}"
    if name not in _groups():
        yield from _leaves(tuple(_steps(one.key_or_group)), one.value())


def _leaves(path: Steps, value: Any) -> Iterator[Leaf]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner)
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _leaves(path, inner)
    else:
        yield path, value


# ---------------------------------------------------------------- what our own configuration names


@functools.cache
def _groups() -> frozenset[str]:
    """The keys that choose from a group."""
    return frozenset(chosen_groups("evaluate").values())  # those of train, and benchmarks


@functools.cache
def _sections() -> frozenset[str]:
    return frozenset(
        {*SECTIONS, "algo", "model", "data", "trainer", "reward", *(field.name for field in fields(Train))}
    )


@functools.cache
def _configured() -> tuple[Leaf, ...]:
    """Every value of our own files, by where it stands in a configuration."""
    found: list[Leaf] = []
    for file in sorted(conf_dir().rglob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        package = re.search(r"^# @package (\w+)", text, re.M)
        group = file.relative_to(conf_dir()).parts[0].removesuffix(".yaml")
        inside = package[1] if package else group
        at_root = inside == "_global_" or file.parent == conf_dir()
        found += _leaves(() if at_root else (inside,), yaml.safe_load(text) or {})
    return tuple(found)


@functools.cache
def _ours() -> frozenset[tuple[Steps, str]]:
    """Names of classes and functions in our own files, each with its place."""
    named = ((_place(path), value) for path, value in _configured() if path)
    return frozenset((place, value) for place, value in named if place is not None and value is not None)


@functools.cache
def _texts_of_trainer() -> frozenset[Steps]:
    return frozenset(path for path, _ in _configured() if path[:1] == ("trainer",))


@functools.cache
def _keys_of_loggers() -> frozenset[str]:
    return frozenset(path[-1] for path, _ in _configured() if path[:2] == ("logger", "others"))
