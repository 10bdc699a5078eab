"""Weights by name: the part of a network, an adapter added to the layers it sits in, those of a run's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.tiny.cache import tiny_folder

Weights = Mapping[str, Tensor]
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
        ValueError: neither here nor on the hub.
    """
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0].strip().rstrip(".")
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
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
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
