"""Prefix-shared and plain layouts are the same numbers and the same gradients (every token family)."""

import pytest
import torch

from tests.contract.support import MODELS, batch_of, borrow, make, modality, read_jointly

TOKENS = [model for model in MODELS if modality(model) != "t2i"]
ALONE = [model for model in TOKENS if modality(model) != "t2a"]  # one network; thinker and talker: test_speech.py


LOOKS = [(model, attention) for model in TOKENS for attention in ("sdpa", "eager")]
LOOKS.remove(("tiny_gemma2", "sdpa"))  # no such kernel caps its scores


def run(policy, batch, layout: str):
    policy.network.prefix_sharing = layout
    policy.zero_grad(set_to_none=True)
    likelihood = policy.log_likelihood(policy.prepare(batch))
    torch.nn.functional.softplus(-0.1 * (likelihood.total[:, 0] - likelihood.total[:, 1])).mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
    return likelihood.terms.detach(), gradient


@pytest.mark.parametrize(("model", "attention"), LOOKS, ids=map("-".join, LOOKS))
def test_shared_and_plain_rows_agree(model, attention):
    _, policy, cfg = borrow(model, f"model.attention={attention}")
    batch = batch_of(cfg, policy, "preference")
    plain, shared = run(policy, batch, "never"), run(policy, batch, "always")
    assert torch.allclose(plain[0], shared[0], atol=1e-5, rtol=1e-6)
    assert (plain[1] - shared[1]).norm() / plain[1].norm() <= 1e-4
    assert plain[1].norm() > 0


@pytest.mark.parametrize("model", TOKENS)
def test_shared_rows_agree_under_gradient_checkpointing(model):
    _, policy, cfg = make(model, "dpo", "model.gradient_checkpointing=true")
    policy.train()
    batch = batch_of(cfg, policy, "preference")
    plain, shared = run(policy, batch, "never"), run(policy, batch, "always")
    assert torch.allclose(plain[0], shared[0], atol=1e-5, rtol=1e-6)
    assert (plain[1] - shared[1]).norm() / plain[1].norm() <= 1e-4


@pytest.mark.parametrize("model", ALONE)
def test_every_trained_parameter_gets_a_gradient(model):
    _, policy, cfg = borrow(model)
    run(policy, batch_of(cfg, policy, "preference"), "always")
    without = [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("model", ALONE)
def test_terms_are_those_of_the_model_read_jointly(model):
    _, policy, cfg = borrow(model)
    batch = policy.prepare(batch_of(cfg, policy, "preference", slice(0, 1)))
    ours = policy.log_likelihood(batch).terms[0]
    for k in range(2):
        expected = read_jointly(policy.network.model, policy.encoder.family, batch, k)
        assert torch.allclose(ours[k, : len(expected)], expected, atol=1e-5)
