"""Captions and pictures to tensors, for models that draw pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from aa_lightning.models.token.encoder import TooLong
from aa_lightning.types import Batch, Message, Prompt, Response


@dataclass
class EncodedPictures:
    """One example: token ids of the caption, K pictures."""

    id: str
    input_ids: Tensor  # (L,)
    attention_mask: Tensor  # (L,)
    pixels: Tensor  # (K, 3, H, W)
    answer: str | None


class PixelEncoder:
    """A caption tokenizer and a picture size. Holds no weights.

    Args:
        tokenizer: of the text encoder; its `model_max_length` is L.
        image_size: height and width of the pictures, in pixels.
        cut_captions: cut a caption that is longer than the text encoder reads, instead of refusing it.
    """

    def __init__(self, tokenizer: Any, image_size: int, cut_captions: bool = False):
        self.tokenizer, self.image_size, self.cut_captions = tokenizer, image_size, cut_captions

    def with_companions(self, media: frozenset[str]) -> PixelEncoder:
        """The encoder of one process of several: the same, as captions show no media."""
        return self

    def encode(self, prompt: Prompt, responses: list[Response]) -> EncodedPictures:
        """Tensors of one example; `responses` may be empty.

        Raises:
            TooLong: the caption is longer than the text encoder reads.
            ValueError: the prompt holds media, or a response is not one picture.
        """
        text = self.tokens([self._caption(prompt)])
        pictures = [self.pixels(self._picture(prompt, response)) for response in responses]
        empty = torch.empty(0, 3, self.image_size, self.image_size)
        return EncodedPictures(
            id=prompt.id,
            input_ids=text["input_ids"][0],
            attention_mask=text["attention_mask"][0],
            pixels=torch.stack(pictures) if pictures else empty,
            answer=prompt.answer,
        )

    def length(self, encoded: EncodedPictures) -> int:
        """Captions are padded to one length, and pictures have one size: no example costs more than another."""
        return 1

    def collate(self, encoded: Sequence[EncodedPictures]) -> Batch:
        """Captions (P, L) and pictures (P, K, 3, H, W)."""
        return Batch(
            ids=[e.id for e in encoded],
            prompt={
                "input_ids": torch.stack([e.input_ids for e in encoded]),
                "attention_mask": torch.stack([e.attention_mask for e in encoded]),
            },
            response={"pixels": torch.stack([e.pixels for e in encoded])},
            answers=[e.answer for e in encoded],
        )

    def with_drawn(self, encoded: Sequence[EncodedPictures], response: dict[str, Tensor]) -> Batch:
        """P captions with the pictures that were drawn to them, (P, K, 3, H, W)."""
        batch = self.collate(encoded)
        batch.response = response
        return batch

    def render(self, messages: list[Message]) -> str:
        """The caption: every text of the prompt."""
        return " ".join(part["text"] for message in messages for part in message["content"] if part["type"] == "text")

    def tokens(self, captions: list[str]) -> dict[str, Tensor]:
        """Token ids and mask of captions, (P, L), padded to the length of the text encoder as in its training."""
        return dict(self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt"))

    def pixels(self, picture: Image.Image) -> Tensor:
        """(3, H, W) in [−1, 1]: the shorter side resized, the longer side cropped around its centre."""
        square = ImageOps.fit(picture, (self.image_size, self.image_size), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1

    def picture(self, pixels: Tensor) -> Image.Image:
        """The RGB picture of (3, H, W) in [−1, 1]."""
        levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())

    def _caption(self, prompt: Prompt) -> str:
        media = [p["type"] for message in prompt.messages for p in message["content"] if p["type"] != "text"]
        if media:
            raise ValueError(
                f"row {prompt.id} holds {media[0]} in its prompt, and this model draws from text alone: choose another "
                "model=, or data= whose prompts are text (modality=t2i)"
            )
        caption = self.render(prompt.messages)
        if not self.cut_captions:
            self._refuse_long(prompt.id, caption)
        return caption

    def _refuse_long(self, row: str, caption: str) -> None:
        limit = self.tokenizer.model_max_length
        length = len(self.tokenizer(caption, verbose=False)["input_ids"])
        if length > limit:
            raise TooLong(
                row,
                "prompt",
                f"The caption has {length} tokens and the text encoder reads {limit}: set "
                "model.long_captions=cut to lose its end, or loader.overlong=skip to leave these rows out.",
            )

    def _picture(self, prompt: Prompt, response: Response) -> Image.Image:
        if [part["type"] for part in response] != ["image"]:
            written = ", ".join(part["type"] for part in response) or "nothing"
            raise ValueError(
                f"row {prompt.id} is answered with {written}, and this model draws exactly one image: choose a model= "
                "that writes it, or data= whose responses are one image each (modality=t2i)"
            )
        return response[0]["image"]
