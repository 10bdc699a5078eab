"""Decoding constraints: free text, or the opening of an image and then exactly one image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.image_tokens.vq import CODE, Spelling
from aa_lightning.models.token.sampling import FREE, Rules

TEXT, DRAWN, FORCED = 0, 1, 2  # kinds of a position: any text token, any code of a picture, one token only


class Grammar(Rules):
    """The sequences that sampling can draw: text with pictures of one size in it.

    A position of text allows every token but those that occur in pictures only. A position in a picture allows the
    codes, or the one token that stands there in every picture of this size (the size itself, row ends, the closing).

    Args:
        spelling: of the family's pictures.
        tokenizer: of the family.
        size: (height, width) of drawn pictures, in codes.
        vocabulary: how many logits there are.
        draws: whether a picture may begin.
    """

    renormalise = True

    def __init__(self, spelling: Spelling, tokenizer: Any, size: tuple[int, int], vocabulary: int, draws: bool):
        whole = spelling.whole(tokenizer, *size)
        assert whole[0] == spelling.begin
        self.begin, self.size, self.reads = spelling.begin, size, spelling.reads
        self._inside = whole[1:]  # (L,) what stands behind the opening token
        first = int((whole == CODE).nonzero()[0])
        self._body = slice(first, first + len(spelling.body(torch.full(size, CODE))))
        in_pictures = torch.cat([spelling.codes, torch.tensor([spelling.placeholder, *spelling.others])])
        self._banned = torch.zeros(2, vocabulary, dtype=torch.bool)
        self._banned[TEXT, in_pictures] = True
        self._banned[TEXT, spelling.begin] = not draws
        self._banned[DRAWN] = True
        self._banned[DRAWN, spelling.codes] = False

    def kinds(self, ids: Tensor) -> Tensor:
        """(…, T) the kind of every position of drawn responses."""
        where = self._where(ids)
        kind = torch.where(self._inside == CODE, DRAWN, FORCED).to(ids.device)
        return torch.where(where > 0, kind[(where - 1).clamp(min=0)], TEXT)

    def next(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        where = self._where(torch.nn.functional.pad(tokens, (0, 1), value=CODE))[:, -1]
        inside = self._inside.to(tokens.device)[(where - 1).clamp(min=0)]
        must = torch.where((where > 0) & (inside != CODE), inside, FREE)
        return self._banned.to(tokens.device)[(where > 0).long()], must

    def banned(self, kind: int, device: torch.device) -> Tensor:
        """(V,) the tokens that a position of this kind does not allow."""
        return self._banned[kind].to(device)

    def pictures(self, ids: Tensor) -> list[tuple[int, int]]:
        """Locate whole images in one response (T,): from the opening token to behind the closing one."""
        starts = (ids == self.begin).nonzero().flatten().tolist()
        length = 1 + len(self._inside)
        return [(start, start + length) for start in starts if start + length <= len(ids)]

    def body(self, picture: Tensor) -> Tensor:
        """The codes and row ends of a drawn picture (L + 1,)."""
        return picture[self._body]

    def _where(self, ids: Tensor) -> Tensor:
        """(…, T) how far behind the opening token of its picture a position stands; 0 in text."""
        places = torch.arange(ids.shape[-1], device=ids.device).expand(ids.shape)
        last = places.where(ids == self.begin, -len(self._inside) - 1).cummax(-1).values
        behind = places - last
        return behind.where(behind <= len(self._inside), 0)


class Restricted(nn.Module):
    """An output embedding whose banned tokens have probability 0."""

    def __init__(self, head: nn.Module, banned: Tensor):
        super().__init__()
        self.head, self.banned, self.out_features = head, banned, len(banned)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.head(hidden).masked_fill(self.banned, -torch.inf)
