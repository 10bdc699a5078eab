"""Janus as a policy of texts with pictures: read through a tower, written as codes with a head of their own."""

import functools

import pytest
import torch
import transformers

from aa_lightning.types import Sampling, text
from tests.contract.support import make
from tests.models.drawn import asked, colours_that_survive, picture, wishing_for_a_picture


@functools.cache
def built():
    return make("tiny_janus", "dpo")[1].eval()


def batch(policy, *responses):
    encoded = policy.encoder.encode(asked(picture(0), text("Draw this.")), list(responses))
    return policy.prepare(policy.encoder.collate([encoded]))


def is_code(policy, batch) -> torch.Tensor:
    return batch.response["input_ids"] >= policy.network.words


def test_colours_survive_being_made_tokens_and_pixels_again():
    assert colours_that_survive(built()) >= 38


def test_pictures_of_prompts_stay_pixels_and_those_of_responses_become_codes():
    policy = built()
    prepared = batch(policy, [picture(1)], [text("one"), picture(2)])
    assert prepared.prompt["pixel_values"].shape == (1, 3, 24, 24) and prepared.blocks == {"pixel_values": [1]}
    assert is_code(policy, prepared).sum((0, 2)).tolist() == [9, 9]
    assert policy.prepare(prepared).response["input_ids"].equal(prepared.response["input_ids"])


def test_words_share_one_unit_of_probability_and_codes_another():
    """The chance that two draws agree, 1/n for n equal logits: 64 codes in a picture, all words outside of it."""
    policy = make("tiny_janus", "sft")[1].eval()
    for name, parameter in policy.network.model.named_parameters():
        if "generation_head.vision_head" in name or name == "model.language_model.norm.weight":
            torch.nn.init.zeros_(parameter)
    prepared = batch(policy, [text("one"), picture(2)])
    found = policy.log_likelihood(prepared, statistic="collision")
    codes, counted = is_code(policy, prepared)[0, 0], prepared.response["mask"][0, 0].bool()
    assert torch.allclose(found.terms[0, 0][codes], torch.tensor(64.0).log().neg())
    assert torch.allclose(found.statistic[0, 0][codes], torch.tensor(64.0).log().neg())
    words = torch.tensor(float(policy.network.words)).log().neg()
    assert torch.allclose(found.terms[0, 0][counted & ~codes], words)
    assert torch.allclose(found.statistic[0, 0][counted & ~codes], words)


def test_the_likeliest_token_is_a_code_in_pictures_and_a_word_in_texts():
    policy = built()
    prepared = batch(policy, [text("one"), picture(2)])
    counted = prepared.response["mask"].bool()
    likeliest = policy.log_likelihood(prepared, statistic="argmax").statistic
    assert torch.equal((likeliest >= policy.network.words)[counted], is_code(policy, prepared)[counted])
    assert (policy.log_likelihood(prepared, statistic="divergence").statistic[counted].abs() < 1e-5).all()


def test_words_in_the_places_of_a_picture_are_refused():
    policy = built()
    prepared = batch(policy, [text("one"), picture(2)])
    other = torch.zeros_like(prepared.response["input_ids"])
    with pytest.raises(ValueError, match="its images stand elsewhere"):
        policy.log_likelihood(prepared, tokens=other)


def test_an_answer_without_a_picture_leaves_no_parameter_without_a_gradient():
    policy = make("tiny_janus", "sft")[1]
    policy.log_likelihood(batch(policy, [text("one")])).total.sum().backward()
    gradients = {name: p.grad for name, p in policy.named_parameters() if p.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(not gradient.any() for name, gradient in gradients.items() if "generation" in name)


def test_another_size_of_pictures_is_refused():
    with pytest.raises(ValueError, match="draws images of 24 × 24 pixels only. Type model.image_size=null"):
        make("tiny_janus", "sft", "model.image_size=32")
    assert make("tiny_janus", "sft", "model.image_size=24")[1].network.grammar.size == (3, 3)


def test_drawn_pictures_are_whole_and_their_probabilities_are_those_of_the_head_of_codes():
    """Ten choices: the opening and nine codes. At the codes, the grammar forbids nothing that the model allows."""
    policy = built()
    torch.manual_seed(0)
    prompts = policy.encoder.collate([policy.encoder.encode(asked(picture(3), text("Draw.")), []) for _ in range(2)])
    with wishing_for_a_picture(policy):
        rollout = policy.sample(prompts, 2, Sampling(max_new_tokens=11))
        again, whole = policy.action_logprobs(rollout), policy.log_likelihood(rollout.batch).terms
    for row in rollout.responses:
        assert [[part["image"].size for part in response] for response in row] == [[(24, 24)], [(24, 24)]]
    assert (rollout.mask.sum(-1) == 10).all()
    assert torch.allclose(again * rollout.mask, rollout.logprobs, atol=1e-5)
    codes = is_code(policy, rollout.batch)
    assert torch.allclose(whole[codes], rollout.logprobs[codes], atol=1e-5)
    assert len(set(rollout.batch.response["input_ids"][codes].tolist())) > 9


def test_an_export_is_whole_for_the_library(tmp_path):
    policy = built()
    policy.save(tmp_path)
    theirs = transformers.JanusForConditionalGeneration.from_pretrained(tmp_path)
    pixels = policy.encoder.pixels(picture(4)["image"])
    codes = theirs.model.vqmodel.encode(pixels[None]).image_tokens
    assert torch.equal(codes.flatten() + policy.network.words, policy.pictures.tokens(pixels))
    drawn = theirs.decode_image_tokens(codes.view(1, -1)).permute(0, 3, 1, 2)[0]
    assert torch.allclose(drawn, policy.pictures.pixels(policy.pictures.tokens(pixels), 3, 3), atol=1e-5)


def test_a_reward_model_trains_no_head_of_codes():
    scorer = make("tiny_janus", "reward_model")[1]
    pair = scorer.encoder.encode(asked(picture(0), text("Draw this.")), [[picture(1)], [picture(2)]])
    rewards = scorer.score(scorer.prepare(scorer.encoder.collate([pair])))
    assert rewards.shape == (1, 2) and rewards[0, 0] != rewards[0, 1]
    rewards.sum().backward()
    assert [name for name, p in scorer.named_parameters() if p.requires_grad and p.grad is None] == []
