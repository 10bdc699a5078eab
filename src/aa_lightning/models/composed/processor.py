"""The processor of composed models: a tokenizer, an image processor and a feature extractor; and its chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import Tensor

from aa_lightning.models.composed.model import ComposedConfig

TOKENS = {"image": "<image>", "video": "<video>", "audio": "<audio>"}
_SETTINGS, _PIXELS, _SOUNDS = "composed_processor.json", "image_processor", "feature_extractor"

# Templates of text models read strings: lists of parts become strings, with a placeholder and a line break for a medium.
_FLATTEN = """\
{%- set flat = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}{%- set flat.messages = flat.messages + [message] -%}
{%- else -%}
{%- set content -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}{{- part['text'] -}}{%- else -%}{{- '<' + part['type'] + '>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- endset -%}
{%- set flat.messages = flat.messages + [dict(message, content=content)] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = flat.messages -%}
"""


def with_parts(template: str) -> str:
    """A text model's chat template that reads lists of parts too."""
    return template if template.startswith(_FLATTEN) else _FLATTEN + template


@dataclass(frozen=True)
class Sizes:
    """Numbers of tokens of an image (and of each frame of a video) and of an audio, and the seconds that an audio may
    last."""

    picture: int = 0
    sound: int = 0
    window: float = 0.0


class ComposedProcessor:
    """Text with placeholders and media to tensors. Every picture and every sound has a fixed number of tokens."""

    image_token, video_token, audio_token = TOKENS["image"], TOKENS["video"], TOKENS["audio"]

    def __init__(self, tokenizer: Any, image_processor: Any, feature_extractor: Any, sizes: Sizes):
        self.tokenizer, self.sizes = tokenizer, sizes
        self.image_processor, self.feature_extractor = image_processor, feature_extractor

    @property
    def chat_template(self) -> str | None:
        """The language model's, made to read parts."""
        return self.tokenizer.chat_template

    @chat_template.setter
    def chat_template(self, template: str | None) -> None:
        self.tokenizer.chat_template = template and with_parts(template)

    @property
    def window(self) -> float:
        """Seconds of the longest sound."""
        return self.sizes.window

    def apply_chat_template(
        self, conversation: list[Any], tokenize: bool = False, add_generation_prompt: bool = False
    ) -> Any:
        """A conversation as text (or tokens), a placeholder for each medium."""
        return self.tokenizer.apply_chat_template(
            conversation, tokenize=tokenize, add_generation_prompt=add_generation_prompt
        )

    def __call__(
        self,
        text: Sequence[str],
        images: Sequence[Sequence[Any]] | None = None,
        audio: Sequence[np.ndarray] | None = None,
        videos: Sequence[Sequence[np.ndarray]] | None = None,
        sampling_rate: int | None = None,
        images_kwargs: Mapping[str, Any] | None = None,
        videos_kwargs: Mapping[str, Any] | None = None,
        video_metadata: Any = None,
        do_sample_frames: bool = False,
        add_special_tokens: bool = True,
        return_tensors: str = "pt",
    ) -> dict[str, Tensor]:
        """Tensors of texts and their media.

        Args:
            images, videos: of each text.
            audio: of all texts, in order; samples at `sampling_rate`.
            images_kwargs, videos_kwargs: of the image processor, which sees frames too.
            video_metadata, do_sample_frames: all frames are read, and their times are not.
        """
        tensors, said = {}, list(text)
        if images is not None:
            shown = [image for row in images for image in row]
            tensors["pixel_values"] = pixels(self.image_processor, shown, images_kwargs)
            said = _spread(said, self.image_token, [self.sizes.picture] * len(shown))
        if videos is not None:
            clips = [clip for row in videos for clip in row]
            tensors["pixel_values_videos"] = pixels(self.image_processor, [f for c in clips for f in c], videos_kwargs)
            said = _spread(said, self.video_token, [len(clip) * self.sizes.picture for clip in clips])
        if audio is not None:
            tensors["input_features"] = spectra(self.feature_extractor, audio)
            said = _spread(said, self.audio_token, [self.sizes.sound] * len(audio))
        tokens = self.tokenizer(
            said, add_special_tokens=add_special_tokens, return_tensors=return_tensors, padding=True
        )
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], **tensors}

    def save_pretrained(self, save_directory: str | Path) -> None:
        """The tokenizer in the folder, the parts for media in folders below it."""
        folder = Path(save_directory)
        self.tokenizer.save_pretrained(folder)
        if self.image_processor is not None:
            self.image_processor.save_pretrained(folder / _PIXELS)
        if self.feature_extractor is not None:
            self.feature_extractor.save_pretrained(folder / _SOUNDS)
        (folder / _SETTINGS).write_text(json.dumps(asdict(self.sizes), indent=2), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **kwargs: Any) -> ComposedProcessor:
        """Load what `save_pretrained` wrote."""
        folder = Path(folder)
        sizes = Sizes(**json.loads((folder / _SETTINGS).read_text(encoding="utf-8")))
        images = (
            hf.AutoImageProcessor.from_pretrained(folder / _PIXELS, trust_remote_code=False) if sizes.picture else None
        )
        sounds = (
            hf.AutoFeatureExtractor.from_pretrained(folder / _SOUNDS, trust_remote_code=False) if sizes.sound else None
        )
        return cls(hf.AutoTokenizer.from_pretrained(folder, trust_remote_code=False), images, sounds, sizes)


def pixels(image_processor: Any, images: Sequence[Any], settings: Mapping[str, Any] | None = None) -> Tensor:
    """(pictures, channels, height, width)."""
    return image_processor(images=list(images), return_tensors="pt", **(settings or {}))["pixel_values"]


def spectra(extractor: Any, sounds: Sequence[np.ndarray]) -> Tensor:
    """(sounds, …) features, each sound by itself, since some extractors treat the sounds of a call differently."""
    key, rate = extractor.model_input_names[0], extractor.sampling_rate
    return torch.cat([extractor(sound, sampling_rate=rate, return_tensors="pt")[key] for sound in sounds])


def _spread(texts: list[str], token: str, counts: list[int]) -> list[str]:
    """Texts with each placeholder as often as its medium has tokens.

    Raises:
        ValueError: more or fewer placeholders than media.
    """
    shown = sum(text.count(token) for text in texts)
    if shown != len(counts):
        raise ValueError(f"the texts hold {token} {shown} times, and {len(counts)} media were given for it")
    left, spread = iter(counts), []
    for text in texts:
        first, *others = text.split(token)
        spread.append(first + "".join(token * next(left) + other for other in others))
    return spread


hf.AutoProcessor.register(ComposedConfig, ComposedProcessor)
