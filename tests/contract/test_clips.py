"""Clips in families that read pictures too: equal numbers beside other prompts, order in time, clip beside picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from aa_lightning.media.video import Clip
from aa_lightning.models.families.table import FAMILIES
from aa_lightning.types import Prompt, Sampling, text
from tests.contract.support import MODELS, borrow, modality

WATCHING = [
    model for model in MODELS if modality(model) == "ti2t" and "video" in FAMILIES[model.removeprefix("tiny_")].media
]
ANSWERS = [[text("red")], [text("a blue circle")]]


def clip(seed: int, frames: int, backwards: bool = False) -> dict:
    levels = np.random.default_rng(seed).integers(0, 256, (frames, 48, 48, 3), dtype=np.uint8)
    return {"type": "video", "video": Clip(levels[::-1].copy() if backwards else levels, np.arange(frames) / 2.0)}


def picture(seed: int) -> dict:
    levels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return {"type": "image", "image": Image.fromarray(levels)}


def prompt(*media: dict) -> Prompt:
    return Prompt(id="asked", messages=[{"role": "user", "content": [*media, text("What is it?")]}])


def totals(policy, *prompts: Prompt) -> torch.Tensor:
    encoded = [policy.encoder.encode(asked, list(ANSWERS)) for asked in prompts]
    return policy.log_likelihood(policy.encoder.collate(encoded)).total


@pytest.fixture(params=WATCHING)
def policy(request):
    return borrow(request.param)[1]


def test_a_clip_played_backwards_moves_the_log_likelihood(policy):
    forwards, backwards = (totals(policy, prompt(clip(0, 4, turned))) for turned in (False, True))
    assert (forwards - backwards).abs().max() > 1e-3


def test_clips_of_different_lengths_pictures_and_text_give_the_numbers_of_each_alone(policy):
    prompts = [prompt(clip(0, 4)), prompt(picture(1)), prompt(), prompt(clip(2, 6))]
    if not policy.encoder.family.one_medium:
        prompts.append(prompt(picture(3), clip(4, 4)))
    for layout in ("never", "always"):
        policy.network.prefix_sharing = layout
        alone = torch.cat([totals(policy, asked) for asked in prompts])
        assert torch.allclose(totals(policy, *prompts), alone, atol=2e-5), layout


def test_a_picture_beside_a_clip_is_refused_where_the_processor_would_lose_one():
    _, policy, _ = borrow("tiny_smolvlm")
    with pytest.raises(ValueError, match="row asked holds image and video, and the processor of family smolvlm keeps"):
        policy.encoder.encode(prompt(picture(0), clip(1, 4)), [])


def test_rollouts_of_prompts_with_two_clips_are_reproduced(policy):
    prompts = [prompt(clip(0, 4), clip(1, 6)), prompt(clip(2, 4))]
    batch = policy.encoder.collate([policy.encoder.encode(asked, []) for asked in prompts])
    torch.manual_seed(0)
    rollout = policy.sample(batch, 2, Sampling(max_new_tokens=5))
    again = policy.action_logprobs(rollout)
    assert torch.allclose(again * rollout.mask, rollout.logprobs, atol=1e-4)
