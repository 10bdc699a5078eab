"""Weights by name: the part of a network, an adapter added to the layers it sits in, those of a run's checkpoint."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from aa_lightning.models.tiny.cache import tiny_folder

Weights = Mapping[str, Tensor]
_EXPORT = "init=<an export folder>, whose weights are read as data"
_ADAPTER = "default"  # peft's name for the only adapter


def folder_of(path: str, tiny: Mapping[str, Any]) -> str:
    """The folder or hub id behind `model.path`; a tiny model is built on first use.

    Args:
        path: a folder, a hub id, or tiny:<family>.
        tiny: sizes of the offline build.

    Raises:
        ValueError: a path that is written as a folder, where there is none.
    """
    if path.startswith("tiny:"):
        return str(tiny_folder(path.removeprefix("tiny:"), tiny))
    folder = Path(path).expanduser()
    if folder.is_dir():
        return str(folder.absolute())  # an adapter's export remembers where its base is
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        raise ValueError(
            f"model.path={path} is a folder that does not exist: type model.path=<folder with config.json or "
            "model_index.json>, a hub id such as model.path=org/name, or model=tiny_llava for a model made offline"
        )
    return path


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Inside, what cannot be loaded from `model.path` is said in one sentence.

    Raises:
        ValueError: neither here nor on the hub, or nothing that is read as data.
    """
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"model.path={path} has weights that are more than data, and to load them would run code: type model.path=<a "
            "folder with .safetensors>"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if "attention" in str(error):  # said by who chose it
            raise
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"model.path={path} comes with Python code of its own, which would run: type model.trust_remote_code=true if "
                "you know who wrote it, or the path of a model that the library has itself"
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")
        raise ValueError(
            f"model.path={path} cannot be loaded ({reason}): type model.path=<folder>, the id of a model on the hub "
            "that this machine can reach or has in its cache, or model=tiny_llava for a model made offline"
        ) from error


def below(prefix: str, weights: Weights | None) -> dict[str, Tensor] | None:
    """The weights of a part, by the part's own names; None stays None."""
    if weights is None:
        return None
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def merged(weights: Weights, scaling: float) -> dict[str, Tensor]:
    """The weights of the model that a model with LoRA adapters amounts to: W + scaling · B A (2106.09685 eq. 3).

    Args:
        weights: by their names in a model with adapters; others are left as they are.
        scaling: alpha / rank.
    """
    plain = {}
    for name, value in weights.items():
        if ".lora_" in name:
            continue
        layer, wrapped, rest = name.partition(".base_layer.")
        if wrapped and f"{layer}.lora_B.{_ADAPTER}.{rest}" in weights:
            up, down = (weights[f"{layer}.lora_{side}.{_ADAPTER}.{rest}"].float() for side in "BA")
            value = (value.float() + scaling * (up @ down)).to(value.dtype)
        plain[f"{layer}.{rest}" if wrapped else name] = value
    return plain


def without_adapters(weights: Weights) -> dict[str, Tensor]:
    """The weights below LoRA adapters, by the names that they have in a model without any."""
    return {name.replace(".base_layer.", "."): value for name, value in weights.items() if ".lora_" not in name}


def of_checkpoint(path: Path, family: str) -> dict[str, Tensor]:
    """The trained weights in a run's checkpoint, by the policy's names, adapters merged.

    Args:
        path: a checkpoint of one file.
        family: of the model that is going to take them.

    Raises:
        ValueError: not a checkpoint of a run, or one of another family.
    """
    saved = plain_checkpoint(path, f"init={path}", _EXPORT)
    if "hyper_parameters" not in saved or "config" not in saved["hyper_parameters"]:
        raise ValueError(
            f"init={path} was not written by a run of aa_lightning, so it is not known what its weights belong to: give "
            "a folder that transformers or diffusers load, with model.path=<folder>"
        )
    model = saved["hyper_parameters"]["config"]["model"]
    if model["family"] != family:
        raise ValueError(
            f"init={path} holds weights of family {model['family']}, and this run has model.family={family}: type the "
            f"model= of that run, or another init="
        )
    lora = model["lora"]
    return merged(below("policy.", saved["state_dict"]), lora["alpha"] / max(lora["rank"], 1))


def plain_checkpoint(path: Path, given: str, instead: str) -> dict[str, Any]:
    """Read a checkpoint of one file as data: tensors, numbers, texts, lists and mappings.

    Args:
        given: what was typed to come to it.
        instead: what to type where it is refused.

    Raises:
        ValueError: it holds more than that, which would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|class|type) ([\w.]+)", str(error))
        what = f"names {named[1]}, and to load that" if named else "holds more than data, and to load that"
        raise ValueError(f"{given} means {path}, which {what} would run code\ntype: {instead}") from error


def check_start(checkpoint: Path) -> None:
    """Refuse to start from a checkpoint that holds more than data."""
    plain_checkpoint(checkpoint, f"init={checkpoint}", _EXPORT)


def check_resume(checkpoint: Path, given: str) -> None:
    """Refuse a checkpoint that only unpickling reads.

    Raises:
        ValueError: it is in shards, or holds more than data.
    """
    instead = f"{given} trust=true if you know who made it, to unpickle it"
    if checkpoint.is_dir():
        raise ValueError(
            f"{given} goes on from {checkpoint}, which is in shards: what describes them is unpickled, which would run code "
            f"that it names\ntype: {instead}"
        )
    plain_checkpoint(checkpoint, given, instead)


def take(network: nn.Module, weights: Weights, source: Path) -> None:
    """Put weights into a network that has places of the same names and shapes.

    Raises:
        ValueError: it has not; the first difference is named.
    """
    ours = {name: value.shape for name, value in network.state_dict().items()}
    theirs = {name: value.shape for name, value in weights.items()}
    different = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if different:
        name = different[0]
        raise ValueError(
            f"init={source} does not fit this model: {name} is {_shape(theirs.get(name))} there and "
            f"{_shape(ours.get(name))} here. Type the model= (and model.path, model.tiny) of the run that wrote it"
        )
    network.load_state_dict(dict(weights))


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"{tuple(shape)}"
