"""What follows attention in the last layer is left out for tokens whose states nobody reads."""

import copy

import pytest
import torch

from aa_lightning.models.token.last_layer import columns_read
from tests.contract.support import batch_of, borrow, make


def sizes_read(policy, batch) -> list[int]:
    """The number of tokens that the gated layer of each decoder layer reads."""
    seen: list[int] = []
    layers = policy.network.writer.get_decoder().layers
    hooks = [
        layer.mlp.gate_proj.register_forward_hook(lambda module, given, out: seen.append(given[0].shape[1]))
        for layer in layers
    ]
    policy.log_likelihood(batch)
    for hook in hooks:
        hook.remove()
    return seen


def test_ends_of_prompts_and_responses_are_read():
    """[a a a | b | A B B | C C]: a ends in column 2, b in column 3, and responses begin in column 4."""
    assert columns_read(((3, 1, 2), (1, 2, 0))).tolist() == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llava", "tiny_qwen2_5_vl"])
def test_the_last_layer_reads_responses_and_one_token_of_each_prompt(model):
    _, policy, cfg = borrow(model)
    batch = batch_of(cfg, policy, "preference")
    prompts, responses = batch.prompt["attention_mask"].sum().item(), batch.response["mask"].sum().item()
    *others, last = sizes_read(policy, batch)
    assert set(others) == {prompts + responses}
    assert last == len(batch) + responses


def test_a_talker_reads_all_states():
    _, policy, cfg = borrow("tiny_qwen2_5_omni_speech")
    assert len(set(sizes_read(policy, batch_of(cfg, policy, "preference")))) == 1


def test_a_copy_reads_the_tokens_of_its_own_batch():
    _, policy, cfg = make("tiny_qwen2", "dpo", "model.gradient_checkpointing=true")
    other = copy.deepcopy(policy)
    batches = [batch_of(cfg, policy, "preference", rows) for rows in (slice(0, 3), slice(3, 5))]
    terms = [policy.train().log_likelihood(batch).total.sum() for batch in batches]
    other.log_likelihood(batches[0])  # between the forward and the backward pass of both
    sum(terms).backward()
    found = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
    policy.zero_grad(set_to_none=True)
    policy.network.prefix_sharing = "never"
    sum(policy.log_likelihood(batch).total.sum() for batch in batches).backward()
    expected = [p.grad for p in policy.parameters() if p.grad is not None]
    assert all((a - b).norm() <= 1e-4 * b.norm() + 1e-7 for a, b in zip(found, expected, strict=True))
    own = other.network.writer.get_decoder().layers[-1]
    assert own.mlp.whole.__self__ is own.mlp


def test_adapters_see_the_same_numbers():
    _, policy, cfg = make("tiny_qwen2", "dpo", "model.lora.rank=2")
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora" in name:
                parameter.add_(0.05)
    batch = batch_of(cfg, policy.eval(), "preference")
    packed = policy.log_likelihood(batch).terms
    policy.network.prefix_sharing = "never"
    assert torch.allclose(packed, policy.log_likelihood(batch).terms, atol=1e-5)
