"""Positions of prompts that count in time, height and width are the library's, and each row is counted once."""

from unittest.mock import patch

import pytest
import torch

from aa_lightning.models.token import positions
from tests.contract.support import batch_of, borrow, make

COUNTING = ["tiny_qwen2_5_vl", "tiny_qwen3_vl", "tiny_qwen2_5_omni", "tiny_qwen3_omni"]


def batch_and_network(model: str):
    """Three padded rows with media, none of them counted yet."""
    _, policy, cfg = borrow(model)
    forgotten = positions.Positions(policy.network.family)
    policy.network.positions = policy.reference.network.positions = forgotten
    return batch_of(cfg, policy, "preference"), policy.network


def test_policy_and_reference_remember_together():
    _, policy, _ = make("tiny_qwen2_5_vl", "dpo")
    assert policy.reference.network.positions is policy.network.positions


@pytest.mark.parametrize("model", COUNTING)
def test_remembered_positions_are_those_that_the_library_counts(model):
    batch, network = batch_and_network(model)
    theirs = network.backbone.get_rope_index(**network.family.rope(batch.prompt))[0]
    valid = batch.prompt["attention_mask"].bool()
    assert not torch.equal(theirs[0], theirs[1])
    for _ in range(2):
        ours = network.positions(network.backbone, batch)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours[:, valid], theirs[:, valid])


def test_a_row_is_counted_once_however_far_it_is_padded_and_for_the_reference_too():
    batch, network = batch_and_network("tiny_qwen2_5_omni")
    _, policy, _ = borrow("tiny_qwen2_5_omni")
    counting = type(network.backbone).get_rope_index
    with patch.object(type(network.backbone), "get_rope_index", autospec=True, side_effect=counting) as counted:
        network.hidden(batch)
        assert counted.call_count == 3
        wider = {
            key: torch.nn.functional.pad(value, (2, 0)) if key in ("input_ids", "attention_mask") else value
            for key, value in batch.prompt.items()
        }
        batch.prompt = wider
        found = network.positions(network.backbone, batch)
        with policy.as_reference() as reference:
            reference.log_likelihood(batch)
        assert counted.call_count == 3
    assert (found[:, :, :2] == 0).all()


def test_the_same_tokens_with_another_clip_length_are_another_row():
    """Clips of Qwen2.5-Omni that last twice as long put what follows them at later positions."""
    batch, network = batch_and_network("tiny_qwen2_5_omni")
    first = network.positions(network.backbone, batch)
    batch.prompt = {**batch.prompt, "video_second_per_grid": 2 * batch.prompt["video_second_per_grid"]}
    assert (network.positions(network.backbone, batch) - first).amax() > 0


def test_what_is_remembered_has_a_limit_and_rows_beyond_it_are_counted_again(monkeypatch):
    batch, network = batch_and_network("tiny_qwen2_5_vl")
    first = network.positions(network.backbone, batch)
    network.positions = positions.Positions(network.family)
    monkeypatch.setattr(positions, "_MOST_BYTES", 24 * int(batch.prompt["attention_mask"][0].sum()))
    for _ in range(2):
        assert torch.equal(network.positions(network.backbone, batch), first)
    assert len(network.positions._known) == 1
