"""The pages of `--help`: of a command, of a group, of one of its options, of a key. Imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from aa_lightning.configuration.benchmarks import GROUP, listed
from aa_lightning.configuration.catalogue import data_set
from aa_lightning.configuration.comments import elsewhere, head, of_yaml, sentence
from aa_lightning.configuration.folders import conf_dir, file_of, option_file, option_names
from aa_lightning.configuration.key_pages import WIDTH, assigned, key_page, option_page, table
from aa_lightning.configuration.keys import Configuration, Key
from aa_lightning.configuration.typed import CHOSEN
from aa_lightning.configuration.wording import ConfigError, is_base, nearest, nearest_key

WELL_KNOWN = {
    "algo": ("dpo", "simpo", "kto", "orpo", "mpo", "sft", "reward_model", "prm"),
    "model": (
        "llava_1_5_7b",
        "qwen2_5_vl_7b_instruct",
        "qwen2_audio_7b_instruct",
        "stable_diffusion_v1_5",
        "tiny_llava",
    ),
    "benchmark": ("pope", "mme", "mmbench", "mmmu", "gsm8k", "shapes_ti2t"),
    "data": ("local", "rlaif_v", "ultrafeedback_binarized", "pickapic_v2", "mixture", "shapes_ti2t"),
}
MAIN_KEYS = {
    "train": (
        "trainer.max_steps",
        "loader.batch_size",
        "optimizer.lr",
        "data.train.path",
        "model.path",
        "model.lora.rank",
        "trainer.devices",
        "evaluation.num_examples",
        "checkpoint.every_n_steps",
        "init",
        "resume",
        "output",
    ),
    "evaluate": ("evaluation.num_examples", "evaluation.num_generations", "model.path", "data.train.path", "output"),
    "generate": ("model.path", "output"),
    "check": ("data.train.path", "data.limit", "data.on_bad_row", "loader.micro_batch_size"),
}
_FLAGS = """\
  --help <group> | <group>=<option> | <key>      what each option is, what an option sets, what a key takes
  --cfg job [--resolve]     print the configuration and stop
  -m                        sweep: every combination of comma-separated values
  --config-dir <folder>     your own configuration groups beside ours
  --hydra-help              the other flags; shell completion: eval "$(aa-train -sc install=bash)\""""


def page(asked: Sequence[str], config_name: str, about: str, folders: Sequence[Path]) -> str:
    """Make the page that `--help` shows.

    Args:
        asked: the words typed beside it; where one of them is a group or a key, the options typed with it are its context.
        config_name: of the command.
        about: what the command does, with examples.
        folders: of configuration groups.

    Raises:
        ConfigError: there is no such group, option or key.
    """
    groups = option_names(folders)
    context = [word for word in asked if "=" in word and word.partition("=")[0].partition("@")[0] in groups]
    values = [word.partition("=")[0].lstrip("+~") for word in asked if "=" in word and word not in context]
    _check_keys(values, context, config_name, folders)
    words = [word for word in asked if "=" not in word] or context
    if not words:
        return _command_page(config_name, about, folders)
    return "\n\n".join(_page_of(word, context, config_name, folders) for word in words)


def _check_keys(names: Sequence[str], context: Sequence[str], config_name: str, folders: Sequence[Path]) -> None:
    """Values that were typed do not matter here, but their keys must exist."""
    composed = Configuration(config_name, context, folders) if names else None
    for name in names:
        if composed is not None and _key(name, composed) is None:
            raise ConfigError(_no_page(name, composed))


def _page_of(word: str, context: Sequence[str], config_name: str, folders: Sequence[Path]) -> str:
    groups = option_names(folders)
    if word in groups:
        return _LISTS[word](folders) if word in _LISTS else _group_page(word, folders)
    if word.startswith(GROUP):
        config_name = "evaluate"
    composed = Configuration(config_name, context, folders)
    if "=" in word:
        return option_page(word, composed)
    found = key_page(word, composed) or _page_elsewhere(word, composed)
    if found is None:
        raise ConfigError(_no_page(word, composed))
    return found


def _page_elsewhere(name: str, composed: Configuration) -> str | None:
    """The page of a key that only other options have."""
    option = elsewhere(name, composed.folders, CHOSEN)
    if option is None:
        return None
    return key_page(name, Configuration(composed.config_name, [*composed.overrides, option], composed.folders))


def _no_page(word: str, composed: Configuration) -> str:
    """Say that there is no such page, and which one was most likely meant."""
    groups = option_names(composed.folders)
    named = next((f"{group}={word}" for group in groups if word in groups[group]), None)
    options = {option: f"{group}={option}" for group in CHOSEN for option in groups.get(group, [])}
    close = named or nearest(word, groups) or nearest_key(word, [*composed.names, *groups])
    close = close or options.get(nearest(word, options) or "")
    hint = f"did you mean --help {close}?" if close else f"there is: {', '.join(groups)}; all keys: --cfg job"
    return f"--help {word}: there is no such group and no such key\n{hint}"


# ---------------------------------------------------------------- a command


def _command_page(config_name: str, about: str, folders: Sequence[Path]) -> str:
    composed = Configuration(config_name, [], folders)
    usage = f"python -m aa_lightning.{config_name} <group>=<option> … <key>=<value> …"
    own = [] if config_name == "train" else ["keys of this command", *_short(_own_keys(config_name, composed)), ""]
    main = [key for name in MAIN_KEYS[config_name] if (key := _key(name, composed)) is not None]
    keys = [f"keys (one of them, with what it takes: --help {main[0].name}; all: --cfg job)", *_short(main)]
    groups = ["groups (all options of one: --help algo)", *_groups(composed)]
    return "\n".join([about, "", usage, "", *groups, "", *own, *keys, "", "flags", _FLAGS])


def _groups(composed: Configuration) -> Iterator[str]:
    """Each group with how many options it has, and a few of them: the user's own first."""
    names = option_names(composed.folders)
    for group in [*CHOSEN, *([GROUP] if composed.config_name == "evaluate" else [])]:
        options = [option for option in names[group] if not is_base(group, option)]
        own = [option for option in options if option_file(group, option, composed.folders[:1]) is None]
        few = list(dict.fromkeys([*own, *WELL_KNOWN.get(group, ()), *options]))
        line = f"  {group:<11} {len(options):>3}  "
        shown: list[str] = []
        while few and len(line) + len(", ".join([*shown, few[0], "…"])) <= WIDTH:
            shown.append(few.pop(0))
        yield line + ", ".join([*shown, *(["…"] if few else [])])


def _own_keys(config_name: str, composed: Configuration) -> list[Key]:
    """The keys that a command has beside those of training."""
    names = of_yaml(conf_dir() / f"{config_name}.yaml", config_name)
    keys = (composed.key(name) for name in names if "." not in name and name not in ("defaults", "hydra"))
    return [key for key in keys if key is not None]


def _key(name: str, composed: Configuration) -> Key | None:
    """A key of this configuration, or one that only other options have, without a value."""
    if (key := composed.key(name)) is not None:
        return key
    option = elsewhere(name, composed.folders, CHOSEN)
    other = Configuration(composed.config_name, [option], composed.folders).key(name) if option else None
    return None if other is None else replace(other, file="")


def _short(keys: Iterable[Key]) -> list[str]:
    """One line for each key."""
    told = [(assigned(key), key.comment or key.takes) for key in keys]
    width = max(len(typed) for typed, _ in told) + 2
    return [f"  {typed:<{width}}{textwrap.shorten(said, WIDTH - width, placeholder=' …')}" for typed, said in told]


# ---------------------------------------------------------------- a group


def _group_page(group: str, folders: Sequence[Path]) -> str:
    """Each option with the first comment of its file."""
    names = [name for name in option_names(folders)[group] if not is_base(group, name)]
    return "\n".join(
        [
            *table([f"{group}={name}" for name in names], [_about(group, name, folders) for name in names]),
            "",
            _more(group, WELL_KNOWN.get(group, names)[0]),
        ]
    )


_ORIGINS = {
    "hub": "ready: downloaded when they are first used, or read from the hub's cache",
    "several": "several of them together",
    "yours": "formats of your own file: add data.train.path=<file>",
    "shapes": "Shapes, the procedural world: made on this machine, at once",
}


def _data_page(folders: Sequence[Path]) -> str:
    """Data sets by what they need, each in a line: its modality, its kind, the first comment of its file."""
    names = [name for name in option_names(folders)["data"] if not is_base("data", name)]
    sets = sorted(
        (data_set(name, folders) for name in names), key=lambda one: (one.name != "local", one.modality, one.name)
    )
    lines: list[str] = []
    for origin, title in _ORIGINS.items():
        some = [one for one in sets if one.origin == origin]
        typed = [" ".join([f"data={one.name}", *(f"{key}=" for key in one.needs)]) for one in some]
        width = max(map(len, typed), default=0) + 2
        kinds = max((len(one.kind) for one in some), default=0)
        rows = [
            f"  {name:<{width}}{one.modality:<11}{one.kind:<{kinds}} " for name, one in zip(typed, some, strict=True)
        ]
        said = [one.about.removeprefix("Shapes, the procedural world: ") for one in some]
        lines += [title, *(_cut(f"{row} {words}") for row, words in zip(rows, said, strict=True)), ""]
    return "\n".join([*lines, _more("data", "rlaif_v")])


def _benchmark_page(folders: Sequence[Path]) -> str:
    """Benchmarks by what they tell of a model, each in a line: its modality, the first comment of its file."""
    lines: list[str] = []
    several = list(listed(folders))
    width = max((len(typed) for _, ones in several for typed, _, _ in ones), default=0) + 2
    for dimension, ones in several:
        lines += [dimension, *(_cut(f"  {typed:<{width}}{modality:<8}{about}") for typed, modality, about in ones), ""]
    return "\n".join([*lines, _more(GROUP, "pope")])


_LISTS = {"data": _data_page, GROUP: _benchmark_page}


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1].rstrip()}…"


def _more(group: str, option: str) -> str:
    if group == "stage":
        return f"type: init=stage:{option}"
    return f"what one of them sets, and a command with it: --help {group}={option}"


def _about(group: str, option: str, folders: Sequence[Path]) -> str:
    return sentence([line for line in head(file_of(group, option, folders)) if not line.startswith("python -m ")])
