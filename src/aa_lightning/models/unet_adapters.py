"""LoRA adapters inside a diffusers U-Net, without a second copy of its weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from torch import nn

from aa_lightning.config import Lora

GROUPS = {"attention": r"\.(to_q|to_k|to_v|to_out\.0)$"}


class UNetAdapters:
    """Puts adapters (2106.09685) into a U-Net; only they train. Not a module: the U-Net's own layers hold the weights.

    Args:
        unet: gets the adapters.
        lora: rank, alpha, dropout and target: `attention`, or a regular expression on module names.

    Raises:
        ValueError: the target matches no linear layer.
    """

    def __init__(self, unet: nn.Module, lora: Lora):
        import peft

        pattern = re.compile(GROUPS.get(lora.target, lora.target))
        names = [n for n, module in unet.named_modules() if isinstance(module, nn.Linear) and pattern.search(n)]
        if not names:
            raise ValueError(
                f"model.lora.target={lora.target!r} matches no linear layer of the U-Net: use {', '.join(GROUPS)}, or "
                "a regular expression on module names such as 'attn2.*to_[kv]$'"
            )
        unet.requires_grad_(False)
        unet.add_adapter(
            peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
        )
        self._unet = unet

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model, while the context lasts."""
        self._unet.disable_adapters()
        try:
            yield
        finally:
            self._unet.enable_adapters()

    def save(self, folder: Path) -> None:
        """Write the adapter alone, as `pipe.load_lora_weights` reads it."""
        import peft

        weights = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(self._unet))
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=weights,
            # alpha and rank: without them diffusers takes alpha to be the rank, and the adapter gets another strength
            unet_lora_adapter_metadata=self._unet.peft_config["default"].to_dict(),
        )

    def merged(self) -> nn.Module:
        """A copy of the U-Net with the adapter added to its weights and every trace of it gone."""
        copied = copy.deepcopy(self._unet)
        copied.fuse_lora()
        copied.unload_lora()  # keys of the wrapped layers stay otherwise, and such a folder reloads as garbage
        return copied
