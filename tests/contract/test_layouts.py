"""Prefix-shared and plain layouts are the same numbers and the same gradients (every token family)."""

import pytest
import torch

from tests.contract.support import MODELS, batch_of, make, modality

TOKENS = [model for model in MODELS if modality(model) != "t2i"]


LOOKS = [(model, attention) for model in TOKENS for attention in ("sdpa", "eager")]
LOOKS.remove(("tiny_gemma2", "sdpa"))  # no such kernel caps its scores


def run(policy, batch, layout: str):
    policy.network.layout = layout
    policy.zero_grad(set_to_none=True)
    likelihood = policy.log_likelihood(batch)
    torch.nn.functional.softplus(-0.1 * (likelihood.total[:, 0] - likelihood.total[:, 1])).mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    return likelihood.terms.detach(), gradient


@pytest.mark.parametrize(("model", "attention"), LOOKS, ids=map("-".join, LOOKS))
def test_shared_and_plain_rows_agree(model, attention):
    _, policy, cfg = make(model, "dpo", f"model.attention={attention}")
    batch = batch_of(cfg, policy, "preference")
    plain, shared = run(policy, batch, "plain"), run(policy, batch, "shared")
    assert (plain[0] - shared[0]).abs().max() <= 1e-5
    assert (plain[1] - shared[1]).norm() / plain[1].norm() <= 1e-4
    assert plain[1].norm() > 0


@pytest.mark.parametrize("model", TOKENS)
def test_shared_rows_agree_under_gradient_checkpointing(model):
    _, policy, cfg = make(model, "dpo", "model.gradient_checkpointing=true")
    policy.train()
    batch = batch_of(cfg, policy, "preference")
    plain, shared = run(policy, batch, "plain"), run(policy, batch, "shared")
    assert (plain[0] - shared[0]).abs().max() <= 1e-5
    assert (plain[1] - shared[1]).norm() / plain[1].norm() <= 1e-4


@pytest.mark.parametrize("model", TOKENS)
def test_every_trained_parameter_gets_a_gradient(model):
    _, policy, cfg = make(model, "dpo")
    run(policy, batch_of(cfg, policy, "preference"), "shared")
    without = [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("model", TOKENS)
def test_terms_are_those_of_the_model_read_jointly(model):
    """[prompt | response] in one unpadded row through the model's own head: log softmax at t−1 of token t."""
    _, policy, cfg = make(model, "dpo")
    batch = batch_of(cfg, policy, "preference", slice(0, 1))
    ours = policy.log_likelihood(batch).terms[0]
    for k in range(2):
        size = int(batch.response["mask"][0, k].sum())
        tokens = batch.response["input_ids"][0, k, :size]
        inputs = {**batch.prompt, "input_ids": torch.cat([batch.prompt["input_ids"][0], tokens])[None]}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        for key in policy.encoder.family.per_token.keys() & batch.prompt.keys():
            last = batch.prompt[key][:, -1:]  # a text token, as those of the response
            inputs[key] = torch.cat([batch.prompt[key], *[last] * size], 1)
        with torch.no_grad():
            logits = policy.network.model(**inputs).logits[0, -size - 1 : -1]
        expected = logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
        assert torch.allclose(ours[k, :size], expected, atol=1e-5)
