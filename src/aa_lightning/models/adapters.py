"""LoRA adapters inside a model, without a second copy of its weights."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aa_lightning.models.family import Family
from aa_lightning.models.weights import merged

if TYPE_CHECKING:
    import peft  # takes seconds to import, and most runs have no adapter


BESIDE = "adapter"  # folder of the adapter beside merged weights


class Adapters:
    """The adapters of a network. Not a module: the model's own layers hold the weights.

    Args:
        wrapped: the model in peft's wrapper.
        base_stands_alone: whether the weights below the adapter are those of a folder that others load. If not (another
            adapter was merged into them, or they came from a checkpoint), an adapter alone would be worth nothing.
    """

    def __init__(self, wrapped: peft.PeftModel, base_stands_alone: bool = True):
        self._wrapped, self.base_stands_alone = wrapped, base_stands_alone

    def off(self) -> AbstractContextManager:
        """The base model, while the context lasts."""
        return self._wrapped.disable_adapter()

    def save(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the adapter in peft's own format; where its base does not stand alone, the merged model and the adapter
        in a folder beside it.

        Args:
            weights: the model's gathered weights by their in-memory names, where a strategy sharded them.
        """
        if self.base_stands_alone:
            self._save_adapter(folder, weights)
        else:
            self.save_merged(folder, weights)

    def save_merged(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the model with the adapter added to its weights, and the adapter in a folder beside it."""
        model = self._wrapped.get_base_model()
        own = model.state_dict() if weights is None else weights
        model.save_pretrained(folder, state_dict=merged(own, self._scaling))
        self._save_adapter(folder / BESIDE, weights)

    def load(self, folder: Path) -> None:
        """Take the weights of a saved adapter of the same shape."""
        import peft

        saved = folder / BESIDE if (folder / BESIDE).is_dir() else folder
        peft.set_peft_model_state_dict(self._wrapped, peft.load_peft_weights(str(saved), device="cpu"))

    def _save_adapter(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        named = None if weights is None else {f"base_model.model.{name}": value for name, value in weights.items()}
        self._wrapped.save_pretrained(folder, state_dict=named)

    @property
    def _scaling(self) -> float:
        config = self._wrapped.peft_config["default"]
        return config.lora_alpha / config.r


def add_adapters(
    model: nn.Module,
    family: Family,
    rank: int,
    alpha: float,
    dropout: float,
    target: str,
    base_stands_alone: bool = True,
) -> Adapters:
    """Put LoRA adapters (2106.09685) into the linear layers of a parameter group.

    Args:
        target: a freeze group of the family (vision, projector, language), or a regular expression on module names.
        base_stands_alone: as for `Adapters`.

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
            f"model.lora.target={target!r} matches no linear layer: type model.lora.target=language, another of "
            f"{', '.join(family.groups)}, or a regular expression on module names"
        )
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)
    return Adapters(peft.get_peft_model(model, config), base_stands_alone)


def merge_saved(model: nn.Module, folder: Path) -> nn.Module:
    """The model with a saved adapter added to its weights."""
    import peft

    return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
