"""A model that reads media, put together from parts: towers of any make, a new projector, any causal language model.

A CLIP or SigLIP tower before Llama, Mistral or Qwen2 gives a real LLaVA; everything else a `ComposedModel`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image
from torch import nn

from aa_lightning.configuration.schema import Components
from aa_lightning.configuration.schema import Model as ModelOptions
from aa_lightning.models.composed.model import ComposedConfig, attention, encoder_of, features, tower
from aa_lightning.models.composed.processor import TOKENS, ComposedProcessor, Sizes, pixels, spectra, with_parts
from aa_lightning.models.families.table import family_of
from aa_lightning.models.state_dict import folder_of, reading

FROM_COMPONENTS = "compose:components"  # as model.path: what model.components names
_TOWERS, _LANGUAGES = ("clip_vision_model", "siglip_vision_model"), ("llama", "mistral", "qwen2")  # of a LLaVA
_HALF = {r"^audio_model\.": ""}  # CLAP's weights for sounds carry this name in a checkpoint of the pair
_WINDOWS = {  # how each extractor says how many seconds it reads
    "WhisperFeatureExtractor": lambda extractor: extractor.chunk_length,
    "ClapFeatureExtractor": lambda extractor: extractor.max_length_s,
    "ASTFeatureExtractor": lambda extractor: extractor.max_length / 100,  # frames of 10 ms
}


@dataclass(frozen=True)
class Tower:
    """Facts about a tower that are known before its weights.

    Attributes:
        prepare: its image processor or feature extractor.
        states, width: of what is read from it, for one picture or sound.
        idle: its parameters behind that, by their names in it.
    """

    folder: str
    config: Any
    prepare: Any
    states: int
    width: int
    idle: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A composed model before its weights.

    Attributes:
        language: the folder of the language model.
        rows: of its table of embeddings, before tokens of media are added.
        towers: vision, audio.
    """

    language: str
    rows: int
    config: Any
    processor: Any
    towers: dict[str, Tower]


def plan(options: ModelOptions) -> Plan:
    """Configuration and processor of what `model.components` names.

    Raises:
        ValueError: parts that do not go together.
    """
    components = options.components
    if components is None or components.language is None or (components.vision is None and components.audio is None):
        raise ValueError(
            "model=compose puts a language model and a tower together, and one of them is not named: type "
            "model.components.language=<folder or hub id> and model.components.vision=<folder or hub id> (or audio=), or "
            "model.path=<folder of a model put together before>"
        )
    if components.read_video and components.vision is None:
        raise ValueError(
            "model.components.read_video=true reads video with the vision tower, and none is named: type "
            "model.components.vision=<folder or hub id>, or model.components.read_video=false"
        )
    language = folder_of(components.language, options.tiny["language"])
    towers = {}
    if components.vision is not None:
        towers["vision"] = _vision(folder_of(components.vision, options.tiny["vision"]), components.vision_layer)
    if components.audio is not None:
        towers["audio"] = _audio(folder_of(components.audio, options.tiny["audio"]), components.audio_layer)
    text = _text_config(language)
    tokenizer, rows = _tokenizer(language, options.chat_template), text.vocab_size
    text.vocab_size = max(rows, len(tokenizer))
    if _is_llava(components, towers, text):
        config, processor = _llava(components, towers["vision"], text, tokenizer)
    else:
        config, processor = _composed(components, towers, text, tokenizer)
    return Plan(language, rows, config, processor, towers)


def assemble(options: ModelOptions, made: Plan, quantization: Any = None) -> nn.Module:
    """The model with the weights of its parts and a projector drawn from `model.components.seed`."""
    how = {"dtype": getattr(torch, options.dtype), "attn_implementation": options.attention}
    with torch.device("meta"):
        model = hf.AutoModelForMultimodalLM.from_config(made.config, **how)
    text = copy.deepcopy(made.config.text_config)
    text.vocab_size = made.rows
    language = _load(hf.AutoModelForCausalLM, made.language, text, {**how, "quantization_config": quantization})
    with torch.random.fork_rng(devices=[]):  # the same on every process and in every resumed run
        torch.manual_seed(options.components.seed)
        _draw(model.model.multi_modal_projector)
        _widen(language, made.config.text_config.vocab_size)
    model.model.language_model, model.lm_head = language.base_model, language.get_output_embeddings()
    for name, known in made.towers.items():
        config = vars(made.config)[f"{name}_config"]
        own = {**how, "attn_implementation": attention(config, options.attention), "key_mapping": _HALF}
        whole = _load(hf.AutoModel, known.folder, config, own)
        model.model.add_module(f"{name}_tower", encoder_of(whole))
    model.model.multi_modal_projector.to(how["dtype"])
    model.generation_config = language.generation_config
    return model


# ---------------------------------------------------------------- before the weights


def _vision(folder: str, layer: int | None) -> Tower:
    config = _part_config(folder, "vision_config")
    prepare = hf.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    square, wide = (pixels(prepare, [Image.new("RGB", size)]) for size in ((28, 28), (60, 40)))
    if square.shape != wide.shape or square.ndim != 4:
        raise ValueError(
            f"model.components.vision={folder}: its image processor gives images of different sizes different shapes, and "
            "a projector reads a fixed number of patches: choose a tower with one image size, such as CLIP or SigLIP"
        )
    return _tower(folder, config, prepare, square, layer)


def _audio(folder: str, layer: int | None) -> Tower:
    config = _part_config(folder, "audio_config")
    if config.to_dict().get("enable_fusion", False):
        raise ValueError(
            f"model.components.audio={folder} fuses random parts of long audio, so that its features differ from call to "
            "call: choose a CLAP without fusion, such as laion/clap-htsat-unfused"
        )
    prepare = hf.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
    if type(prepare).__name__ not in _WINDOWS:
        raise ValueError(
            f"model.components.audio={folder} has a {type(prepare).__name__}, whose window of time is not known: choose a "
            f"tower with one of {', '.join(_WINDOWS)}, or add it to models/composed/load.py"
        )
    return _tower(folder, config, prepare, spectra(prepare, [np.zeros(1600, np.float32)]), layer)


def _part_config(folder: str, section: str) -> Any:
    """A tower's configuration, out of that of a pair with a text tower (CLIP, SigLIP, CLAP) too."""
    with reading(folder):
        config = hf.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return vars(config)[section] if section in config.sub_configs else config


def _tower(folder: str, config: Any, prepare: Any, example: torch.Tensor, layer: int | None) -> Tower:
    """A forward and a backward pass without memory tell what a tower gives, and which parameters stay idle."""
    with torch.device("meta"):
        empty = tower(config)
        found = features(empty, example.to("meta"), layer)
    found.sum().backward()
    idle = tuple(name for name, parameter in empty.named_parameters() if parameter.grad is None)
    return Tower(folder, config, prepare, *found.shape[1:], idle)


def _text_config(folder: str) -> Any:
    with reading(folder):
        config = hf.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    family_of(config)  # refuses what would be wrong
    if config.get_text_config() is not config:
        raise ValueError(
            f"model.components.language={folder} is a model of type {config.model_type!r}, which reads media already: type "
            "its own model=, or model.components.language=<a text model>"
        )
    return config


def _tokenizer(folder: str, template: str | None) -> Any:
    """The language model's tokenizer with a token for each medium, and its chat template made to read parts."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(TOKENS.values())}, replace_extra_special_tokens=False
    )
    own = Path(template).read_text(encoding="utf-8") if template else tokenizer.chat_template
    tokenizer.chat_template = own and with_parts(own)
    return tokenizer


# ---------------------------------------------------------------- the two shapes


def _is_llava(components: Components, towers: dict[str, Tower], text: Any) -> bool:
    plain = (
        components.audio is None
        and not components.read_video
        and components.projector == "mlp"
        and components.vision_layer is not None
    )
    return plain and towers["vision"].config.model_type in _TOWERS and text.model_type in _LANGUAGES


def _llava(components: Components, seen: Tower, text: Any, tokenizer: Any) -> tuple[Any, Any]:
    skip = _skip(seen)
    strategy = "default" if skip else "full"
    config = hf.LlavaConfig(
        vision_config=seen.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(TOKENS["image"]),
        image_seq_length=seen.states - skip,
        vision_feature_layer=components.vision_layer,
        vision_feature_select_strategy=strategy,
    )
    processor = hf.LlavaProcessor(
        seen.prepare,
        tokenizer,
        patch_size=seen.config.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=skip,
        chat_template=tokenizer.chat_template,
    )
    return config, processor


def _composed(components: Components, towers: dict[str, Tower], text: Any, tokenizer: Any) -> tuple[Any, Any]:
    seen, heard = towers.get("vision"), towers.get("audio")
    skip = _skip(seen) if seen else 0
    with torch.device("meta"):
        head = hf.AutoModelForCausalLM.from_config(text).get_output_embeddings()
    config = ComposedConfig(
        text_config=text,
        vision_config=seen and seen.config,
        audio_config=heard and heard.config,
        projector=components.projector,
        vision_layer=components.vision_layer,
        audio_layer=components.audio_layer,
        vision_width=seen.width if seen else 0,
        audio_width=heard.width if heard else 0,
        vision_skip=skip,
        audio_pool=components.audio_pool,
        read_video=components.read_video,
        head_bias=head.bias is not None,
        idle=[f"model.{name}_tower.{idle}" for name, known in towers.items() for idle in known.idle],
        tie_word_embeddings=text.tie_word_embeddings,
        **{f"{medium}_token_id": tokenizer.convert_tokens_to_ids(token) for medium, token in TOKENS.items()},
    )
    sizes = Sizes(
        picture=seen.states - skip if seen else 0,
        sound=heard.states // components.audio_pool if heard else 0,
        window=float(_WINDOWS[type(heard.prepare).__name__](heard.prepare)) if heard else 0.0,
    )
    return config, ComposedProcessor(tokenizer, seen and seen.prepare, heard and heard.prepare, sizes)


def _skip(seen: Tower) -> int:
    """States before those of the patches, such as a class token."""
    config = seen.config.to_dict()
    if not {"image_size", "patch_size"} <= config.keys():
        return 0
    side = config["image_size"] // config["patch_size"]
    return max(seen.states - side * side, 0)


# ---------------------------------------------------------------- weights


def _load(auto: Any, folder: str, config: Any, how: dict[str, Any]) -> Any:
    """A part with its weights.

    Raises:
        ValueError: the folder lacks some of them.
    """
    with reading(folder):
        model, report = auto.from_pretrained(folder, config=config, output_loading_info=True, **how)
    if report["missing_keys"]:
        raise ValueError(
            f"{folder} lacks weights of {type(model).__name__}, such as {sorted(report['missing_keys'])[0]}: they would be "
            "random. Choose a complete checkpoint for this part"
        )
    return model


@torch.no_grad()
def _widen(language: Any, rows: int) -> None:
    """Add tokens to the tables, each the mean of those there; media stand in the places of their embeddings."""
    before = language.get_input_embeddings().num_embeddings
    if before == rows:
        return
    language.resize_token_embeddings(rows, mean_resizing=False)
    for table in (language.get_input_embeddings(), language.get_output_embeddings()):
        table.weight[before:] = table.weight[:before].mean(0)


def _draw(projector: nn.Module) -> None:
    """Fresh weights."""
    projector.to_empty(device="cpu")
    for layer in projector.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
