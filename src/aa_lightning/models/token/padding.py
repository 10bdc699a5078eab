"""Tensors of several prompts, of different lengths, as one."""

from __future__ import annotations

import torch
from torch import Tensor


def left_padded(prompts: list[dict[str, Tensor]], key: str, fill: int) -> Tensor:
    """(P, L, …) a per-token key of all prompts; those without it get the filling."""
    length = max(prompt["input_ids"].shape[1] for prompt in prompts)
    pieces = [prompt[key] for prompt in prompts if key in prompt]
    trailing = [max(sizes) for sizes in zip(*(piece.shape[2:] for piece in pieces), strict=True)]
    joined = pieces[0].new_full((len(prompts), length, *trailing), fill)
    for row, prompt in zip(joined, prompts, strict=True):
        if key in prompt:
            piece = prompt[key][0]
            row[(slice(length - len(piece), None), *(slice(size) for size in piece.shape[1:]))] = piece
    return joined


def filled(prompts: list[dict[str, Tensor]], key: str) -> list[Tensor]:
    """A key of every prompt, of any shape, zeros for those without it."""
    example = next(prompt[key] for prompt in prompts if key in prompt)
    return [prompt[key] if key in prompt else torch.zeros_like(example) for prompt in prompts]


def stack_ragged(pieces: list[Tensor]) -> Tensor:
    """(N, …) the media of several prompts one after another; other dimensions are zero-padded to the largest."""
    shape = [max(sizes) for sizes in zip(*(piece.shape[1:] for piece in pieces), strict=True)]
    padded = []
    for piece in pieces:
        short = [(0, want - have) for want, have in zip(shape, piece.shape[1:], strict=True)]
        flat = [side for pair in reversed(short) for side in pair]
        padded.append(torch.nn.functional.pad(piece, flat) if any(flat) else piece)
    return torch.cat(padded)
