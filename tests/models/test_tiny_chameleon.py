"""Chameleon as a policy of texts with pictures: its decoder is brought, its logits of pictures are not hidden."""

import functools

import pytest
import torch

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options
from aa_lightning.assembly.options import options_of
from aa_lightning.models.image_tokens.load import image_decoder
from aa_lightning.models.load import load_encoder, load_policy
from aa_lightning.types import Sampling, text
from tests.contract.support import config, instantiate, make
from tests.models.drawn import asked, colours_that_survive, picture, wishing_for_a_picture


@functools.cache
def built():
    return make("tiny_chameleon", "dpo")[1].eval()


def test_colours_survive_being_made_tokens_and_pixels_again():
    assert colours_that_survive(built()) >= 38


def test_pictures_have_the_likelihood_that_the_library_hides():
    """The library's own forward gives every code of a picture the smallest number there is."""
    policy = built()
    encoded = policy.encoder.encode(asked(text("Draw.")), [[picture(0)]])
    batch = policy.prepare(policy.encoder.collate([encoded]))
    ours = policy.log_likelihood(batch).terms[0, 0]
    ids = torch.cat([batch.prompt["input_ids"][0], batch.response["input_ids"][0, 0]])[None]
    model = policy.network.model
    vars(model.model.vocabulary_mapping).pop("image_tokens", None)
    hidden = model(input_ids=ids).logits[0, -len(ours) - 1 : -1]
    assert (hidden.log_softmax(-1).gather(-1, ids[0, -len(ours) :, None])[1:10] < -1e30).all()
    assert (ours > -50).all()


def test_a_prompt_ends_where_its_template_ends():
    """The processor would add a separator behind it, and the answer would be read as a turn after the next."""
    policy = built()
    ids = policy.encoder.encode(asked(text("Draw.")), []).prompt["input_ids"][0]
    assert policy.encoder.tokenizer.sep_token_id not in ids
    assert policy.encoder.tokenizer.decode(ids).endswith("<|im_start|>assistant\n")


def test_a_template_that_was_given_is_kept_over_saving(tmp_path):
    given = tmp_path / "given.jinja"
    given.write_text(
        "{% for m in messages %}[{{ m['role'] }}]{% for p in m['content'] %}{{ p['text'] }}{% endfor %}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    _, policy, cfg = make("tiny_chameleon", "sft", f"model.chat_template={given}")
    policy.save(tmp_path / "saved")
    cfg.model.path, cfg.model.chat_template, cfg.model.reference = str(tmp_path / "saved"), None, "none"
    options, limits = options_of(cfg, "model"), policy.encoder.limits
    again = load_policy(options, limits, reference=False).eval()
    assert again.encoder.render(asked(text("Draw.")).messages) == "[user]Draw.<|im_end|>[assistant]"
    pair = [policy.encoder.encode(asked(text("Draw.")), [[picture(1)], [picture(2)]])]
    before, after = (one.log_likelihood(one.prepare(one.encoder.collate(pair))) for one in (policy.eval(), again))
    assert torch.equal(before.terms, after.terms)


def test_turns_of_a_checkpoint_without_a_template_end_in_the_separator():
    policy, cfg = built(), config("tiny_chameleon", "dpo")
    processor = policy.encoder.processor
    kept = processor.chat_template
    processor.chat_template = policy.encoder.family.template
    encoder = type(policy.encoder)(processor, policy.encoder.family, policy.encoder.spelling)
    said = encoder.render(asked({"type": "image", "image": None}, text("What is it?")).messages)
    processor.chat_template = kept
    assert said == "<image>What is it?<reserved08706>"
    assert (encoder.opening, encoder.end) == ("", encoder.tokenizer.sep_token_id)
    assert load_encoder(options_of(cfg, "model"), policy.encoder.limits).opening == policy.encoder.opening


def test_drawing_without_a_decoder_is_refused_with_what_to_bring():
    cfg = config("tiny_chameleon", "sft", "model.image_decoder=null")
    algorithm, data = instantiate(cfg.algo, _convert_="all"), data_options(cfg)
    with pytest.raises(
        ValueError, match=r"type\s+model\.image_decoder=<package>\.<module>\.<Class>; or type evaluation"
    ):
        check_compatible(cfg, algorithm, data)
    cfg.evaluation.num_generations = 0
    check_compatible(cfg, algorithm, data)
    policy = load_policy(options_of(cfg, "model"), built().encoder.limits, reference=False).eval()
    prompts = policy.encoder.collate([policy.encoder.encode(asked(text("Draw.")), [])])
    tokens = policy.sample(prompts, 8, Sampling(max_new_tokens=8)).batch.response["input_ids"]
    assert not policy.pictures.draws and policy.pictures.spelling.begin not in tokens


def test_a_decoder_that_cannot_be_one_is_refused_by_name():
    vq = built().pictures.vq
    with pytest.raises(ValueError, match="made_up.Decoder cannot be imported"):
        image_decoder("made_up.Decoder", vq)
    with pytest.raises(ValueError, match="is a function, and the option takes a class of torch modules"):
        image_decoder("aa_lightning.models.tiny.chameleon_vq.fitted", vq)


def test_a_decoder_of_a_module_that_python_finds_draws_the_pictures(tmp_path, monkeypatch):
    """Its pictures are of one grey, whatever the codes are."""
    (tmp_path / "my_decoders.py").write_text(
        "import torch\n\n\nclass Grey(torch.nn.Module):\n"
        "    def __init__(self, vqmodel):\n        super().__init__()\n\n"
        "    def forward(self, codes):\n        return torch.zeros(1, 3, 8 * codes.shape[1], 8 * codes.shape[2])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    policy = make("tiny_chameleon", "sft", "model.image_decoder=my_decoders.Grey")[1].eval()
    assert policy.pictures.draws
    pixels = policy.pictures.pixels(policy.pictures.tokens(policy.encoder.pixels(picture(0)["image"])), 3, 3)
    assert policy.encoder.picture(pixels).getextrema() == ((128, 128),) * 3


def test_drawn_pictures_are_whole_and_their_probabilities_are_those_of_the_grammar():
    """Ten choices: the opening and nine codes. The closing of the picture is none."""
    policy = built()
    torch.manual_seed(0)
    prompts = policy.encoder.collate([policy.encoder.encode(asked(picture(3), text("Draw.")), [])])
    with wishing_for_a_picture(policy):
        rollout = policy.sample(prompts, 2, Sampling(max_new_tokens=11))
        again = policy.action_logprobs(rollout)
    (responses,) = rollout.responses
    assert [[part["image"].size for part in response] for response in responses] == [[(24, 24)], [(24, 24)]]
    assert (rollout.mask.sum(-1) == 10).all()
    assert torch.allclose(again * rollout.mask, rollout.logprobs, atol=1e-5)
