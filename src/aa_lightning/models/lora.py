"""LoRA adapters inside a model, without a second copy of its weights."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from aa_lightning.configuration.schema import Lora
from aa_lightning.models.families.family import Family
from aa_lightning.models.state_dict import merged, reading, without_adapters
from aa_lightning.models.whole import check_all_there, check_folder, check_numbers

if TYPE_CHECKING:
    import peft  # takes seconds to import, and most runs have no adapter


BESIDE = "adapter"  # folder of the adapter beside merged weights
BASE = "base"  # folder of the weights below that adapter, where no other folder holds them
_NAMED_BASE = "base_model_name_or_path"
_CONFIG = "adapter_config.json"
_CARD = "README.md"


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
        with its base in folders beside it.

        Args:
            weights: the model's gathered weights by their in-memory names, where a strategy sharded them.
        """
        if self.base_stands_alone:
            self._save_adapter(folder, weights)
        else:
            self._model.save_pretrained(folder, state_dict=self.merged(weights))
            self.save_beside(folder, weights)

    def save_beside(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write the adapter into a folder beside merged weights, and its base into another where it does not stand alone."""
        if self.base_stands_alone:
            self._save_adapter(folder / BESIDE, weights)
            return
        base = folder / BASE
        self._model.save_pretrained(base, state_dict=without_adapters(self._all(weights)))
        self._wrapped.peft_config["default"].base_model_name_or_path = str(base.absolute())
        self._save_adapter(folder / BESIDE, weights)
        (folder / BESIDE / _CARD).unlink(missing_ok=True)  # peft's blank card names the model that `base` was made of

    def merged(self, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The weights of the model with the adapter added to them; arguments as for `save`."""
        return merged(self._all(weights), self.scaling)

    def load(self, folder: Path) -> None:
        """Take the weights of a saved adapter of the same shape.

        Raises:
            ValueError: they are not all there, or no numbers.
        """
        import peft

        saved = folder / BESIDE if (folder / BESIDE).is_dir() else folder
        peft.set_peft_model_state_dict(self._wrapped, _saved(self._wrapped, saved))

    def _save_adapter(self, folder: Path, weights: dict[str, Tensor] | None) -> None:
        named = None if weights is None else {f"base_model.model.{name}": value for name, value in weights.items()}
        self._wrapped.save_pretrained(folder, state_dict=named)

    def _all(self, weights: dict[str, Tensor] | None) -> dict[str, Tensor]:
        return self._model.state_dict() if weights is None else weights

    @property
    def _model(self) -> nn.Module:
        """The model whose layers hold the adapter."""
        return self._wrapped.get_base_model()

    @property
    def scaling(self) -> float:
        """Factor of the product of its matrices."""
        config = self._wrapped.peft_config["default"]
        return config.lora_alpha / config.r


def add_adapters(model: nn.Module, family: Family, lora: Lora, base_stands_alone: bool = True) -> Adapters:
    """Put LoRA adapters (2106.09685) into the linear layers of a parameter group.

    Args:
        lora: its target is a freeze group of the family (vision, projector, language), or a regular expression on module
            names.
        base_stands_alone: as for `Adapters`.

    Raises:
        ValueError: nothing matches.
    """
    import peft

    pattern = re.compile(family.groups.get(lora.target, lora.target))
    output = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output and pattern.search(name)
    ]
    if not names:
        raise ValueError(
            f"model.lora.target={lora.target!r} matches no linear layer: type model.lora.target=language, another of "
            f"{', '.join(family.groups)}, or a regular expression on module names"
        )
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
    return Adapters(peft.get_peft_model(model, config), base_stands_alone)


def merge_saved(model: nn.Module, folder: Path) -> nn.Module:
    """The model with a saved adapter added to its weights.

    Raises:
        ValueError: its weights are not all there, or no numbers.
    """
    import peft

    with reading(str(folder)):
        wrapped = peft.PeftModel.from_pretrained(model, folder)
    _saved(wrapped, folder)
    return wrapped.merge_and_unload()


def _saved(wrapped: peft.PeftModel, folder: Path) -> dict[str, Tensor]:
    import peft

    check_folder(str(folder))
    with reading(str(folder)):
        saved = peft.load_peft_weights(str(folder), device="cpu")
    check_all_there(str(folder), {*peft.get_peft_model_state_dict(wrapped)} - {*saved})
    check_numbers(saved, str(folder))
    return saved


def adapter_base(folder: Path) -> str | None:
    """Return what the adapter in a folder was trained on, a folder or a hub id; None: the folder holds no adapter."""
    file = folder / _CONFIG
    return json.loads(file.read_text())[_NAMED_BASE] if file.is_file() else None


def move_bases(before: Path, after: Path) -> None:
    """Adapters in the folder `before` whose bases lie in it too name them where they will lie, in the folder `after`."""
    for file in before.rglob(_CONFIG):
        config = json.loads(file.read_text())
        base = Path(config[_NAMED_BASE])
        if base.is_relative_to(before.absolute()):
            config[_NAMED_BASE] = str(after.absolute() / base.relative_to(before.absolute()))
            file.write_text(json.dumps(config, indent=2))
