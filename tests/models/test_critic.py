"""Critics: values before each action, heads near 0, networks of their own, and those that start from a reward model."""

from dataclasses import replace

import pytest
import torch

from aa_lightning.assembly.policy import build_algorithm, build_policy
from aa_lightning.types import Batch, Rollout, Sampling
from tests.contract.support import batch_of, change, config

FAMILIES = ["tiny_qwen2", "tiny_llava", "tiny_chameleon", "tiny_qwen2_5_omni_speech"]
each_family = pytest.mark.parametrize(
    "model", [*FAMILIES[:2], *(pytest.param(one, marks=pytest.mark.slow) for one in FAMILIES[2:])]
)
each_kind = pytest.mark.parametrize("kind", ["head", "own"])


def built(model: str, kind: str, algo: str = "ppo", *overrides: str):
    """A policy with its critic, and a batch of drawn responses."""
    torch.manual_seed(0)
    cfg = config(model, algo)
    change(cfg, f"model.critic={kind}", *overrides)
    policy = build_policy(cfg, build_algorithm(cfg), None).eval()
    prompts = batch_of(cfg, policy, "demonstration", slice(0, 2))
    torch.manual_seed(1)
    return policy, policy.sample(prompts, 3, Sampling(max_new_tokens=6)).batch


@each_family
@each_kind
def test_a_value_stands_before_each_action_and_does_not_see_it(model, kind):
    policy, batch = built(model, kind)
    values = policy.values(batch)
    mask = batch.response["mask"]
    assert values.shape == mask.shape and (values * (1 - mask)).abs().sum() == 0
    assert 0 < (values * mask).abs().max() < 1  # near 0 to begin with
    torch.testing.assert_close(values[:, 0, 0], values[:, 1, 0])  # before anything is said, all responses are one
    said = batch.response["input_ids"].clone()
    said[:, :, 2] = torch.where(said[:, :, 2] == 5, 6, 5)
    if model in FAMILIES[:2]:  # elsewhere the spelling says what may stand there
        other = policy.values(replace(batch, response={**batch.response, "input_ids": said}))
        torch.testing.assert_close(other[..., :3] * mask[..., :3], values[..., :3] * mask[..., :3])


@pytest.mark.parametrize("model", FAMILIES[:2])
@each_kind
def test_every_weight_of_a_critic_that_trains_has_a_gradient(model, kind):
    """Or data-parallel training would wait for it."""
    policy, batch = built(model, kind)
    policy.train()
    (policy.values(batch).sum() + policy.action_logprobs(as_rollout(batch)).sum()).backward()
    idle = [name for name, p in policy.named_parameters() if name.startswith("critic.") and p.requires_grad]
    assert idle and [name for name in idle if policy.get_parameter(name).grad is None] == []


def as_rollout(batch: Batch) -> Rollout:
    mask = batch.response["mask"]
    return Rollout(batch, [], mask, mask, mask[..., 0])


@each_kind
def test_a_critic_is_part_of_the_policy_and_learns_returns(kind):
    """100 steps on ½ (V − G)² with G the place of an action: values of the first places come to 0, 1 and 2."""
    policy, batch = built("tiny_qwen2", kind)
    names = {name for name, _ in policy.named_parameters() if name.startswith("critic.")}
    assert names and names <= set(policy.state_dict())
    mask = batch.response["mask"]
    returns = torch.arange(mask.shape[-1]).expand(mask.shape).float()
    optimizer = torch.optim.AdamW([p for name, p in policy.named_parameters() if name in names], lr=1e-2)
    lost = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = ((policy.values(batch) - returns).square() * mask).sum() / mask.sum()
        loss.backward()
        optimizer.step()
        lost.append(loss.item())
    assert lost[-1] < 0.1 * lost[0]


def test_two_critics_share_a_network():
    policy, batch = built("tiny_qwen2", "own", "ppo_lagrangian")
    assert policy.values(batch).shape == (*batch.response["mask"].shape, 2)


@each_kind
def test_a_critic_starts_from_a_reward_model(kind, tmp_path):
    """At the end of a response its own network reads what the reward model reads, so the value there is the reward."""
    torch.manual_seed(2)
    cfg = config("tiny_qwen2", "reward_model")
    scorer = build_policy(cfg, build_algorithm(cfg), None).eval()
    with torch.no_grad():
        scorer.network.head.weight.normal_()
        scorer.network.network.model.get_input_embeddings().weight.mul_(1.5)
    scorer.save(tmp_path)
    policy, batch = built("tiny_qwen2", kind, "ppo", f"model.critic_init={tmp_path}")
    head = (policy.critic if kind == "head" else policy.critic.head).linear
    torch.testing.assert_close(head.weight, scorer.network.head.weight)
    if kind == "own":
        tokens, place = batch.response["input_ids"], torch.arange(batch.response["mask"].shape[-1])
        first = {n: {"input_ids": tokens, "mask": (place < n).float().expand(tokens.shape)} for n in (3, 4)}
        reward = scorer.score(replace(batch, response=first[3]))
        torch.testing.assert_close(policy.values(replace(batch, response=first[4]))[..., 3], reward)


def test_without_a_critic_there_are_no_values():
    torch.manual_seed(0)
    cfg = config("tiny_qwen2", "grpo")
    policy = build_policy(cfg, build_algorithm(cfg), None)
    assert not [name for name in policy.state_dict() if "critic" in name]
    with pytest.raises(ValueError, match="write critics = 1 into the algorithm's class"):
        policy.values(None)
