"""Models that answer with speech: one exact likelihood of text and codec tokens, as the library itself speaks."""

from dataclasses import replace

import pytest
import torch
import transformers as hf

from aa_lightning.media.audio import Sound
from aa_lightning.models.speech_writer import function
from aa_lightning.models.tiny import codec
from aa_lightning.types import Prompt, text
from tests.contract.support import batch_of, borrow, make

MODEL = "tiny_qwen2_5_omni_speech"


def tones(*codes: int) -> dict:
    return {"type": "audio", "audio": codec.decode(list(codes))}


def encode(policy, *response):
    asked = Prompt(id="asked", messages=[{"role": "user", "content": [text("Play a low tone.")]}])
    return policy.encoder.collate([policy.encoder.encode(asked, [list(response)])])


def spoken_by_the_library(model, policy, batch, monkeypatch) -> list:
    """(codec tokens, logits) of each row, drawn greedily."""
    found, own = [], model.talker.generate

    def generate(**given):
        drawn = own(**given, output_logits=True, return_dict_in_generate=True)
        new = drawn.sequences[:, -len(drawn.logits) :]
        found.extend(zip(new, torch.stack(drawn.logits, 1), strict=True))
        return drawn.sequences

    monkeypatch.setattr(model.talker, "generate", generate)
    model.generate(
        **batch.prompt,
        thinker_max_new_tokens=12,
        thinker_do_sample=False,
        thinker_eos_token_id=policy.encoder.end,
        thinker_suppress_tokens=policy.encoder.placeholders,
        talker_max_new_tokens=24,
        talker_do_sample=False,
        talker_repetition_penalty=1.0,
        talker_eos_token_id=[model.talker.codec_eos_token],
        token2wav_num_steps=1,
    )
    return found


def test_the_log_probabilities_of_speech_are_those_of_the_library(monkeypatch):
    """The texts are those that both draw greedily; the library's codec tokens are read by us.

    The prompts have different lengths: without padding the library drops the mask, and with it what starts a speech.
    """
    _, policy, cfg = borrow(MODEL)
    batch, first = batch_of(cfg, policy, "prompt", slice(4, 7)), policy.network.first_code
    assert not batch.prompt["attention_mask"].all()
    monkeypatch.setattr(policy, "longest", 1)
    texts = policy.sample(batch, 1, max_new_tokens=12, temperature=0.0).batch.response["input_ids"]
    monkeypatch.setattr(policy.network.model.token2wav, "forward", lambda codes, **given: torch.zeros(8))
    theirs = spoken_by_the_library(policy.network.model, policy, batch, monkeypatch)
    assert len(theirs) == 3
    codes = torch.stack([codes for codes, _ in theirs])[:, None]
    ids = torch.cat([texts[texts < first].view(3, 1, -1), codes + first], -1)
    terms = policy.log_likelihood(replace(batch, response={"input_ids": ids, "mask": torch.ones(ids.shape)})).terms
    for row, (own, logits) in enumerate(theirs):
        expected = logits.log_softmax(-1).gather(-1, own[:, None])[:, 0]
        assert torch.allclose(terms[row, 0, -24:], expected, atol=1e-5)


def test_the_likelihood_of_a_spoken_answer_is_that_of_its_text_and_of_its_codec_tokens():
    _, policy, _ = make(MODEL, "sft")
    silent = policy.log_likelihood(encode(policy, text("A low tone.")))
    spoken = policy.log_likelihood(encode(policy, text("A low tone."), tones(5, 5, 0)))
    assert spoken.size.item() == silent.size.item() + 4  # three tokens and the end of the speech
    written = int(silent.size)
    assert torch.allclose(spoken.terms[0, 0, :written], silent.terms[0, 0], atol=1e-5)
    model = policy.network.model
    with torch.no_grad():
        model.talker.codec_head.weight.mul_(0)
    flat = policy.log_likelihood(encode(policy, text("A low tone."), tones(5, 5, 0)))
    assert torch.allclose(flat.terms[0, 0, written:], torch.full((4,), -torch.tensor(38.0).log()))  # of 38 codec tokens


def test_thinker_and_talker_get_gradients_and_what_turns_tokens_into_sound_gets_none():
    _, policy, _ = make(MODEL, "sft")
    policy.log_likelihood(encode(policy, text("A low tone."), tones(5, 5, 0))).total.sum().backward()
    got = {name.removeprefix("network.model.") for name, p in policy.named_parameters() if p.grad is not None}
    assert {"talker.codec_head.weight", "talker.model.embed_tokens.weight", "thinker.lm_head.weight"} <= got
    assert not any(name.startswith("token2wav") for name in got)
    assert not any(p.requires_grad for p in policy.network.model.token2wav.parameters())


def test_a_companion_changes_no_number_and_gives_every_trained_parameter_a_gradient():
    _, policy, _ = make(MODEL, "sft")
    alone = policy.log_likelihood(encode(policy, text("A low tone."), tones(5, 0))).total
    policy.encoder.companions = frozenset()
    batch = encode(policy, text("A low tone."), tones(5, 0))
    assert len(batch) == 1 and len(batch.prompt["input_ids"]) == 2
    together = policy.log_likelihood(batch).total
    assert torch.allclose(alone, together, atol=2e-5)
    together.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []


def test_what_is_saved_speaks_in_the_library_alone(tmp_path):
    _, policy, _ = make(MODEL, "sft")
    with torch.no_grad():
        policy.network.model.talker.codec_head.weight.add_(0.1)
    policy.save(tmp_path)
    theirs = hf.AutoModelForMultimodalLM.from_pretrained(tmp_path)
    assert type(theirs) is hf.Qwen2_5OmniForConditionalGeneration
    own = policy.network.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in theirs.state_dict().items())
    assert list(theirs.speaker_map) == ["Chelsie"]
    assert type(hf.AutoProcessor.from_pretrained(tmp_path)) is hf.Qwen2_5OmniProcessor


def test_without_a_decoder_of_the_user_the_checkpoint_makes_the_sound(monkeypatch):
    _, policy, _ = borrow(MODEL)
    monkeypatch.setattr(policy, "decoder", None)
    heard = policy.decode(
        torch.tensor([5, 7, policy.encoder.end, *(policy.network.first_code + c for c in (3, 3, 9, 35))])
    )
    (_, part) = heard
    assert part["audio"].rate == 24_000
    assert len(part["audio"].samples) > 0 and part["audio"].samples.dtype == "float32"


def test_responses_that_cannot_be_learned_are_refused_by_what_to_type(monkeypatch):
    _, policy, _ = borrow(MODEL)
    with pytest.raises(ValueError, match="at most one audio part behind them"):
        encode(policy, tones(3), text("A low tone."))
    monkeypatch.setattr(policy.encoder, "codec", lambda sound: [3, 99])
    with pytest.raises(ValueError, match="codec tokens from 3 to 99, and this model's lie between 0 and 34"):
        encode(policy, text("A low tone."), tones(3))
    monkeypatch.setattr(policy.encoder, "codec", None)
    with pytest.raises(ValueError, match="type model.speech.encoder="):
        encode(policy, text("A low tone."), tones(3))


def test_a_function_that_cannot_be_imported_is_refused_by_name():
    assert function("encoder", "aa_lightning.models.tiny.codec.encode") is codec.encode
    assert function("encoder", None) is None
    with pytest.raises(ValueError, match=r"type model\.speech\.encoder=<package>\.<module>\.<name>"):
        function("encoder", "nowhere.encode")
    with pytest.raises(ValueError, match=r"speech\.decoder=aa\S+RATE is a int, and the option takes a function"):
        function("decoder", "aa_lightning.models.tiny.codec.RATE")


def test_codec_tokens_of_what_they_sound_like_are_themselves():
    codes = [0, *range(1, codec.CODES), 5, 5, 5, 0, 0, 33]
    assert codec.encode(codec.decode(codes)) == codes
    empty = codec.decode([])
    assert isinstance(empty, Sound) and len(empty.samples) == 0
