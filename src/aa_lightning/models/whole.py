"""Checks that a saved model is whole: its files, its tensors, and the tokenizer that belongs to it.

A loader of the libraries fills what is missing with random numbers and reads on; here that is refused, by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from aa_lightning.models.state_dict import Weights, reading

_CONFIGS = ("config.json", "model_index.json", "adapter_config.json", "pytorch_lora_weights.safetensors")
_TOKENIZER, _SEAL = "tokenizer.json", "tokenizer.sha256"
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # of the parts of a pipeline
_ELSE = "type: another folder, or the run that wrote it again (python -m aa_lightning.train resume=<its run folder>)"


def check_folder(folder: str) -> None:
    """Refuse a folder that cannot hold a whole model, by the names and heads of its files; a hub id passes.

    Raises:
        ValueError: what is missing or damaged.
    """
    root = Path(folder)
    if not root.is_dir():
        return
    if not any((root / name).is_file() for name in _CONFIGS):
        raise _refused(root, f"there is none of {', '.join(_CONFIGS)} to say what it is")
    for file in _found(root, "*config.json", "*index.json"):
        _check_json(root, file)
    for file in _found(root, "*.safetensors"):
        _names_in(root, file)
    for file in _found(root, _SEAL):
        if file.read_text(encoding="utf-8", errors="replace").strip() != _fingerprint(file.parent):
            raise _other_tokenizer(folder, f"it differs from the one for which {file.relative_to(root)} was written")


def loaded(kind: Any, folder: str, *, absent: Iterable[str] = (), **how: Any) -> nn.Module:
    """A model of the library with all its weights, each a number.

    Args:
        kind: a class with `from_pretrained`.
        folder: or a hub id.
        absent: weights that need not be there.
        how: of `from_pretrained`.

    Raises:
        ValueError: weights that are missing, of other shapes, or not finite.
    """
    try:
        with reading(folder):
            model, missing = _with_missing(kind, folder, how)
    except RuntimeError as error:
        raise _refused(folder, f"its weights do not fit its config.json ({_line(error)})") from error
    check_all_there(folder, missing - {*absent})
    check_finite(model, folder)
    return model


def take_weights(model: nn.Module, folder: Path) -> None:
    """Load a saved transformers model of the same class into one that is there."""
    check_folder(str(folder))
    saved = loaded(type(model), str(folder), dtype=model.dtype)
    model.load_state_dict(saved.state_dict())


def _with_missing(kind: Any, folder: str, how: dict[str, Any]) -> tuple[nn.Module, set[str]]:
    """A model, and its weights that the folder lacks; a class that reads more than weights gives no report of them."""
    if "from_pretrained" in vars(kind):
        return kind.from_pretrained(folder, **how), set()
    model, report = kind.from_pretrained(folder, output_loading_info=True, **how)
    return model, {*report["missing_keys"]}


def check_finite(model: nn.Module, folder: str) -> None:
    """Refuse weights that are no numbers.

    Raises:
        ValueError: the first of them.
    """
    check_numbers(dict(model.named_parameters()), folder)


def check_numbers(weights: Weights, folder: str) -> None:
    """The same of weights by their names."""
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise _refused(folder, f"{name} holds NaN or infinity, and so would all that it computes")


def check_unet(unet: nn.Module, folder: str) -> None:
    """Refuse the network of a pipeline that was not all there, or is no numbers.

    Raises:
        ValueError: the first weight that shows it.
    """
    check_all_there(folder, _missing_in(unet, Path(folder, "unet")))
    check_finite(unet, folder)


def _missing_in(network: nn.Module, folder: Path) -> set[str]:
    """The weights that a folder's files do not name; none where it is a hub id."""
    files = sorted(folder.glob("*.safetensors"))
    there = {name for file in files for name in _names_in(folder, file)}
    return {*network.state_dict()} - there if files else set()


def check_tokenizer(config: Any, processor: Any, folder: str, placeholders: Collection[str] = ()) -> None:
    """Refuse a tokenizer that is not the model's: it has words that the model has no place for, or other tokens where media
    stand.

    Args:
        config: of the model.
        processor: or tokenizer, of a text model.
        placeholders: the processor's attributes that name the tokens which stand for media.

    Raises:
        ValueError: the first token that shows it.
    """
    tokenizer = vars(processor).get("tokenizer", processor)
    places = config.get_text_config().vocab_size
    special = {*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())}
    beyond = [word for word, number in tokenizer.get_vocab().items() if number >= places and word not in special]
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id >= places:
        beyond.append(tokenizer.eos_token)
    if beyond:
        raise _other_tokenizer(folder, f"{beyond[0]!r} lies beyond the {places} tokens that the model knows")
    ids = config.to_dict()
    stand = {tokenizer.convert_tokens_to_ids(attrgetter(name)(processor)) for name in placeholders}
    read = [medium for medium in ("image", "audio", "video") if any(medium in name for name in placeholders)]
    for key in (f"{medium}_token_{kind}" for medium in read for kind in ("id", "index")):
        if ids.get(key) is not None and ids[key] not in stand:
            raise _other_tokenizer(
                folder, f"the model looks for media at token {ids[key]} ({key}), and there they are others"
            )


def seal(folder: Path) -> None:
    """Write down which tokenizers the models of an export belong to."""
    for file in folder.rglob(_TOKENIZER):
        (file.parent / _SEAL).write_text(f"{_fingerprint(file.parent)}\n", encoding="utf-8")


def _fingerprint(folder: Path) -> str:
    """The same for two saved tokenizers whose tokens have the same numbers and the same roles."""
    settings = folder / "tokenizer_config.json"
    said = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    roles = sorted((key, str(value)) for key, value in said.items() if key.endswith("_token"))
    words = (folder / _TOKENIZER).read_bytes() if (folder / _TOKENIZER).is_file() else b""
    return hashlib.sha256(words + json.dumps(roles).encode()).hexdigest()


def _other_tokenizer(folder: str, why: str) -> ValueError:
    return _refused(folder, f"its tokenizer is another model's: {why}")


def check_all_there(folder: str, missing: Collection[str]) -> None:
    """Refuse weights of which some are missing.

    Raises:
        ValueError: the first of them.
    """
    if missing:
        first = sorted(missing)[0]
        raise _refused(folder, f"{len(missing)} of its weights are missing and would be random, such as {first}")


def _found(root: Path, *patterns: str) -> list[Path]:
    """The files of a model, and of its parts in folders below."""
    return sorted(file for pattern in patterns for where in (pattern, f"*/{pattern}") for file in root.glob(where))


def _check_json(root: Path, file: Path) -> None:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused(root, f"{file.relative_to(root)} cannot be read ({_line(error)})") from error
    if not isinstance(said, dict):
        raise _refused(root, f"{file.relative_to(root)} holds a {type(said).__name__} where settings belong")
    shards = sorted({str(name) for name in (said.get("weight_map") or {}).values()})
    absent = [name for name in shards if not (file.parent / name).is_file()]
    if absent:
        raise _refused(root, f"{absent[0]}, which holds a part of its weights, is not there")
    if file.name == "model_index.json":
        parts = [part for part in said.values() if isinstance(part, list)]
        other = [part[0] for part in parts if part and part[0] is not None and part[0] not in _LIBRARIES]
        if other:
            raise _refused(root, f"model_index.json names a part of {other[0]!r}, which would be imported and run")


def _names_in(root: Path, file: Path) -> set[str]:
    try:
        with safe_open(file, framework="pt") as opened:
            return {*opened.keys()}
    except (SafetensorError, OSError) as error:
        raise _refused(root, f"{file.relative_to(root)} is cut or damaged ({_line(error)})") from error


def _refused(folder: str | Path, why: str) -> ValueError:
    return ValueError(f"the model in {folder} cannot be used: {why}\n{_ELSE}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
