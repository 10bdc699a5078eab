"""Positions of the tokens of a prompt, for families that count in time, height and width.

The library counts them in Python, token by token and row by row, and so waits for the device. A row is counted once and
remembered: for the reference, and for later epochs.
"""

from __future__ import annotations

from hashlib import blake2b

from torch import Tensor, nn

from aa_lightning.models.families.family import Family
from aa_lightning.models.token import layouts
from aa_lightning.types import Batch

_MOST_BYTES = 64 * 2**20


class Positions:
    """Positions of prompts, each counted once.

    Args:
        family: whose `rope` says what is counted.
    """

    def __init__(self, family: Family):
        self.family = family
        self._known: dict[bytes, Tensor] = {}
        self._bytes = 0

    def __call__(self, backbone: nn.Module, batch: Batch) -> Tensor:
        """(3, P, L) positions of the prompt tokens, as the library counts them; padding stands at 0.

        Args:
            backbone: the model that counts.
            batch: prompts with media.
        """
        valid = batch.prompt["attention_mask"].bool().cpu()
        rows = [self._of(backbone, layouts.only(batch, row), mask) for row, mask in enumerate(valid)]
        found = rows[0].new_zeros(3, *valid.shape)
        for row, mask in enumerate(valid):
            found[:, row, mask] = rows[row]
        return found.to(batch.prompt["input_ids"].device)

    def _of(self, backbone: nn.Module, prompt: dict[str, Tensor], mask: Tensor) -> Tensor:
        """(3, N) of the tokens of one prompt."""
        assert self.family.rope is not None
        counted = self.family.rope(prompt)
        key, of_tokens = blake2b(digest_size=16), {"input_ids", "attention_mask", *self.family.per_token}
        for name, value in counted.items():
            own = value[:, mask.to(value.device)] if name in of_tokens else value
            key.update(f"{name}{list(own.shape)}".encode() + own.cpu().numpy().tobytes())
        if key.digest() not in self._known:
            positions = backbone.get_rope_index(**counted)[0][:, 0].cpu()[:, mask]
            if self._bytes + positions.nbytes > _MOST_BYTES:
                return positions
            self._known[key.digest()], self._bytes = positions, self._bytes + positions.nbytes
        return self._known[key.digest()]
