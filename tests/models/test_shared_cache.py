"""Attention over prompts that are kept once, against a softmax over whole rows."""

import pytest
import torch

from aa_lightning.models.token.shared_cache import MARK, SharedCache, attention

HEADS, KEY_HEADS, WIDTH = 4, 2, 8


def whole(query, key, value):
    """softmax(q kᵀ / √D) v of one row (heads, D), with keys and values (key-value heads, N, D)."""
    key, value = (part.repeat_interleave(HEADS // KEY_HEADS, 0) for part in (key, value))
    return ((query[:, None] @ key.mT) / WIDTH**0.5).softmax(-1) @ value


@pytest.mark.parametrize("lengths", [(5,), (4, 4, 4), (3, 7, 5)])
def test_responses_that_end_one_by_one_see_their_prompt_and_what_they_said(lengths):
    """Three responses to each prompt; after each token one ends, in an order that empties a prompt before others."""
    torch.manual_seed(0)
    longest, rows = max(lengths), 3 * len(lengths)
    valid = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    prompts = [tuple(torch.randn(len(lengths), KEY_HEADS, longest, WIDTH) for _ in range(2)) for _ in range(2)]
    owner = torch.arange(len(lengths)).repeat_interleave(3)
    cache = SharedCache(prompts, None if valid.all() else valid, owner)
    live, said = list(range(rows)), {(row, layer): [] for row in range(rows) for layer in range(2)}
    while live:
        with cache.reading() as mask:
            assert mask.dtype == MARK
            for layer in range(2):
                new = [torch.randn(len(live), KEY_HEADS, 1, WIDTH) for _ in range(2)]
                query = torch.randn(len(live), HEADS, 1, WIDTH)
                found = attention(query, *cache.update(*new, layer), None)
                for place, row in enumerate(live):
                    said[row, layer].append([part[place] for part in new])
                    own = [torch.cat(parts, 1) for parts in zip(*said[row, layer], strict=True)]
                    seen = [part[owner[row]][:, valid[owner[row]]] for part in prompts[layer]]
                    expected = whole(query[place, :, 0], *(torch.cat(both, 1) for both in zip(seen, own, strict=True)))
                    assert torch.allclose(found[place, :, 0], expected[:, 0], atol=1e-6)
        going = [place for place in range(len(live)) if place != len(live) // 3]
        live = [live[place] for place in going]
        if live:
            cache.keep(torch.tensor(going))
