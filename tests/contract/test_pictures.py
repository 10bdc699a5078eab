"""Prompts with no, one and two pictures, alone and side by side (every family that reads pictures)."""

import numpy as np
import pytest
import torch
from PIL import Image

from aa_lightning.models.families.family import Family
from aa_lightning.models.families.table import FAMILIES
from aa_lightning.types import Batch, Prompt, Sampling, text
from tests.contract.support import MODELS, borrow, modality


def family(model: str) -> Family:
    return FAMILIES[model.removeprefix("tiny_")]


LOOKING = [model for model in MODELS if modality(model) in ("ti2t", "any2t")]
ANSWERS = ([text("red")], [text("a blue circle")])


def noise(seed: int, width: int = 48, height: int = 48) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def prompt(*pictures: Image.Image) -> Prompt:
    """Each picture with a name before it: what is said between two pictures is read with the first in sight."""
    named = [(text(f"picture {n}"), {"type": "image", "image": picture}) for n, picture in enumerate(pictures)]
    content = [*(part for pair in named for part in pair), text("What is it?")]
    return Prompt(id="asked", messages=[{"role": "user", "content": content}])


def batch_of(policy, *prompts: Prompt, answers=ANSWERS) -> Batch:
    return policy.prepare(policy.encoder.collate([policy.encoder.encode(asked, list(answers)) for asked in prompts]))


@pytest.fixture(params=LOOKING)
def policy(request):
    return borrow(request.param)[1]


def test_two_pictures_of_a_prompt_in_the_other_order_move_the_log_likelihood(policy):
    one, other = noise(0), noise(1)
    totals = [policy.log_likelihood(batch_of(policy, prompt(*pair))).total for pair in [(one, other), (other, one)]]
    assert (totals[0] - totals[1]).abs().max() > 1e-3


def test_prompts_with_different_numbers_of_pictures_give_the_numbers_of_each_alone(policy):
    prompts = [prompt(noise(0)), prompt(), prompt(noise(1), noise(2, 30, 60)), prompt(noise(3, 60, 30))]
    for layout in ("never", "always"):
        policy.network.prefix_sharing = layout
        together = policy.log_likelihood(batch_of(policy, *prompts)).total
        alone = torch.cat([policy.log_likelihood(batch_of(policy, asked)).total for asked in prompts])
        assert torch.allclose(together, alone, atol=2e-5), layout


def test_rollouts_of_prompts_with_different_numbers_of_pictures_are_reproduced(policy):
    batch = batch_of(policy, prompt(noise(1), noise(2, 30, 60)), prompt(), prompt(noise(3)), answers=())
    torch.manual_seed(0)
    rollout = policy.sample(batch, 2, Sampling(max_new_tokens=5))
    again = policy.action_logprobs(rollout)
    assert torch.allclose(again * rollout.mask, rollout.logprobs, atol=1e-4)
    assert rollout.logprobs[rollout.mask.bool()].max() < 0


@pytest.mark.parametrize("model", [model for model in LOOKING if "image" not in family(model).writes])
def test_a_companion_changes_no_number_and_gives_every_trained_parameter_a_gradient(model):
    policy = borrow(model)[1]
    alone = policy.log_likelihood(batch_of(policy, prompt())).total
    policy.encoder.companions = frozenset(policy.encoder.family.media)
    batch = batch_of(policy, prompt())
    assert len(batch) == 1 and len(batch.prompt["input_ids"]) == 2
    together = policy.log_likelihood(batch).total
    assert torch.allclose(alone, together, atol=2e-5)
    together.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []
