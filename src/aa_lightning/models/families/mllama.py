"""Llama-Vision (mllama) for batches in which prompts show different numbers of pictures, or none.

The text model reads pictures through cross-attention layers. The library pads all prompts of a batch to the same number
of pictures, and its masks let every token that stands before the first picture (and every token of a prompt without
one) attend to the padding: such a token's log-probability moves by up to 1. Here absent pictures have states of zero,
whose values add nothing, and are closed to every token of a prompt that has others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aa_lightning.models.families.family import Family

_PICTURE_KEYS = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")  # (P, pictures, …)
_MASK = "cross_attention_mask"  # (P, L, pictures, tiles)


class Mllama(Family):
    """The family whose pictures are read through cross-attention."""

    def forward(self, backbone: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """Run the text model on rows, each as if it were alone.

        Args:
            backbone: `MllamaModel`.
            inputs: of rows with any numbers of pictures; where a row has fewer, its `aspect_ratio_ids` are 0. Rows that go
                on from a cache have their mask alone.
        """
        text = {key: value for key, value in inputs.items() if key not in (*_PICTURE_KEYS, _MASK)}
        if "pixel_values" in inputs:
            present = inputs["aspect_ratio_ids"] > 0
            text["cross_attention_states"] = _states(backbone, inputs, present)
        elif _MASK in inputs:
            present = inputs[_MASK].any(-1)[:, -1]
        if _MASK in inputs:
            text[_MASK], text["full_text_row_masked_out_mask"] = _masks(backbone, inputs[_MASK], present)
        return backbone.language_model(**text)


def _states(backbone: nn.Module, inputs: Mapping[str, Any], present: Tensor) -> Tensor:
    """(R, keys, H): what each row's pictures look like, zero where there is none."""
    shown = {key: inputs[key][present].unsqueeze(1) for key in _PICTURE_KEYS}
    seen = backbone.multi_modal_projector(backbone.vision_model(**shown).last_hidden_state)
    seen = seen.reshape(len(seen), -1, backbone.hidden_size)  # (pictures, tiles · patches, H)
    states = seen.new_zeros(*present.shape, *seen.shape[1:])
    states[present] = seen
    return states.flatten(1, 2)


def _masks(backbone: nn.Module, looks: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Additive (R, 1, L, keys), and (R, 1, L, 1): 0 for tokens that look at no picture.

    Such tokens attend to all pictures of their prompt all the same, as they do in the library.
    """
    rows, length = looks.shape[:2]
    anywhere = looks.flatten(2).any(-1)[:, :, None, None]
    own = present[:, None, :, None] | ~present.any(-1)[:, None, None, None]
    allowed = torch.where(anywhere, looks.bool(), own.expand_as(looks))
    allowed = allowed.repeat_interleave(backbone.vision_model.num_patches, 3).reshape(rows, 1, length, -1)
    closed = torch.zeros(allowed.shape, dtype=backbone.dtype, device=looks.device)
    closed = closed.masked_fill(~allowed, torch.finfo(backbone.dtype).min)
    return closed, anywhere[..., 0, 0].to(backbone.dtype)[:, None, :, None]
