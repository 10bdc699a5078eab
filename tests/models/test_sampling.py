"""Our own sampling loop against the library's `generate`, and what it keeps in memory."""

import pytest
import torch
import transformers as hf

from aa_lightning.models.token.sampling import choose
from aa_lightning.types import Sampling
from tests.contract.support import MODELS, batch_of, borrow, modality

GREEDY = Sampling(max_new_tokens=12, temperature=0.0)
WRITERS = [model for model in MODELS if modality(model) not in ("t2i", "t2a", "ti2ti")]


@pytest.mark.parametrize("model", WRITERS)
def test_the_likeliest_answers_to_a_batch_are_those_that_the_library_gives_each_prompt_alone(model):
    _, policy, cfg = borrow(model)
    asked = batch_of(cfg, policy, "prompt", slice(0, 4))
    found = policy.sample(asked, 2, GREEDY).batch.response
    assert torch.equal(found["input_ids"][:, 0], found["input_ids"][:, 1])
    for row in range(4):
        alone = batch_of(cfg, policy, "prompt", slice(row, row + 1))
        said = found["input_ids"][row, 0][found["mask"][row, 0].bool()]
        assert said.tolist() == generated(policy, alone).tolist()


@pytest.mark.parametrize("most", [1, 12])
def test_a_response_has_ended_if_it_says_its_end_within_the_limit(most):
    _, policy, cfg = borrow("tiny_qwen2")
    torch.manual_seed(0)
    asked = batch_of(cfg, policy, "prompt", slice(0, 4))
    drawn = policy.sample(asked, 16, Sampling(max_new_tokens=most, temperature=1.5))
    ids, said = drawn.batch.response["input_ids"], drawn.batch.response["mask"].bool()
    ends = (ids == policy.encoder.end) & said
    assert torch.equal(drawn.ended, ends.any(-1))
    assert 0 < drawn.ended.sum() < 64
    assert torch.equal(said.sum(-1) < most, drawn.ended & (said.sum(-1) < most))


def generated(policy, batch) -> torch.Tensor:
    """What the library writes, up to and including the end of the answer."""
    encoder = policy.encoder
    settings = hf.GenerationConfig(
        max_new_tokens=GREEDY.max_new_tokens,
        do_sample=False,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
        suppress_tokens=encoder.placeholders or None,
    )
    with torch.no_grad():
        tokens = policy.network.writer.generate(**batch.prompt, generation_config=settings)
    return tokens[0, batch.prompt["input_ids"].shape[1] :]


def test_banned_tokens_are_never_chosen_and_keep_their_share_or_give_it_to_the_others():
    """Logits log 1, log 2, log 5, the last one banned: 2 of 8, or 2 of 3."""
    logits, banned = torch.tensor([[1.0, 2.0, 5.0]]).log(), torch.tensor([False, False, True])
    for renormalise, share in ((False, 2 / 8), (True, 2 / 3)):
        token, logprob = choose(logits.clone(), banned, renormalise, temperature=0.0)
        assert token.tolist() == [1]
        assert logprob.exp().tolist() == pytest.approx([share])
    torch.manual_seed(0)
    drawn, _ = choose(logits.repeat(3000, 1), banned, True, temperature=0.5)
    assert drawn.bincount(minlength=3).tolist() == pytest.approx([600, 2400, 0], abs=90)  # 1² : 2²
