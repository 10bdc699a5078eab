"""Sizes of what is kept in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor


def bytes_of(value: Any) -> int:
    """The memory behind tensors, arrays, pictures and text, wherever they lie in a value."""
    if isinstance(value, Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(bytes_of(part) for part in value.values())
    if isinstance(value, Sequence):
        return sum(bytes_of(part) for part in value)
    if is_dataclass(value):
        return bytes_of(vars(value))
    return 0
