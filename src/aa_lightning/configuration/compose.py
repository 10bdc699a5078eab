"""The configuration of a command: composed for notebooks, tests and stages (the commands themselves compose through
Hydra), and completed with the data sets that a mixture names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from aa_lightning.configuration.changes import with_changes
from aa_lightning.configuration.check import check_config, check_sections
from aa_lightning.configuration.composed import composed, section, with_algorithm, with_whole_parts
from aa_lightning.configuration.folders import conf_dir, option_names
from aa_lightning.configuration.rewards import with_rewards
from aa_lightning.configuration.typed import ROWS, check_options
from aa_lightning.configuration.wording import ConfigError, nearest, show, some


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """Compose and check the configuration of a command line.

    Args:
        overrides: as they are typed: ["algo=dpo", "modality=ti2t", "algo.beta=0.2"].
        config_name: train, evaluate, generate or check.

    Raises:
        ConfigError: a value that cannot work.
    """
    folders = [conf_dir()]
    check_options(overrides, config_name, folders)
    whole = composed(config_name, overrides, folders, with_choices=True)
    with open_dict(whole):
        hydra = whole.pop("hydra")
    cfg = finished(whole, hydra, config_name, folders)
    OmegaConf.resolve(cfg)
    return cfg


def finished(cfg: DictConfig, hydra: DictConfig, config_name: str | None, folders: Sequence[Path]) -> DictConfig:
    """A configuration that can run, with what only we know how to say of it.

    Args:
        cfg: what Hydra composed.
        hydra: what Hydra says of it: choices and overrides.
        config_name: of the command.
        folders: of configuration groups; the last ones are the user's own.

    Raises:
        ConfigError: a value that cannot work.
    """
    whole = with_whole_parts(with_algorithm(cfg, hydra.runtime.choices), hydra, folders)
    return with_changes(checked(whole, config_name, folders), hydra, folders)


def checked(cfg: DictConfig, config_name: str | None, folders: Sequence[Path]) -> DictConfig:
    """A configuration that can run, with the parts of a mixture written out its rewards, and where to start from.

    Args:
        cfg: what Hydra composed.
        config_name: of the command.
        folders: of configuration groups.

    Raises:
        ConfigError: a value that cannot work.
    """
    check_sections(cfg)
    whole = with_start(with_rewards(with_parts(cfg, folders), folders))
    check_config(whole, config_name, option_names(folders))
    return whole


def with_parts(cfg: DictConfig, folders: Sequence[Path]) -> DictConfig:
    """The configuration with the parts of a mixture written out: each name becomes the data set of that name.

    `data.parts` is a list of names of the data group, or of files of rows; or a mapping from a name to a weight, or to
    keys of that data set with `weight` and `data` (the data set's name, where the part is called otherwise).

    Args:
        cfg: what Hydra composed; any but a mixture is returned as it is.
        folders: of configuration groups; the last ones are the user's own.

    Raises:
        ConfigError: a name that there is not, or a key without a value.
    """
    if "data" not in cfg or "parts" not in cfg.data or OmegaConf.is_missing(cfg.data, "parts"):
        return cfg
    given = cfg.data.parts
    if isinstance(given, ListConfig):
        named = {_name(part): {"data": part} for part in given}
        if len(named) < len(given):
            twice = next(name for name in named if [_name(part) for part in given].count(name) > 1)
            raise ConfigError(
                f"data.parts={show(given)} has two parts that are called {twice}\n"
                "type: 'data.parts={first:{data:local,train:{path:<file>}},…}' to give each a name of its own"
            )
    elif isinstance(given, DictConfig):
        named = {name: _said(name, said) for name, said in OmegaConf.to_container(given, resolve=True).items()}
    else:
        raise ConfigError(f"data.parts={show(given)} cannot be used: it names no parts\ntype: {_EXAMPLE}")
    if not named:
        raise ConfigError(f"data.parts is empty\ntype: {_EXAMPLE}")
    with open_dict(cfg):
        cfg.data.parts = {name: _written_out(name, said, folders) for name, said in named.items()}
    return cfg


def with_start(cfg: DictConfig) -> DictConfig:
    """The configuration with `init=auto` said: the scale's stage where all rows are Shapes, which stages are trained on; for
    rows of one's own, the model's weights as they are."""
    if "init" not in cfg or cfg.init != "auto":
        return cfg
    staged = cfg.default_stage is not None and made_here(cfg.data)
    with open_dict(cfg):
        cfg.init = f"stage:{cfg.default_stage}" if staged else None
    return cfg


def made_here(data: DictConfig) -> bool:
    """Tell whether all rows of a `data` section are Shapes."""
    sets = [part.data for part in data.parts.values()] if "parts" in data else [data]
    return all("modality" in one.train for one in sets)


_EXAMPLE = "data=mixture 'data.parts=[rlaif_v,ultrafeedback_binarized]' or 'data.parts={rlaif_v:0.7,alpaca:0.3}'"


def _name(part: Any) -> str:
    """A part is called like its data set; a file, without its folder and ending."""
    if not isinstance(part, str):
        raise ConfigError(f"data.parts has {show(part)}, which is no name\ntype: {_EXAMPLE}")
    return Path(part).stem if part.endswith(ROWS) else part


def _said(name: str, said: Any) -> dict[str, Any]:
    if isinstance(said, Mapping):
        return {"data": name, **said}
    return {"data": name, "weight": said}


def _written_out(name: str, said: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """`{weight, data}` of a part, with its data set in place of that one's name."""
    weight, data = said.pop("weight", None), said.pop("data")
    if isinstance(data, Mapping):  # written out before
        return {"weight": weight, "data": data}
    chosen = {"train": {"path": data}} if data.endswith(ROWS) else {}
    whole = _data_set(name, "local" if chosen else data, folders)
    OmegaConf.set_struct(whole, False)
    whole.data = OmegaConf.merge(whole.data, chosen, said)
    missing = sorted(key for key in OmegaConf.missing_keys(whole) if not key.startswith("data.val."))
    if missing:
        path = missing[0].split(".")[1:]
        typed = f"{path[-1]}:<value>"
        for step in reversed(path[:-1]):
            typed = f"{step}:{{{typed}}}"
        raise ConfigError(
            f"data.parts.{name} needs a value for {'.'.join(path)}\ntype: 'data.parts={{{name}:{{{typed}}},…}}'"
        )
    return {"weight": weight, "data": OmegaConf.to_container(whole, resolve=True)["data"]}


def _data_set(part: str, name: str, folders: Sequence[Path]) -> DictConfig:
    try:
        return section("data", name, folders)
    except MissingConfigException as error:
        known = option_names(folders)["data"]
        close = nearest(name, known)
        hint = f"did you mean {close}?" if close else some(known, "data")
        raise ConfigError(f"data.parts names {name!r}, and there is no data/{name}.yaml\n{hint}") from error
