"""Models that answer with speech: one exact likelihood of text and codec tokens, as the library itself speaks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip
from aa_lightning.models.speech.load import function
from aa_lightning.models.speech.talker import chosen_voice
from aa_lightning.models.tiny import codec
from aa_lightning.types import Prompt, Sampling, text
from tests.contract.support import batch_of, borrow, make

MODEL, EXPERTS = "tiny_qwen2_5_omni_speech", "tiny_qwen3_omni_speech"
TALKERS = [MODEL, EXPERTS]
BOTH = pytest.mark.parametrize("model", TALKERS)
STEPS = {MODEL: [5, 5, 0], EXPERTS: [[1, 2, 0], [1, 2, 0], [0, 0, 0]]}  # two low tones and silence


def tones(steps: list) -> dict:
    single = isinstance(steps[0], int)
    return {"type": "audio", "audio": codec.decode(steps) if single else codec.decode_steps(steps)}


def encode(policy, *response):
    asked = Prompt(id="asked", messages=[{"role": "user", "content": [text("Play a low tone.")]}])
    return policy.encoder.collate([policy.encoder.encode(asked, [list(response)])])


def generate_greedily(model, policy, batch, **of_this_class):
    """What the library says and speaks."""
    return model.generate(
        **batch.prompt,
        thinker_max_new_tokens=12,
        thinker_do_sample=False,
        thinker_eos_token_id=policy.encoder.end,
        thinker_suppress_tokens=policy.encoder.placeholders,
        talker_do_sample=False,
        talker_repetition_penalty=1.0,
        **of_this_class,
    )


def spoken_by_the_library(model, policy, batch, monkeypatch) -> list:
    """(codec tokens, logits) of each row, drawn greedily."""
    found, own = [], model.talker.generate

    def generate(**given):
        drawn = own(**given, output_logits=True, return_dict_in_generate=True)
        new = drawn.sequences[:, -len(drawn.logits) :]
        found.extend(zip(new, torch.stack(drawn.logits, 1), strict=True))
        return drawn.sequences

    monkeypatch.setattr(model.talker, "generate", generate)
    end = [model.talker.codec_eos_token]
    generate_greedily(model, policy, batch, talker_max_new_tokens=24, talker_eos_token_id=end, token2wav_num_steps=1)
    return found


def test_the_log_probabilities_of_speech_are_those_of_the_library(monkeypatch):
    """The texts are those that both draw greedily; the library's codec tokens are read by us.

    The prompts have different lengths: without padding the library drops the mask, and with it what starts a speech.
    """
    _, policy, cfg = borrow(MODEL)
    batch, first = batch_of(cfg, policy, "prompt", slice(4, 7)), policy.network.first_code
    assert not batch.prompt["attention_mask"].all()
    monkeypatch.setattr(policy, "longest", 1)
    texts = policy.sample(batch, 1, Sampling(max_new_tokens=12, temperature=0.0)).batch.response["input_ids"]
    monkeypatch.setattr(policy.network.model.token2wav, "forward", lambda codes, **given: torch.zeros(8))
    theirs = spoken_by_the_library(policy.network.model, policy, batch, monkeypatch)
    assert len(theirs) == 3
    codes = torch.stack([codes for codes, _ in theirs])[:, None]
    ids = torch.cat([texts[texts < first].view(3, 1, -1), codes + first], -1)
    terms = policy.log_likelihood(replace(batch, response={"input_ids": ids, "mask": torch.ones(ids.shape)})).terms
    for row, (own, logits) in enumerate(theirs):
        expected = logits.log_softmax(-1).gather(-1, own[:, None])[:, 0]
        assert torch.allclose(terms[row, 0, -24:], expected, atol=1e-5)


def steps_of_the_library(model, policy, batch, monkeypatch) -> tuple[torch.Tensor, torch.Tensor]:
    """(S, G) codec tokens of one row, drawn greedily, and their log-probabilities."""
    logprobs, own_talker, own_inside = [], model.talker.generate, model.talker.code_predictor.generate
    kept = {}

    def read(drawn) -> torch.Tensor:
        logits = torch.stack(drawn.logits, 1)[0].log_softmax(-1)
        return logits.gather(-1, drawn.sequences[0, -len(logits) :, None])[:, 0]

    def generate(**given):
        kept["drawn"] = own_talker(**given, output_logits=True)
        return kept["drawn"]

    def generate_inside(**given):
        drawn = own_inside(**given, output_logits=True)
        logprobs.append(read(drawn))
        return drawn

    # without it the library (5.23) fails where a prompt has a sound
    monkeypatch.setattr(model.talker.config, "audio_config", model.thinker.config.audio_config, raising=False)
    monkeypatch.setattr(model.talker, "generate", generate)
    monkeypatch.setattr(model.talker.code_predictor, "generate", generate_inside)
    generate_greedily(model, policy, batch, talker_max_new_tokens=12, speaker="Ethan")
    steps = [hidden[-1] for hidden in kept["drawn"].hidden_states if hidden[-1] is not None]
    inside = torch.stack(logprobs)
    return torch.cat(steps), torch.cat([read(kept["drawn"])[: len(inside), None], inside], 1)


PICTURE = {"type": "image", "image": Image.new("RGB", (48, 48), "red")}
HUM = {"type": "audio", "audio": codec.decode([9] * 16)}
FRAMES = np.stack([np.full((48, 48, 3), 60 * i, np.uint8) for i in range(4)])
CLIP = {"type": "video", "video": Clip(FRAMES, np.arange(4) / 2)}
TALKS = {
    "words": [("user", [text("Play a low tone.")])],
    "three turns": [
        ("system", [text("You play.")]),
        ("user", [text("Play a low tone.")]),
        ("assistant", [text("A low tone.")]),
        ("user", [text("Higher.")]),
    ],
    "media": [("system", [text("You play.")]), ("user", [PICTURE, HUM, CLIP, text("Play what you see.")])],
    "media before": [
        ("user", [PICTURE, text("Which colour?")]),
        ("assistant", [text("Red.")]),
        ("user", [HUM, text("Play it.")]),
    ],
}


@pytest.mark.parametrize("talk", TALKS)
def test_every_code_of_a_step_has_the_probability_that_the_library_gives_it(talk, monkeypatch):
    _, policy, _ = borrow(EXPERTS)
    messages = [{"role": role, "content": parts} for role, parts in TALKS[talk]]
    asked = Prompt(id="asked", messages=messages)
    batch = policy.encoder.collate([policy.encoder.encode(asked, [[text("")]])])
    monkeypatch.setattr(policy, "longest", 1)
    drawn = policy.sample(batch, 1, Sampling(max_new_tokens=12, temperature=0.0)).batch.response["input_ids"][0, 0]
    codes, expected = steps_of_the_library(policy.network.model, policy, batch, monkeypatch)
    assert codes.shape == (11, 3)
    ids = torch.cat([drawn[drawn < policy.network.first_code], codes.flatten() + policy.network.first_code])[None, None]
    terms = policy.log_likelihood(replace(batch, response={"input_ids": ids, "mask": torch.ones(ids.shape)})).terms
    assert torch.allclose(terms[0, 0, -33:], expected.flatten(), atol=2e-5)


@BOTH
def test_the_likelihood_of_a_spoken_answer_is_that_of_its_text_and_of_its_codec_tokens(model):
    _, policy, _ = make(model, "sft")
    silent = policy.log_likelihood(encode(policy, text("A low tone.")))
    spoken = policy.log_likelihood(encode(policy, text("A low tone."), tones(STEPS[model])))
    heads = [head.weight for head in policy.network.talker.heads]
    assert spoken.size.item() == silent.size.item() + 3 * len(heads) + 1  # three steps and the end of the speech
    written = int(silent.size)
    assert torch.allclose(spoken.terms[0, 0, :written], silent.terms[0, 0], atol=1e-5)
    with torch.no_grad():
        for weight in heads:
            weight.mul_(0)
    flat = policy.log_likelihood(encode(policy, text("A low tone."), tones(STEPS[model]))).terms[0, 0, written:]
    among = torch.tensor([float(len(weight)) for weight in [*heads * 3, heads[0]]])
    assert torch.allclose(flat, -among.log())


@BOTH
def test_rows_of_several_lengths_are_read_as_each_alone(model):
    """Texts of two lengths, speeches of two lengths, none at all, and one cut off inside a step."""
    _, policy, _ = make(model, "sft")
    steps = STEPS[model]
    said = [[text("A low tone."), tones(steps)], [text("It is a very low tone."), tones(steps[:1])], [text("Low.")]]
    asked = Prompt(id="asked", messages=[{"role": "user", "content": [text("Play a low tone.")]}])
    longer = Prompt(id="longer", messages=[{"role": "user", "content": [text("Please play a tone that is low.")]}])
    rows = [policy.encoder.encode(prompt, said) for prompt in (asked, longer)]
    rows[0].responses[0] = rows[0].responses[0][:-2]
    together = policy.log_likelihood(policy.encoder.collate(rows)).total
    for p, row in enumerate(rows):
        for k, response in enumerate(row.responses):
            alone = policy.log_likelihood(policy.encoder.collate([replace(row, responses=[response])])).total
            assert torch.allclose(together[p, k], alone[0, 0], atol=1e-4)


@BOTH
def test_thinker_and_talker_get_gradients_and_what_turns_tokens_into_sound_gets_none(model):
    _, policy, _ = make(model, "sft")
    policy.log_likelihood(encode(policy, text("A low tone."), tones(STEPS[model]))).total.sum().backward()
    got = {name.removeprefix("network.model.") for name, p in policy.named_parameters() if p.grad is not None}
    assert {
        "talker.codec_head.weight",
        "talker.model.layers.0.self_attn.q_proj.weight",
        "thinker.lm_head.weight",
    } <= got
    decoding = [(n, p) for n, p in policy.network.model.named_parameters() if n.startswith(("token2wav", "code2wav"))]
    assert decoding and not any(p.requires_grad or n in got for n, p in decoding)


@BOTH
@pytest.mark.parametrize("speaks", [True, False])
def test_a_companion_changes_no_number_and_gives_every_trained_parameter_a_gradient(model, speaks):
    _, policy, _ = make(model, "sft")
    response = [text("A low tone."), *([tones(STEPS[model])] if speaks else [])]
    alone = policy.log_likelihood(encode(policy, *response)).total
    policy.encoder.companions = frozenset()
    batch = encode(policy, *response)
    assert len(batch) == 1 and len(batch.prompt["input_ids"]) == 2
    together = policy.log_likelihood(batch).total
    assert torch.allclose(alone, together, atol=2e-5)
    together.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@BOTH
def test_what_is_drawn_has_the_probability_with_which_it_was_drawn(model, temperature, monkeypatch):
    _, policy, cfg = borrow(model)
    monkeypatch.setattr(policy, "longest", 5)
    torch.manual_seed(0)
    rollout = policy.sample(
        batch_of(cfg, policy, "prompt", slice(4, 7)), 2, Sampling(max_new_tokens=8, temperature=temperature)
    )
    spoken = (rollout.batch.response["input_ids"] >= policy.network.first_code) & rollout.mask.bool()
    assert spoken.any(-1).all()
    assert torch.allclose(policy.action_logprobs(rollout), rollout.logprobs, atol=1e-4)


CLASSES = {
    MODEL: (hf.Qwen2_5OmniForConditionalGeneration, hf.Qwen2_5OmniProcessor, ["Chelsie"]),
    EXPERTS: (hf.Qwen3OmniMoeForConditionalGeneration, hf.Qwen3OmniMoeProcessor, ["ethan"]),
}


@BOTH
def test_what_is_saved_speaks_in_the_library_alone(model, tmp_path):
    _, policy, _ = make(model, "sft")
    with torch.no_grad():
        policy.network.model.talker.codec_head.weight.add_(0.1)
    policy.save(tmp_path)
    theirs = hf.AutoModelForMultimodalLM.from_pretrained(tmp_path)
    whole, reads, voices = CLASSES[model]
    assert type(theirs) is whole
    own = policy.network.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in theirs.state_dict().items())
    assert list(type(policy.network.talker)(theirs, None).voices()) == voices
    assert type(hf.AutoProcessor.from_pretrained(tmp_path)) is reads


@BOTH
def test_without_a_decoder_of_the_user_the_checkpoint_makes_the_sound(model, monkeypatch):
    _, policy, _ = borrow(model)
    monkeypatch.setattr(policy, "decoder", None)
    codes = policy.encoder.encode(
        Prompt(id="asked", messages=[{"role": "user", "content": [text("Play.")]}]),
        [[text("Low."), tones(STEPS[model])]],
    ).responses[0]
    (_, part) = policy.decode(codes)
    assert part["audio"].rate == 24_000
    assert len(part["audio"].samples) > 0 and part["audio"].samples.dtype == "float32"


def test_responses_that_cannot_be_learned_are_refused_by_what_to_type(monkeypatch):
    _, policy, _ = borrow(MODEL)
    with pytest.raises(ValueError, match="at most one audio part behind them"):
        encode(policy, tones([3]), text("A low tone."))
    monkeypatch.setattr(policy.encoder, "codec", lambda sound: [3, 99])
    with pytest.raises(ValueError, match="codec tokens from 3 to 99, and this model's lie between 0 and 33"):
        encode(policy, text("A low tone."), tones([3]))
    monkeypatch.setattr(policy.encoder, "codec", None)
    with pytest.raises(ValueError, match="type model.speech.encoder="):
        encode(policy, text("A low tone."), tones([3]))


def test_steps_that_are_not_those_of_the_checkpoint_are_refused(monkeypatch):
    _, policy, _ = borrow(EXPERTS)
    monkeypatch.setattr(policy.encoder, "codec", codec.encode)
    with pytest.raises(ValueError, match="gave steps of 1 codec tokens, and this model speaks in steps of 3"):
        encode(policy, text("A low tone."), tones([3]))
    monkeypatch.setattr(policy.encoder, "codec", lambda sound: [[1, 2, 0], [0, 8, 0]])
    with pytest.raises(ValueError, match="codec tokens from 2 to 8, and this model's lie between 0 and 7"):
        encode(policy, text("A low tone."), tones([3]))


def test_a_speaker_is_known_in_capital_letters_and_in_small_ones_and_another_is_refused_by_name():
    assert chosen_voice({"ethan": 3, "Aiden": 4}, "Ethan") == chosen_voice({"ethan": 3}, None) == 3
    with pytest.raises(ValueError, match=r"speaker=Bo is no speaker .* ethan, Aiden: type model.speech.speaker=ethan"):
        chosen_voice({"ethan": 3, "Aiden": 4}, "Bo")


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
    steps = [[coarse, fine, halved] for coarse in range(1, 7) for fine in range(5) for halved in range(3)]
    steps = [[0, 0, 0], *steps, [7, 2, 0], [0, 0, 0], [0, 0, 0], [7, 2, 2]]
    assert codec.encode_steps(codec.decode_steps(steps)) == steps
    empty = codec.decode([])
    assert isinstance(empty, Sound) and len(empty.samples) == 0
