"""LoRA adapters inside a model, without a second copy of its weights."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aa_lightning.models.families import Family

if TYPE_CHECKING:
    import peft  # takes seconds to import, and most runs have no adapter


class Adapters:
    """The adapters of a network. Not a module: the model's own layers hold the weights."""

    def __init__(self, wrapped: peft.PeftModel):
        self._wrapped = wrapped

    def off(self) -> AbstractContextManager:
        """The base model, while the context lasts."""
        return self._wrapped.disable_adapter()

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the adapter in peft's own format.

        Args:
            weights: the model's gathered weights by their in-memory names, where a strategy sharded them.
        """
        named = None if weights is None else {f"base_model.model.{name}": value for name, value in weights.items()}
        self._wrapped.save_pretrained(folder, state_dict=named)

    def load(self, folder: Path) -> None:
        """Take the weights of a saved adapter of the same shape."""
        import peft

        peft.set_peft_model_state_dict(self._wrapped, peft.load_peft_weights(folder))


def add_adapters(model: nn.Module, family: Family, rank: int, alpha: float, dropout: float, target: str) -> Adapters:
    """Put LoRA adapters (2106.09685) into the linear layers of a parameter group.

    Args:
        target: a freeze group of the family (vision, projector, language), or a regular expression on module names.

    Raises:
        ValueError: nothing matches.
    """
    import peft

    pattern = re.compile(family.groups.get(target, target))
    output = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output and pattern.search(name)
    ]
    if not names:
        raise ValueError(
            f"model.lora.target={target!r} matches no linear layer: use one of {', '.join(family.groups)}, "
            "or a regular expression on module names"
        )
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)
    return Adapters(peft.get_peft_model(model, config))


def merge_saved(model: nn.Module, folder: Path) -> nn.Module:
    """The model with a saved adapter added to its weights."""
    import peft

    return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
