"""Check that a configuration goes on with the run that another one began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aa_lightning.configuration.wording import show

_KEPT = {"model": ("family", "path", "tiny", "components", "dtype", "freeze", "trains", "lora"), "algo": ("_target_",)}
# restored with its moments
_OPTIMIZER = ("lr", "betas", "weight_decay", "eps", "schedule", "warmup_ratio", "min_lr_ratio")
_ROWS = (  # of data: which rows come, and in which order
    *("train", "val_share", "template", "templates", "multi_row", "corruption", "limit", "on_bad_row"),
    "temperature",
)
_ABSENT = "nothing"


def check_same_run(saved: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on with a run under another model, another algorithm, or on other rows.

    Raises:
        ValueError: what differs, or that it cannot be known.
    """
    try:
        before, now = _shaping(saved), _shaping(ours)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the configuration that the run saved was damaged ({type(error).__name__}: {error}): delete config.yaml in "
            "its folder to go on, as its checkpoints hold the same"
        ) from error
    for key in before:  # an earlier version may have had fewer
        for where, given, wanted in _differences(key, before[key], now.get(key, _ABSENT)):
            raise ValueError(
                f"the run was made with {where}={show(given)} and is now asked to go on with {where}={show(wanted)}: type "
                "resume=<run folder> without other model, algorithm, optimizer and data settings, or init=<run folder> in "
                "their place to start a new run from its weights"
            )


def _shaping(config: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the settings that must not change on resume, by dotted key."""
    kept = {
        f"{section}.{key}": config[section][key]
        for section, keys in {**_KEPT, "optimizer": _OPTIMIZER}.items()
        if section in config
        for key in keys
        if key in config[section]
    }
    data = config["data"]
    parts = {"data.parts": {name: _part(part) for name, part in data["parts"].items()}} if "parts" in data else {}
    return {**kept, **parts, **{f"data.{key}": data[key] for key in _ROWS if key in data}}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"weight": part["weight"], "data": {key: part["data"][key] for key in _ROWS if key in part["data"]}}


def _differences(where: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """The keys whose values differ. A file that was moved is the same file."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(f"{where}.{key}", before.get(key, _ABSENT), now.get(key, _ABSENT))
    elif where.startswith("data.") and where.endswith((".path", ".root")):
        if where.endswith(".path") and Path(before).name != Path(now).name:
            yield where, before, now
    elif before != now:
        yield where, before, now
