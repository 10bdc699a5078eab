"""Examples to tensors for token models that write images: placeholders among the response's tokens, pixels beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aa_lightning.models.families.family import Family
from aa_lightning.models.image_tokens.vq import WRITTEN, Spelling
from aa_lightning.models.token import processor_inputs
from aa_lightning.models.token.encoder import Encoded, Limits, TokenEncoder, TooLong
from aa_lightning.types import Batch, Prompt, Response, text


@dataclass
class EncodedPictures(Encoded):
    """One example; `pictures[k]` are the pixels (3, h, w) that response k writes, in order."""

    pictures: list[list[Tensor]]

    def written(self, k: int) -> list[Tensor]:
        """Its tokens (T,), and the pixels (3, h, w) of each picture in it."""
        return [self.responses[k], *self.pictures[k]]


class PictureEncoder(TokenEncoder):
    """Writes pictures as placeholders between their opening and closing tokens. `Policy.prepare` fills them in."""

    def __init__(self, processor: Any, family: Family, spelling: Spelling, limits: Limits | None = None):
        super().__init__(processor, family, limits)
        self.spelling = spelling

    def encode(self, prompt: Prompt, responses: list[Response]) -> EncodedPictures:
        """Tensors of one example.

        Raises:
            BadRow: as for text; a TooLong: prompt or response over the limit.
            ValueError: media that the family can neither read nor write.
        """
        for message in prompt.messages:
            self._refuse_control(prompt, message["content"], "prompt")
        before = self.chat.prompt(prompt)
        written = [self._written(prompt, before, response) for response in responses]
        tokens, pictures = [ids for ids, _ in written], [pixels for _, pixels in written]
        return EncodedPictures(prompt.id, self._prompt(prompt, before), tokens, prompt.answer, pictures)

    def collate(self, encoded: Sequence[EncodedPictures]) -> Batch:
        """As for text; pixels of all pictures in reading order, under `pictures` and `picture_sizes`."""
        batch = super().collate(encoded)
        pictures = [pixels for e in encoded for response in e.pictures for pixels in response]
        if pictures:
            sizes = torch.tensor([pixels.shape[1:] for pixels in pictures])
            height, width = sizes.amax(0).tolist()
            padded = torch.zeros(len(pictures), 3, height, width)
            for place, pixels in zip(padded, pictures, strict=True):
                place[:, : pixels.shape[1], : pixels.shape[2]] = pixels
            batch.response.update(zip(WRITTEN, (padded, sizes), strict=True))
        return batch

    def pixels(self, picture: Image.Image) -> Tensor:
        """(3, h, w) as the family's VQ model reads a picture."""
        picture = processor_inputs.tall_enough(picture, self.family.fewest_rows)
        return self.processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"][0]

    def picture(self, pixels: Tensor) -> Image.Image:
        """The RGB picture of (3, h, w) in the range that `pixels` gives."""
        images = self.processor.image_processor
        mean, std = (torch.tensor(given).view(3, 1, 1) for given in (images.image_mean, images.image_std))
        levels = ((pixels * std + mean) / images.rescale_factor).round().clamp(0, 255).byte()
        return Image.fromarray(levels.permute(1, 2, 0).numpy())

    def _missing(self, encoded: Sequence[Encoded]) -> list[str]:
        """No batch needs a companion row: pictures are tokens, and every row passes through the same modules."""
        return []

    def _written(self, prompt: Prompt, before: str, response: Response) -> tuple[Tensor, list[Tensor]]:
        """The tokens of a response, and the pixels of the pictures in it."""
        self._refuse_control(prompt, response, "response")
        said, pictures = "", []
        for part in response:
            if part["type"] == "text":
                said += part["text"]
            elif part["type"] == "image":
                pictures.append(self.pixels(part["image"]))
                said += self.spelling.write(*(side // self.spelling.factor for side in pictures[-1].shape[1:]))
            else:
                raise ValueError(
                    f"row {prompt.id} is answered with {part['type']}, and models of family {self.family.name} write "
                    "text and image: choose a model= that writes it, or other data="
                )
        written, end = self.chat.answer(prompt, before, [text(said)])
        ids = torch.tensor([*self.tokenizer(written, add_special_tokens=False)["input_ids"], end])
        return self._within_limits(prompt, ids, pictures)

    def _within_limits(self, prompt: Prompt, ids: Tensor, pictures: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """A response that is too long is cut before the picture in which the limit falls, never inside it."""
        limit = self.limits.response
        if len(ids) <= limit:
            return ids, pictures
        if self.limits.overlong != "truncate":
            raise TooLong(
                prompt.id,
                "response",
                f"A response has {len(ids)} tokens, those of its images included, and the limit is "
                f"{limit}: set loader.max_response_tokens={len(ids)}, loader.overlong=truncate or loader.overlong=skip, "
                "or make the images smaller.",
            )
        starts = (ids == self.spelling.begin).nonzero().flatten().tolist()
        lengths = [len(self.spelling.whole(self.tokenizer, *self._codes(pixels))) for pixels in pictures]
        for count, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            if start + length > limit:
                return ids[: min(start, limit)], pictures[:count]
        return ids[:limit], pictures

    def _codes(self, pixels: Tensor) -> tuple[int, int]:
        return pixels.shape[1] // self.spelling.factor, pixels.shape[2] // self.spelling.factor
