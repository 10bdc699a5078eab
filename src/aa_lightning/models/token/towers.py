"""Frozen towers that read each medium once: for policy and reference, for all epochs, and for later runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from aa_lightning.models.families.family import Family
from aa_lightning.models.families.towers import Tower
from aa_lightning.models.token.features import Features
from aa_lightning.system import random_state
from aa_lightning.system.bounded_store import BoundedStore


def frozen_towers(model: nn.Module, family: Family) -> dict[str, Tower]:
    """The towers of a model that do not train, by their names, projectors inside of them included."""
    present = dict(model.named_modules())
    return {
        name: tower.of_model(model.config)
        for name, tower in family.kept.items()
        if name in present and not any(weight.requires_grad for weight in present[name].parameters())
    }


def keep_towers(model: nn.Module, towers: Mapping[str, Tower], store: BoundedStore | None) -> None:
    """Let towers read media one at a time, and look up what they have read before.

    Modules stay where they are, so that adapters, checkpoints and exports see no difference.

    Args:
        towers: that never train, by their names.
        store: of what they read; None: they look nothing up, and give the same.
    """
    for name, tower in towers.items():
        module = model.get_submodule(name)
        layer = None if tower.layer is None else model.config.to_dict()[tower.layer]
        module.forward = KeptTower(module, tower, layer, Features(module, store))


def release_towers(network: nn.Module) -> None:
    """Let the towers of a network read whole batches again: where weights are gathered for each call, processes call their
    modules equally often, and look nothing up."""
    for module in network.modules():
        if isinstance(vars(module).get("forward"), KeptTower):
            del module.forward


@dataclass
class Seen(ModelOutput):
    """The part of a tower's output that a model reads; the rest is None.

    Attributes:
        hidden_states: by the index that the model asks for.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: dict[int, Tensor] | None = None
    deepstack_features: list[Tensor] | None = None


class KeptTower:
    """The forward pass of a tower, over media that it has not read yet.

    Args:
        module: the tower.
        tower: how it is called.
        layer: the hidden state that is read where the model asks for all of them.
        features: of the module.
    """

    def __init__(self, module: nn.Module, tower: Tower, layer: int | None, features: Features):
        self.module, self.tower, self.layer, self.features = module, tower, layer, features
        self._plain, self._names = module.forward, [*inspect.signature(module.forward).parameters]
        self._draws: bool | None = None  # not known yet

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(self._names, args, strict=False)), **kwargs}
        media = self.tower.divide(given)
        if not media or _has_gradient(given) or self._is_random(media[0]):
            return self._plain(**given)
        read = self.features.of(media, self._read)
        return _output({name: torch.cat([one[name] for one in read], self.tower.dim) for name in read[0]})

    @torch.no_grad()
    def _read(self, given: Mapping[str, Any]) -> dict[str, Tensor]:
        output, found = self._plain(**given), {}
        for name in self.tower.fields:
            value = output.get(name)
            if name == "hidden_states":
                value = {} if value is None else {layer: value[layer] for layer in self._layers(given)}
            elif isinstance(value, list | tuple):
                value = dict(enumerate(value))
            if isinstance(value, dict):
                found |= {f"{name}/{index}": part for index, part in value.items()}
            else:
                found[name] = value
        return found

    def _layers(self, given: Mapping[str, Any]) -> list[int]:
        asked = given["output_hidden_states"]
        if asked is True:
            asked = self.layer
        return [asked] if isinstance(asked, int) else list(asked)

    def _is_random(self, given: Mapping[str, Any]) -> bool:
        """Tell whether a tower in training mode draws (dropout, layers left out) or looks at its neighbours (batch norm)."""
        if not self.module.training:
            return False
        if self._draws is None:
            modes = {module: module.training for module in self.module.modules()}
            before = random_state.capture()
            trained = self._read(given)
            drawn = _drew(before)
            for module in modes:
                module.training = False
            plain = self._read(given)
            for module, mode in modes.items():
                module.training = mode
            random_state.restore(before)
            self._draws = drawn or any(not torch.equal(trained[name], plain[name]) for name in plain)
        return self._draws


def _drew(before: Mapping[str, Any]) -> bool:
    """Tell whether torch's generators have moved."""
    after = random_state.capture()
    moved = not torch.equal(before["torch"], after["torch"])
    return moved or (before["cuda"] is not None and not torch.equal(before["cuda"], after["cuda"]))


def _has_gradient(given: Mapping[str, Any]) -> bool:
    """Tell whether a gradient with respect to the media is asked for."""
    return torch.is_grad_enabled() and any(
        isinstance(value, Tensor) and value.requires_grad for value in given.values()
    )


def _output(found: Mapping[str, Tensor]) -> Seen:
    seen: dict[str, Any] = {}
    for name, value in sorted(found.items()):
        field, _, index = name.partition("/")
        if not index:
            seen[field] = value
        else:
            seen.setdefault(field, {})[int(index)] = value
    if "deepstack_features" in seen:
        seen["deepstack_features"] = [*seen["deepstack_features"].values()]
    return Seen(**seen)
