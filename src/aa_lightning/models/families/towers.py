"""Calls of the towers of each family: which of their inputs belong to one medium, and what is read of their output.

A tower whose inputs cannot be divided so stands in no row of the table, and is never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Given = Mapping[str, Any]  # a tower's arguments by their names


def rows(given: Given) -> list[dict[str, Any]]:
    """One medium (or frame, tile, window) in each row of every tensor; [] where pictures have sizes of their own, of which
    the output has no rows."""
    return [] if given.get("image_sizes") is not None else _each(given)


def _each(given: Given) -> list[dict[str, Any]]:
    count = next(len(value) for value in given.values() if isinstance(value, Tensor))
    return [
        {name: value[row : row + 1] if isinstance(value, Tensor) else value for name, value in given.items()}
        for row in range(count)
    ]


def patches(given: Given) -> list[dict[str, Any]]:
    """Patches (all, D) of all media one after another, whose numbers in time, height and width stand in `grid_thw`."""
    grids = given["grid_thw"]
    parts = given["hidden_states"].split(grids.prod(-1).tolist())
    return [{**given, "hidden_states": part, "grid_thw": grid[None]} for part, grid in zip(parts, grids, strict=True)]


def cropped(given: Given) -> list[dict[str, Any]]:
    """Pictures (N, C, H, W), padded, and their own sizes in `image_sizes`."""
    sizes = torch.as_tensor(given["image_sizes"])
    return [
        {**row, "pixel_values": row["pixel_values"][..., :height, :width], "image_sizes": sizes[None]}
        for row, sizes in zip(_each({**given, "image_sizes": sizes}), sizes, strict=True)
        for height, width in [sizes.tolist()]
    ]


def sounds(given: Given) -> list[dict[str, Any]]:
    """Sounds (mel, all), one after another, whose lengths stand in `feature_lens`."""
    lengths = given["feature_lens"].tolist()
    each = _each({name: value for name, value in given.items() if name != "input_features"})
    parts = given["input_features"].split(lengths, 1)
    return [{**row, "input_features": part} for row, part in zip(each, parts, strict=True)]


@dataclass(frozen=True)
class Tower:
    """A tower of a family.

    Attributes:
        divide: arguments for all media of a batch → for each of them.
        fields: what the model reads of its output; of hidden states those that it asks for.
        layer: the key of the model's configuration that says which hidden state is read, where that may be the output.
        output: what stands there if it is.
        dim: along which outputs of media stand one after another.
    """

    divide: Callable[[Given], list[dict[str, Any]]] = rows
    fields: tuple[str, ...] = ("last_hidden_state",)
    layer: str | None = None
    output: int | None = None
    dim: int = 0

    def of_model(self, config: Any) -> Tower:
        """Make the tower of one model, where what it reads hangs on the configuration."""
        if self.layer is None or config.to_dict()[self.layer] == self.output:
            return self
        return replace(self, fields=("hidden_states",))


_LAYER = Tower(fields=("hidden_states",))
_LAST = Tower()
_MERGED = Tower(patches, ("pooler_output",))
_STACKED = Tower(patches, ("pooler_output", "deepstack_features"))
_SOUNDS = Tower(sounds)

LLAVA = {"model.vision_tower": _LAYER}
VIDEO_LLAVA = {"model.image_tower": _LAYER, "model.video_tower": _LAYER}
GEMMA = {"model.vision_tower": _LAST}
INTERNVL = {"model.vision_tower": Tower(layer="vision_feature_layer", output=-1)}
PIXTRAL = {"model.vision_tower": Tower(cropped, ("hidden_states",), dim=1)}
VISION_MODEL = {"model.vision_model": _LAST}
QWEN = {"model.visual": _MERGED}
QWEN3 = {"model.visual": _STACKED}
HEARING = {"model.audio_tower": _LAST}
OMNI = {"model.visual": _MERGED, "model.audio_tower": _SOUNDS}
OMNI3 = {"model.visual": _STACKED, "model.audio_tower": _SOUNDS}
COMPOSED = {
    "model.vision_tower": Tower(layer="vision_layer"),
    "model.audio_tower": Tower(layer="audio_layer"),
}


def spoken(towers: Mapping[str, Tower]) -> dict[str, Tower]:
    """The towers of a thinker in the model that also speaks."""
    return {f"thinker.{name}": tower for name, tower in towers.items()}
