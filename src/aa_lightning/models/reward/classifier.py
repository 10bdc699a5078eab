"""Reward models as others load them: transformers' `…ForSequenceClassification`, which reads scores at the last token."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor, nn
from transformers.utils import cached_file

from aa_lightning.models.token.conversation import ANSWER, ending_at, padding_token, rendered
from aa_lightning.models.token.encoder import TokenEncoder

_HEAD = "score.weight"
_HEAD_FILE = "score.safetensors"  # beside a model whose library has no class for its scores
_SPEAKS = "speaks"  # of its metadata
_CLASSIFIER = "ForSequenceClassification"
_TOLD_APART = (
    "its chat template writes a finished answer otherwise than the prompt that answers were scored behind: render the prompt "
    "with add_generation_prompt=True and put the answer and {end} behind it"
)


def save(model: nn.Module, weights: dict[str, Tensor], head: Tensor, encoder: TokenEncoder, folder: Path) -> str | None:
    """Write a backbone and its head as the library's classifier, with a processor that fits it.

    Args:
        model: what holds the backbone; its head of tokens is left out.
        weights: of `model`, without adapters.
        head: (scores, width).
        encoder: of the run.

    Returns:
        What others must know of its chat template, in a sentence; None: nothing.
    """
    kind, pad = _class_of(model), _padding(model, encoder)
    assert kind is not None and pad is not None, "ask `why_not` first"
    processor, tokenizer = _processor(encoder, pad)
    config = _with_scores(model.config, len(head), tokenizer.pad_token_id)
    whole, prefix = _empty(kind, config).to(model.dtype), f"{model.base_model_prefix}."
    setattr(whole, whole.base_model_prefix, model.base_model)
    named = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    named = {f"{whole.base_model_prefix}.{name}": value for name, value in named.items()}
    whole.save_pretrained(folder, state_dict={**named, _HEAD: head})
    processor.save_pretrained(folder)
    end = tokenizer.convert_ids_to_tokens(encoder.end)
    asked, answered = rendered(processor, as_lists=bool(encoder.family.media))
    return None if answered == f"{asked}{encoder.opening}{ANSWER}{end}" else _TOLD_APART.format(end=end)


def save_beside(head: Tensor, folder: Path, speaks: int = 0) -> None:
    """Write the head (scores, width) in a file of its own, into the folder of a whole model.

    Args:
        speaks: tokens that the model says about a response before it scores it.
    """
    save_file({_HEAD: head}, folder / _HEAD_FILE, metadata={_SPEAKS: str(speaks)})


def saved_speaks(path: str) -> int:
    """Return how many tokens a saved reward model says about a response before it scores it; 0: none."""
    beside = Path(path) / _HEAD_FILE
    if not beside.is_file():
        return 0
    with safe_open(beside, framework="pt") as opened:
        said = (opened.metadata() or {}).get(_SPEAKS, "0")
    return int(said) if said.isdecimal() and len(said) < 9 else 0


def why_not(model: nn.Module, encoder: TokenEncoder, speaks: int) -> str | None:
    """Why the library cannot load a reward model as a classifier; None: it can."""
    if speaks:
        return "a reward model that criticises an answer before it scores it needs its head of tokens"
    if _class_of(model) is None:
        kind = model.config.model_type
        return f"transformers {transformers.__version__} has no {_CLASSIFIER} class for models of type {kind!r}"
    if _padding(model, encoder) is None:
        return (
            f"{_CLASSIFIER} classes read the last token that is no padding, and the vocabulary has no token to pad with "
            "besides the one that ends an answer"
        )
    return None


def saved_head(path: str, config: Any, revision: str | None = None) -> Tensor | None:
    """(scores, width) the head of a saved reward model, in it or beside it; None: the folder or hub id holds none.

    Args:
        config: of the model there.

    Raises:
        ValueError: a classifier whose head is not one linear layer without bias.
    """
    beside = Path(path) / _HEAD_FILE
    if beside.is_file():
        return load_file(beside)[_HEAD]
    if not is_classifier(config):
        return None
    file = _file_of_head(path, revision)
    names = set()
    if file is not None:
        with safe_open(file, framework="pt") as opened:
            names = {name for name in opened.keys() if name.startswith("score.")}  # noqa: SIM118 (no mapping)
            if names == {_HEAD}:
                return opened.get_tensor(_HEAD)
    raise ValueError(
        f"model.path={path} holds a {config.architectures[0]} whose head is not one linear layer called score "
        f"({', '.join(sorted(names)) or 'nothing is called so'}), so its scores cannot be read: type another model.path"
    )


def is_classifier(config: Any) -> bool:
    """Tell whether a saved model is a backbone with a head of scores, and none of tokens."""
    return any(name.endswith(_CLASSIFIER) for name in config.architectures or ())


def _file_of_head(path: str, revision: str | None) -> str | None:
    index = _file(path, "model.safetensors.index.json", revision)
    if index is None:
        return _file(path, "model.safetensors", revision)
    shard = json.loads(Path(index).read_text())["weight_map"].get(_HEAD)
    return None if shard is None else _file(path, shard, revision)


def _file(path: str, name: str, revision: str | None) -> str | None:
    try:
        return cached_file(path, name, revision=revision)
    except OSError:  # it is not there
        return None


def _class_of(model: nn.Module) -> Any | None:
    """The library's class of scores over this very backbone; None: it has none."""
    kinds = transformers.AutoModelForSequenceClassification._model_mapping
    if type(model.config) not in kinds:
        return None
    kind, config = kinds[type(model.config)], model.config
    empty = _empty(kind, config)
    head = {name: value.shape for name, value in empty.state_dict().items() if name.startswith("score.")}
    fits = head == {_HEAD: (config.num_labels, config.get_text_config().hidden_size)}
    return kind if fits and isinstance(model.base_model, type(empty.base_model)) else None


def _empty(kind: Any, config: Any) -> nn.Module:
    """A model of a class without memory behind its weights."""
    with torch.device("meta"):
        return kind._from_config(copy.deepcopy(config))


def _processor(encoder: TokenEncoder, pad: str) -> tuple[Any, Any]:
    """A processor whose conversations end at the token that is scored, and its tokenizer, which pads with another."""
    processor = copy.deepcopy(encoder.processor)
    tokenizer = processor.tokenizer if encoder.family.media else processor
    tokenizer.add_special_tokens({"pad_token": pad})
    end = tokenizer.convert_ids_to_tokens(encoder.end)
    processor.chat_template = ending_at(processor, end, as_lists=bool(encoder.family.media))
    return processor, tokenizer


def _with_scores(config: Any, count: int, pad: int) -> Any:
    """The configuration of a classifier of `count` scores that takes `pad` for padding."""
    changed = copy.deepcopy(config)
    changed.num_labels = count
    for section in (changed, changed.get_text_config()):
        section.pad_token_id = pad
    return changed


def _padding(model: nn.Module, encoder: TokenEncoder) -> str | None:
    taken = {encoder.end, *encoder.placeholders}
    return padding_token(encoder.tokenizer, taken, model.get_input_embeddings().num_embeddings)
