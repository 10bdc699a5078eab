"""A causal language model that reads pictures, clips and sounds through towers and projectors: parts of any make, joined.

`parts.py` makes one of these from its parts; where transformers has a class of the same shape (LLaVA), it makes that one
instead. What is saved here is loaded by transformers' Auto classes once this module is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMultimodalLM, ClapAudioConfig, ClapAudioModel
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import PreTrainedModel

_README = """\
This folder holds a model that aa_lightning put together from parts; transformers has no class of this shape. Load it with

    import aa_lightning.models.composed.processor
    from transformers import AutoModelForMultimodalLM, AutoProcessor
    model = AutoModelForMultimodalLM.from_pretrained("<this folder>")
    processor = AutoProcessor.from_pretrained("<this folder>")

or train on with model=compose model.path=<this folder>.
"""


@strict
class ComposedConfig(PreTrainedConfig):
    """Configuration of a composed model.

    Attributes:
        projector: mlp (two layers, GELU between) or linear.
        vision_layer, audio_layer: hidden states that are read, as an index into them; None: the tower's output.
        vision_width, audio_width: of these hidden states.
        vision_skip: how many of a picture's states, from the first, stand for no patch (a class token).
        audio_pool: so many neighbouring states of a sound become one token.
        read_video: whether the vision tower also reads clips, frame by frame.
        head_bias: whether the language model's head has one.
        idle: parameters of the towers behind the states that are read; they get no gradient.
    """

    model_type = "aa_composed"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model", optional=True),
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="whisper", optional=True),
    }

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    audio_config: dict | PreTrainedConfig | None = None
    projector: str = "mlp"
    vision_layer: int | None = None
    audio_layer: int | None = None
    vision_width: int = 0
    audio_width: int = 0
    vision_skip: int = 0
    audio_pool: int = 1
    read_video: bool = False
    head_bias: bool = False
    idle: list[str] | tuple[str, ...] = ()
    image_token_id: int | None = None
    video_token_id: int | None = None
    audio_token_id: int | None = None
    tie_word_embeddings: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """The media of a prompt, the first one first."""
        seen = () if self.vision_config is None else ("image", "video") if self.read_video else ("image",)
        return seen if self.audio_config is None else (*seen, "audio")


def tower(config: PreTrainedConfig) -> nn.Module:
    """The encoder of a configuration; of a model with a decoder (Whisper), its encoder alone."""
    return encoder_of(AutoModel.from_config(config, attn_implementation=attention(config, config._attn_implementation)))


def attention(config: PreTrainedConfig, wanted: str | None) -> str | None:
    """The kernel that a tower's class has: the wanted one, or eager (CLAP and convolutions know no other)."""
    kind = AutoModel._model_mapping[type(config)]
    known = {"sdpa": kind._supports_sdpa, "flash_attention_2": kind._supports_flash_attn}
    return wanted if known.get(wanted, True) else "eager"


def encoder_of(model: PreTrainedModel) -> nn.Module:
    """A model without its decoder."""
    return model.get_encoder() if model.config.is_encoder_decoder else model


def features(tower: nn.Module, inputs: Tensor, layer: int | None) -> Tensor:
    """(n, states, width) what a tower makes of n pictures or sounds; maps are read row by row.

    Args:
        layer: an index into the hidden states; None: the output.
    """
    inputs = inputs.to(tower.dtype)
    if layer is None:
        found = tower(inputs).last_hidden_state
    else:
        found = tower(inputs, output_hidden_states=True).hidden_states[layer]
    return found.flatten(2).transpose(1, 2) if found.ndim == 4 else found


def projector(kind: str, width: int, hidden: int) -> nn.Module:
    """From a tower's states to embeddings of the language model; mlp as in LLaVA 1.5 (2310.03744 section 3.3)."""
    if kind == "linear":
        return nn.Linear(width, hidden)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))


class _Composed(PreTrainedModel):
    config_class = ComposedConfig
    base_model_prefix = "model"
    input_modalities = ("text", "image", "video", "audio")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True


class ComposedModel(_Composed):
    """Towers, projectors and the language model without its head."""

    def __init__(self, config: ComposedConfig):
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.multi_modal_projector = nn.ModuleDict()
        if config.vision_config is not None:
            self.vision_tower = tower(config.vision_config)
            self.multi_modal_projector["vision"] = projector(config.projector, config.vision_width, hidden)
        if config.audio_config is not None:
            self.audio_tower = tower(config.audio_config)
            stacked = config.audio_width * config.audio_pool
            self.multi_modal_projector["audio"] = projector(config.projector, stacked, hidden)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def train(self, mode: bool = True) -> ComposedModel:
        """Batch norms of towers keep their statistics: what a sound gives must not hang on its neighbours in a batch."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eval()
        return self

    def seen(self, pixels: Tensor) -> Tensor:
        """(n · patches, hidden) embeddings of pictures or frames (n, channels, height, width)."""
        states = features(self.vision_tower, pixels, self.config.vision_layer)[:, self.config.vision_skip :]
        return self.multi_modal_projector["vision"](states).flatten(0, 1)

    def heard(self, sounds: Tensor) -> Tensor:
        """(n · tokens, hidden) embeddings of the features of n sounds; states that fill no whole token are left out."""
        states, stack = features(self.audio_tower, sounds, self.config.audio_layer), self.config.audio_pool
        tokens = states.shape[1] // stack
        stacked = states[:, : tokens * stack].reshape(len(states), tokens, -1)
        return self.multi_modal_projector["audio"](stacked).flatten(0, 1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        input_features: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states of the language model.

        Args:
            pixel_values: (pictures, channels, height, width) of all prompts, in order.
            pixel_values_videos: (frames, channels, height, width) of all clips of all prompts, in order.
            input_features: (sounds, …) features of all prompts, in order.
        """
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        if pixel_values is not None:
            embeds = _placed(embeds, input_ids == self.config.image_token_id, self.seen(pixel_values))
        if pixel_values_videos is not None:
            embeds = _placed(embeds, input_ids == self.config.video_token_id, self.seen(pixel_values_videos))
        if input_features is not None:
            embeds = _placed(embeds, input_ids == self.config.audio_token_id, self.heard(input_features))
        return self.language_model(inputs_embeds=embeds, attention_mask=attention_mask, **kwargs)


class ComposedForConditionalGeneration(_Composed, GenerationMixin):
    """A composed model with the language model's head."""

    def __init__(self, config: ComposedConfig):
        super().__init__(config)
        self.model = ComposedModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=config.head_bias)
        table = self.get_input_embeddings()
        name = next(name for name, module in self.named_modules() if module is table)
        self._tied_weights_keys = {"lm_head.weight": f"{name}.weight"}  # where the configuration ties them
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        input_features: Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, L, V) of the last `logits_to_keep` tokens; 0: of all. Arguments as for `ComposedModel`."""
        found = self.model(input_ids, attention_mask, pixel_values, pixel_values_videos, input_features, **kwargs)
        logits = self.lm_head(found.last_hidden_state[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=found.past_key_values)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """As usual, with a word on how the folder is loaded."""
        super().save_pretrained(save_directory, **kwargs)
        (Path(save_directory) / "README.md").write_text(_README, encoding="utf-8")


def _placed(embeds: Tensor, places: Tensor, media: Tensor) -> Tensor:
    """Embeddings with media in the places of their tokens.

    Raises:
        ValueError: more or fewer places than media have tokens.
    """
    if int(places.sum()) != len(media):
        raise ValueError(
            f"a batch has {int(places.sum())} places for tokens of a medium, and its media have {len(media)}: make the "
            "batch with this model's own processor"
        )
    return embeds.masked_scatter(places[..., None], media.to(embeds.dtype))


AutoModel.register(ClapAudioConfig, ClapAudioModel, exist_ok=True)
AutoConfig.register("aa_composed", ComposedConfig)
AutoModelForMultimodalLM.register(ComposedConfig, ComposedForConditionalGeneration)
