"""Emu3 as a policy of texts with pictures: pictures as tokens, drawing under the grammar, and back to pixels."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from aa_lightning.data.shapes import Shapes, check_picture
from aa_lightning.models.token.encoder import Limits, TooLong
from aa_lightning.types import Prompt, Sampling, text
from tests.contract.support import make

HELD_OUT = Shapes(modality="t2i", split="val", size=40, image_size=24, max_shapes=1, kinds=["colour"])


@functools.cache
def built():
    return make("tiny_emu3", "dpo")[1].eval()


def image(picture: Image.Image) -> dict:
    return {"type": "image", "image": picture}


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def asked(*parts, name: str = "asked") -> Prompt:
    return Prompt(id=name, messages=[{"role": "user", "content": list(parts)}])


def batch(policy, *pairs):
    return policy.prepare(policy.encoder.collate([policy.encoder.encode(prompt, said) for prompt, said in pairs]))


def test_colours_survive_being_made_tokens_and_pixels_again():
    policy = built()
    right = 0
    for index in range(40):
        row = HELD_OUT[index]
        tokens = policy.pictures.tokens(policy.encoder.pixels(row["chosen"]()))
        again = policy.encoder.picture(policy.pictures.pixels(tokens, 3, 3))
        right += check_picture(row["answer"].split()[1], again)
    assert right >= 38


def test_pictures_of_other_sizes_beside_it_leave_a_row_as_it_is():
    policy = built()
    rows = [
        (asked(image(noise(24, 24)), text("Draw.")), [[text("This"), image(noise(24, 32, 1))], [text("one")]]),
        (asked(image(noise(48, 24, 2)), text("Draw this.")), [[image(noise(40, 40, 3))], [image(noise(24, 24, 4))]]),
    ]
    together = policy.log_likelihood(batch(policy, *rows))
    for index, row in enumerate(rows):
        alone = policy.log_likelihood(batch(policy, row))
        assert torch.equal(together.size[index], alone.size[0])
        assert torch.allclose(together.total[index], alone.total[0], atol=1e-4)


def test_training_mode_changes_no_picture_token():
    policy = built()
    pixels = policy.encoder.pixels(noise(24, 24, 5))
    before = policy.pictures.tokens(pixels)
    policy.pictures._known.clear()
    after = policy.train().pictures.tokens(pixels)
    policy.eval()
    assert torch.equal(before, after)
    assert not any(parameter.requires_grad for parameter in policy.pictures.vq.parameters())
    assert not any("vqmodel" in name for name in policy.state_dict())


def test_pixels_that_were_not_prepared_are_refused():
    policy = built()
    raw = policy.encoder.collate([policy.encoder.encode(asked(text("Draw.")), [[image(noise(24, 24))]])])
    with pytest.raises(ValueError, match=r"policy\.prepare\(batch\) first"):
        policy.log_likelihood(raw)


def test_a_response_is_cut_before_a_picture_and_never_inside_it():
    policy = built()
    said = [text("This is"), image(noise(24, 24))]
    encoder = type(policy.encoder)(policy.encoder.processor, policy.encoder.family, policy.encoder.spelling)
    encoder.limits = Limits(response=10, overlong="truncate")
    encoded = encoder.encode(asked(text("Draw.")), [said])
    assert len(encoded.responses[0]) == 2 and encoded.pictures == [[]]
    encoder.limits = Limits(response=10)
    with pytest.raises(TooLong, match="loader.max_response_tokens=22"):
        encoder.encode(asked(text("Draw.")), [said])


def drawing(policy):
    """The policy with a strong wish to begin a picture at once and to end behind it."""
    head = policy.network.model.get_output_embeddings()
    wish = torch.zeros(head.out_features)
    wish[policy.pictures.spelling.begin], wish[policy.encoder.end] = 30.0, 25.0
    return head.register_forward_hook(lambda module, given, logits: logits + wish)


def test_drawn_pictures_are_whole_and_their_probabilities_are_those_of_the_grammar():
    """Eleven choices: the opening, nine codes, the end. The size (4 tokens), row ends (3) and the closing (2) are none."""
    policy = built()
    hook = drawing(policy)
    torch.manual_seed(0)
    prompts = policy.encoder.collate([policy.encoder.encode(asked(text("Draw.")), []) for _ in range(2)])
    rollout = policy.sample(prompts, 2, Sampling(max_new_tokens=20, temperature=0.7))
    again = policy.action_logprobs(rollout)
    hook.remove()
    for row in rollout.responses:
        for response in row:
            assert [part["type"] for part in response] == ["image"]
            assert response[0]["image"].size == (24, 24)
    assert (rollout.mask.sum(-1) == 11).all()
    assert torch.allclose(again * rollout.mask, rollout.logprobs, atol=1e-5)
    drawn = rollout.batch.response["input_ids"][0, 0, :20]
    codes = set(policy.pictures.spelling.codes.tolist())
    assert sum(token in codes for token in drawn.tolist()) == 9


def test_the_likelihood_of_drawn_tokens_is_below_that_under_the_grammar():
    """Over all tokens, the mass on forbidden ones is missing from every term."""
    policy = built()
    hook = drawing(policy)
    prompts = policy.encoder.collate([policy.encoder.encode(asked(text("Draw.")), [])])
    rollout = policy.sample(prompts, 2, Sampling(max_new_tokens=20))
    whole = policy.log_likelihood(rollout.batch)
    hook.remove()
    assert torch.all(whole.terms * rollout.mask <= rollout.logprobs + 1e-5)
    assert torch.all(whole.total < rollout.logprobs.sum(-1))


def test_a_decoder_beside_the_familys_own_is_refused():
    with pytest.raises(ValueError, match="family emu3 bring a decoder of their own"):
        make("tiny_emu3", "sft", "model.image_decoder=aa_lightning.models.tiny.chameleon_vq.Painter")
