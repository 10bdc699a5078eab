"""The trained part of a diffusers U-Net: some of its layers, or LoRA in them, without a second copy of its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import StableDiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from diffusers.loaders.lora_pipeline import LORA_WEIGHT_NAME_SAFE
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from safetensors import safe_open
from torch import Tensor, nn

from aa_lightning.configuration.schema import Lora
from aa_lightning.models.state_dict import merged

_BASE = "unet.base_model_name_or_path"
GROUPS = {"attention": r"\.(to_q|to_k|to_v|to_out\.0)$"}


def named_layers(unet: nn.Module, target: str, key: str) -> list[str]:
    """Names of the linear layers that a target means.

    Args:
        target: a group, or a regular expression on module names.
        key: of the option that says so.

    Raises:
        ValueError: it matches none.
    """
    pattern = re.compile(GROUPS.get(target, target))
    names = [n for n, module in unet.named_modules() if isinstance(module, nn.Linear) and pattern.search(n)]
    if not names:
        raise ValueError(
            f"{key}={target!r} matches no linear layer of the U-Net: use {', '.join(GROUPS)}, or a regular expression on "
            "module names such as 'attn2.*to_[kv]$'"
        )
    return names


def train_alone(unet: nn.Module, target: str) -> None:
    """Keep all but the linear layers that a target means, which is `all` or as of `named_layers`, as they are."""
    if target == "all":
        return
    names = named_layers(unet, target, "model.trains")
    unet.requires_grad_(False)
    for name in names:
        unet.get_submodule(name).requires_grad_()


class UNetAdapters:
    """Puts adapters (2106.09685) into a U-Net; only they train. Not a module: the U-Net's own layers hold the weights.

    Args:
        unet: gets the adapters.
        lora: rank, alpha, dropout and target: `attention`, or a regular expression on module names.
        base: where diffusers finds the U-Net; a saved adapter remembers it. None: nowhere, another adapter was merged
            into it or its weights came from a checkpoint.

    Raises:
        ValueError: the target matches no linear layer.
    """

    def __init__(self, unet: nn.Module, lora: Lora, base: str | None):
        import peft

        names = named_layers(unet, lora.target, "model.lora.target")
        unet.requires_grad_(False)
        config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
        unet.add_adapter(config)
        self._unet, self.base = unet, base

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model, while the context lasts."""
        self._unet.disable_adapters()
        try:
            yield
        finally:
            self._unet.enable_adapters()

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the adapter alone, as `pipe.load_lora_weights` reads it.

        Args:
            weights: the U-Net's gathered weights by their in-memory names, where a strategy sharded them.
        """
        import peft

        own = peft.get_peft_model_state_dict(self._unet, state_dict=weights)
        config = self._unet.peft_config["default"].to_dict()
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(own),
            # alpha and rank: without them diffusers takes alpha to be the rank, and the adapter gets another strength
            unet_lora_adapter_metadata={**config, "base_model_name_or_path": self.base},
        )

    def merged(self, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The U-Net's weights with the adapter added to them.

        Args:
            weights: as for `save`.
        """
        return merged(self._unet.state_dict() if weights is None else weights, self.scaling)

    @property
    def scaling(self) -> float:
        """Factor of the product of its matrices."""
        config = self._unet.peft_config["default"]
        return config.lora_alpha / config.r

    def load(self, folder: Path) -> None:
        """Take the weights of a saved adapter of the same shape."""
        import peft

        saved, _ = StableDiffusionPipeline.lora_state_dict(str(folder))
        named = {name.removeprefix("unet."): weight for name, weight in saved.items()}
        peft.set_peft_model_state_dict(self._unet, convert_unet_state_dict_to_peft(named))


def adapter_base(folder: Path) -> str | None:
    """The model that a saved adapter belongs to; None where the folder holds no adapter.

    Raises:
        ValueError: the adapter does not say, as it was not written by a run.
    """
    path = folder / LORA_WEIGHT_NAME_SAFE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        said = json.loads((file.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY, "{}"))
    if said.get(_BASE) is None:
        raise ValueError(
            f"{path} does not say which model it was trained on, so it cannot be merged: load it on its model with "
            "diffusers, fuse it, save the pipeline, and type model.path=<that folder>"
        )
    return said[_BASE]


def merge_saved(pipeline: StableDiffusionPipeline, folder: str) -> None:
    """Add a saved adapter to a pipeline's weights, and take every trace of it out.

    The names of wrapped layers would stay otherwise, and such a pipeline saved and loaded again is garbage.
    """
    pipeline.load_lora_weights(folder)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
