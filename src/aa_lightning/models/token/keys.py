"""Keys of what a model gives: digests of all that it reads, of its weights, and of the arithmetic in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

KEY_BYTES = 16


def keys_of(prompt: Mapping[str, Tensor], responses: Sequence[Sequence[Tensor]]) -> Tensor:
    """A key for each response to a prompt.

    Args:
        prompt: tensors of one prompt, of any shape and without padding, media included.
        responses: the tensors, of any shape, that each response is made of.

    Returns:
        (K, 16) bytes.
    """
    asked = blake2b(digest_size=KEY_BYTES)
    for name, tensor in sorted(prompt.items()):
        take(asked, name, tensor)
    found = torch.empty(len(responses), KEY_BYTES, dtype=torch.uint8)
    for key, parts in zip(found, responses, strict=True):
        digest = asked.copy()
        for part in parts:
            take(digest, "response", part)
        key.copy_(torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8))
    return found


def take(digest: Any, name: str, tensor: Tensor) -> None:
    """Add a tensor of any shape to a digest: its name, type, shape and bytes."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
    digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())


def digests_of(model: nn.Module) -> list[str]:
    """A digest of each weight and buffer of a model."""

    def digest(named: tuple[str, Any]) -> str:
        found = blake2b(digest_size=KEY_BYTES)
        take(found, *named)
        return found.hexdigest()

    with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter to others
        return [*threads.map(digest, sorted(model.state_dict().items()))]


def arithmetic_of(weight: Tensor) -> str:
    """Device, types and precision that the numbers of a model with this weight, of any shape, hang on."""
    kind = weight.device.type
    inside = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return f"{kind} {weight.dtype} {inside} {torch.get_float32_matmul_precision()}"
