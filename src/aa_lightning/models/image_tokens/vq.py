"""Pictures as tokens of a text: how each family spells one, and the frozen VQ model that turns pixels into codes.

A spelling holds no weights and travels with the encoder; the VQ model stays with the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.types import Batch

READ = ("pixel_values", "image_sizes")  # keys of a batch's prompts: (N, 3, H, W) padded, and (N, 2) true sizes
WRITTEN = ("pictures", "picture_sizes")  # the same of its responses
CODE = -1  # in a spelled picture: any code of the VQ model
_REMEMBERED = 16_384  # pictures; a picture of four thousand tokens takes 32 kB


@dataclass(frozen=True)
class Spelling:
    """Format of an image among a family's tokens.

    Attributes:
        begin: the token that opens a picture.
        placeholder: the token that stands for a code until the picture is tokenised.
        codes: (C,) the token of each code of the VQ model.
        row_end: the token after each row of codes, where the family has one.
        others: further tokens that occur in pictures only; none of them is ever drawn in a text.
        factor: pixels per code, in height and in width.
        write: (height, width) in codes → the picture as text, with a placeholder for each code and row end.
        reads: whether pictures of prompts are spelled too; if not, a tower reads their pixels.
    """

    begin: int
    placeholder: int
    codes: Tensor
    row_end: int | None
    others: tuple[int, ...]
    factor: int
    write: Callable[[int, int], str]
    reads: bool = True

    def body(self, codes: Tensor) -> Tensor:
        """The tokens that stand at the placeholders of a picture.

        Args:
            codes: (h, w) of the VQ model, or CODE everywhere.
        """
        tokens = torch.where(codes == CODE, CODE, self.codes[codes.clamp(min=0)])
        if self.row_end is not None:
            tokens = torch.nn.functional.pad(tokens, (0, 1), value=self.row_end)
        return tokens.flatten()

    def whole(self, tokenizer: Any, height: int, width: int) -> Tensor:
        """(L,) an image's tokens from the opening one to the closing one, CODE where any code may stand."""
        tokens = torch.tensor(tokenizer(self.write(height, width), add_special_tokens=False)["input_ids"])
        body = self.body(torch.full((height, width), CODE))
        return tokens.masked_scatter(tokens == self.placeholder, body)


class PictureTokenizer:
    """A frozen VQ model. No module: it has no place in training, checkpoints, sharding or the reference.

    Pictures are tokenised one by one, so that no picture's codes depend on another's size, in full precision, and
    remembered by their content.

    Args:
        vq: the VQ model.
        spelling: of its codes.
        encode: pixels (1, 3, H, W) → codes (h, w).
        decode: codes (1, h, w) → pixels (1, 3, H, W); None: there is no decoder. A module goes along to a device.
    """

    def __init__(
        self,
        vq: nn.Module,
        spelling: Spelling,
        encode: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor] | None,
    ):
        self.vq = vq.requires_grad_(False).eval()
        self.spelling, self._encode, self._decode = spelling, encode, decode
        self._known: dict[bytes, Tensor] = {}

    @property
    def draws(self) -> bool:
        """Tell whether codes can be decoded to an image."""
        return self._decode is not None

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Move the VQ model, and a decoder that stands outside of it, as `nn.Module._apply` moves a model."""
        self.vq._apply(fn)
        if isinstance(self._decode, nn.Module):
            self._decode._apply(fn)

    def fill(self, batch: Batch) -> Batch:
        """The batch with the tokens of its pictures in place of pixels. A filled batch is returned as it is."""
        prompt, response, blocks = dict(batch.prompt), dict(batch.response), batch.blocks
        if self.spelling.reads:
            blocks = {key: rows for key, rows in blocks.items() if key not in READ}
            self._fill(prompt, *(prompt.pop(key, None) for key in READ))
        self._fill(response, *(response.pop(key, None) for key in WRITTEN))
        return replace(batch, prompt=prompt, response=response, blocks=blocks)

    def _fill(self, tensors: dict[str, Tensor], pixels: Tensor | None, sizes: Tensor | None) -> None:
        """Put the tokens of pictures (N, 3, H, W) at the placeholders, in reading order."""
        if pixels is None:
            return
        whole = [pixels.shape[2:]] * len(pixels) if sizes is None else sizes.tolist()
        tokens = [self.tokens(one[:, :height, :width]) for one, (height, width) in zip(pixels, whole, strict=True)]
        places, found = tensors["input_ids"] == self.spelling.placeholder, torch.cat(tokens)
        assert places.sum() == len(found), (places.sum(), len(found))
        tensors["input_ids"] = tensors["input_ids"].masked_scatter(places, found.to(tensors["input_ids"]))

    @torch.no_grad()
    def tokens(self, pixels: Tensor) -> Tensor:
        """The tokens of a picture, (N,) on the CPU.

        Args:
            pixels: (3, H, W) as the processor gives them, without padding.
        """
        seen = pixels.detach().cpu().float().contiguous()
        key = blake2b(seen.numpy().tobytes(), digest_size=16, person=str(tuple(seen.shape)).encode()[:16]).digest()
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            weight = next(self.vq.parameters())
            with torch.autocast(weight.device.type, enabled=False):
                codes = self._encode(pixels[None].to(weight.device, weight.dtype))
            self._known[key] = self.spelling.body(codes.cpu().long())
        return self._known[key]

    @torch.no_grad()
    def pixels(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """The picture that tokens spell, (3, H, W), in the range that the processor gives.

        Args:
            tokens: those at the placeholders of a picture of height × width codes.
        """
        assert self._decode is not None
        own = self.spelling.codes
        code_of = torch.zeros(int(own.max()) + 1, dtype=torch.long).scatter(0, own, torch.arange(len(own)))
        codes = code_of[tokens.cpu().view(height, -1)[:, :width]]
        weight = next(self.vq.parameters())
        with torch.autocast(weight.device.type, enabled=False):
            return self._decode(codes[None].to(weight.device))[0].float().cpu()

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Inside, a model holds its VQ model again."""
        model.model.vqmodel = self.vq
        try:
            yield
        finally:
            model.model.vqmodel = None

    @staticmethod
    def complete(model: nn.Module, prefix: str, weights: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
        """Gathered weights together with those of the VQ model that is attached to the model; None stays None."""
        if weights is None:
            return None
        return {**{f"{prefix}{name}": value for name, value in model.state_dict().items()}, **weights}


def refuse_pixels(batch: Batch, read: bool = True) -> None:
    """A likelihood is one of tokens.

    Args:
        read: whether pictures of prompts shall be tokens too.

    Raises:
        ValueError: the batch holds pictures that are not tokens yet.
    """
    if (read and READ[0] in batch.prompt) or WRITTEN[0] in batch.response:
        raise ValueError(
            "this batch holds images as pixels, and a token model's likelihood is one of tokens: call "
            "batch = policy.prepare(batch) first"
        )
