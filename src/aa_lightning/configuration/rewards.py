"""The section `reward`: rewards by name, each a `_target_` with its own arguments and with what every reward may say.

What a name means is known before torch is: a function of the user's own is imported, and its arguments are looked at.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict

from aa_lightning.configuration.comments import LOADER
from aa_lightning.configuration.composed import section
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.schema import RewardSettings
from aa_lightning.configuration.signatures import arguments_of
from aa_lightning.configuration.validation import mistakes_in
from aa_lightning.configuration.wording import ConfigError, Everywhere, nearest, show, typed_value, unknown

SETTINGS = tuple(field.name for field in fields(RewardSettings))
How = Literal["each", "all", "flat"]  # the last takes one list of all responses, as reward functions of TRL do
TAKES: dict[How, tuple[str, str, str]] = {  # the last one if it wants to
    "each": ("prompt", "response", "length"),
    "all": ("prompts", "responses", "lengths"),
}
_FLAT, ASK = "completions", "ask"  # the latter draws answers of the policy
_GIVEN = (*(name for names in TAKES.values() for name in names), _FLAT, ASK)
_CALLED = "reward(prompts, responses), which gives a list of numbers for each prompt, or reward(prompt, response)"


def with_rewards(cfg: DictConfig, folders: Sequence[Path]) -> DictConfig:
    """The configuration with every reward written out: `reward.mine=my_module.my_reward` names its `_target_`, one that is
    `like` another has what that one's file says, and what every reward may say has its default where nothing is said.

    Args:
        cfg: what Hydra composed.
        folders: of configuration groups.

    Raises:
        ConfigError: there is no reward that one shall be like.
    """
    rewards = cfg.get("reward")
    if not isinstance(rewards, DictConfig):
        return cfg
    defaults = yaml.load((conf_dir() / "reward/options/common.yaml").read_text(encoding="utf-8"), LOADER)
    with open_dict(cfg):
        for name, said in OmegaConf.to_container(rewards).items():
            if isinstance(said, str):
                said = {"_target_": said}
            if isinstance(said, dict) and {"_target_", "like"} & said.keys():
                other = said.pop("like", None)
                below = defaults if other is None else _file_of(f"reward.{name}", other, folders)
                rewards[name] = OmegaConf.merge(below, said)
    return cfg


def _file_of(path: str, option: Any, folders: Sequence[Path]) -> Mapping[str, Any]:
    """The reward of a file, as it stands there."""
    known = option_names(folders)["reward"]
    if option not in known:
        close = nearest(str(option), known)
        hint = f"did you mean {path}.like={close}?" if close else f"there is: {', '.join(known)}"
        raise ConfigError(f"{path}.like={option} cannot be used: there is no reward/{option}.yaml\n{hint}")
    return section("reward", option, folders).reward[option]


def mistakes_in_rewards(section: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    """List what rewards say that they cannot mean.

    Args:
        section: reward → its `_target_`, arguments and settings.
        everywhere: what a mistyped key may have meant.
    """
    mistakes: list[str] = []
    for name, said in section.items():
        if isinstance(said, Mapping) and "_target_" in said:
            mistakes += _mistakes_in(f"reward.{name}", said, everywhere)
        else:
            mistakes += [_no_reward(name, said, section, everywhere)]
    return mistakes


def schema_of_reward(path: str, target: str) -> type | None:
    """The arguments of a reward's class or function; None: whatever it is given.

    Args:
        path: its key, for errors.
        target: what its `_target_` says.

    Raises:
        ConfigError: it is none.
    """
    named = named_reward(path, target)
    of_rows = columns_of(named) if how_called(path, target, named) == "flat" else ()
    return arguments_of(named, () if inspect.isclass(named) else (*_GIVEN, *of_rows))


def named_reward(path: str, target: str) -> Callable[..., Any]:
    """Import the class or function that a reward's `_target_` names.

    Raises:
        ConfigError: there is none.
    """
    module, _, name = target.rpartition(".")
    try:
        if not module:
            raise ImportError("it names no module")
        found = getattr(importlib.import_module(module), name, None)  # some packages load their names lazily
    except Exception as error:  # whatever a module of the user's does when it is imported
        raise ConfigError(
            f"{path}._target_={target} cannot be imported ({type(error).__name__}: {error})\ntype: "
            f"{path}._target_=<module>.<function>, of a module that this Python finds: in this folder, or PYTHONPATH=<its "
            "folder> in front of the command"
        ) from error
    if callable(found):
        return found
    close = nearest(name, [one for one, value in vars(importlib.import_module(module)).items() if callable(value)])
    hint = f"did you mean {path}._target_={module}.{close}?" if close else f"write there: {_CALLED}"
    raise ConfigError(f"{path}._target_={target} cannot be used: the module {module} has no {name} to call\n{hint}")


def columns_of(judge: Callable[..., Any]) -> list[str]:
    """List the columns of rows that a function of one list asks for: its arguments without a default."""
    arguments = inspect.signature(judge).parameters.values()
    asked = [one for one in arguments if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    return [one.name for one in asked if one.name not in (_FLAT, "prompts")]


def how_called(path: str, target: str, named: Callable[..., Any]) -> How:
    """Tell whether a reward judges all responses in one call, each in its own, or all in one list.

    Raises:
        ConfigError: its arguments say neither.
    """
    called = _call_of(named) if inspect.isclass(named) else named
    if called is None:
        raise ConfigError(
            f"{path}._target_={target} cannot be used: what the class makes cannot be called\nwrite there: __call__, as "
            f"{_CALLED}"
        )
    names = [name for name in inspect.signature(called).parameters if name != "self"]
    for how, given in TAKES.items():
        if set(given[:2]) <= set(names):
            return how
    if _FLAT in names:
        return "flat"
    raise ConfigError(
        f"{path}._target_={target} cannot be used: it takes {', '.join(names) or 'nothing'}\nwrite: {_CALLED}"
    )


def _call_of(named: type) -> Callable[..., Any] | None:
    return next((vars(cls)["__call__"] for cls in named.__mro__ if "__call__" in vars(cls)), None)


def _no_reward(name: str, said: Any, section: Mapping[str, Any], everywhere: Everywhere) -> str:
    """Something below `reward` that is none: most likely a mistyped name of one."""
    known = [one for one, value in section.items() if isinstance(value, Mapping) and "_target_" in value]
    if isinstance(said, Mapping) and nearest(name, known):
        return unknown("reward", name, said, known, everywhere)
    if name in everywhere.groups.get("reward", ()):
        return f"reward.{name} is not chosen\ntype: reward=[{','.join([*known, name])}]"
    if isinstance(said, Mapping) and said:
        keys = ",".join(f"{key}:{typed_value(value)}" for key, value in said.items())
        return (
            f"reward.{name}.{next(iter(said))} cannot be set: there is no reward {name}\n"
            f"type: '+reward.{name}={{_target_:<module>.<function>,{keys}}}', or reward=[<name>,…] for ours; --help reward "
            "lists them"
        )
    return (
        f"reward.{name}={show(said)} cannot be used: it names no reward\n"
        f"type: +reward.{name}=<module>.<function>, or reward=[<name>,…] for ours; --help reward lists them"
    )


def _mistakes_in(path: str, said: Mapping[str, Any], everywhere: Everywhere) -> list[str]:
    settings = {key: value for key, value in said.items() if key in SETTINGS}
    own = {key: value for key, value in said.items() if key not in (*SETTINGS, "_target_")}
    try:
        schema = schema_of_reward(path, said["_target_"])
    except ConfigError as error:
        return [str(error)]
    mistakes = mistakes_in(path, settings, RewardSettings, everywhere)
    if schema is None:
        return mistakes
    names = [field.name.rstrip("_") for field in fields(schema)]
    strange = [
        unknown(path, key, value, [*names, *SETTINGS], everywhere) for key, value in own.items() if key not in names
    ]
    return mistakes + (strange or mistakes_in(path, own, schema, everywhere))
