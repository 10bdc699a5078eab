"""Pictures as tokens of a text: how each family spells one, and the frozen VQ model that turns pixels into codes.

A spelling holds no weights and travels with the encoder; the VQ model stays with the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

CODE = -1  # in a spelled picture: any code of the VQ model
_REMEMBERED = 16_384  # pictures; a picture of four thousand tokens takes 32 kB


@dataclass(frozen=True)
class Spelling:
    """How one family writes a picture among its tokens.

    Attributes:
        begin: the token that opens a picture.
        placeholder: the token that stands for a code until the picture is tokenised.
        codes: (C,) the token of each code of the VQ model.
        row_end: the token after each row of codes, where the family has one.
        others: further tokens that occur in pictures only; none of them is ever drawn in a text.
        factor: pixels per code, in height and in width.
        write: (height, width) in codes → the picture as text, with a placeholder for each code and row end.
    """

    begin: int
    placeholder: int
    codes: Tensor
    row_end: int | None
    others: tuple[int, ...]
    factor: int
    write: Callable[[int, int], str]

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
        """A picture's tokens from the opening one to the closing one, CODE where any code may stand."""
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
        decode: codes (1, h, w) → pixels (1, 3, H, W); None: there is no decoder.
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
        """Whether codes can be made a picture again."""
        return self._decode is not None

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
