"""What `check` shows: the supervised tokens, lengths, reasons."""

from dataclasses import replace

import pytest

from aa_lightning.assembly import inspection
from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.assembly.policy import build_encoder
from aa_lightning.assembly.survey import survey
from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.data.scan import Dropped
from aa_lightning.training.datamodule import EncodedExamples
from tests.contract.support import MODELS, config, make, modality

TEXT_WRITERS = [model for model in MODELS if modality(model) in ("t2t", "ti2t", "ta2t", "tv2t", "any2t")]


def green(pieces):
    return [text for text, style in pieces if style == "green"]


def plain(pieces):
    return "".join(text for text, _ in pieces)


@pytest.fixture(params=TEXT_WRITERS, scope="module")
def encoded(request):
    """A family's encoder and a row of its modality."""
    cfg = config(request.param, "dpo")
    return build_encoder(cfg), read_examples(data_options(cfg), "train", "preference")[0]


def test_supervised_tokens_are_green_and_nothing_else_is(encoded):
    """Each answer as it was written, and the token that ends it."""
    encoder, example = encoded
    shown = green(inspection.painted(encoder, example))
    said = ["".join(part["text"] for part in response) for response in example.responses]
    ends = {full.removeprefix(answer) for full, answer in zip(shown, said, strict=True)}
    assert len(ends) == 1
    assert ends.pop().strip() in encoder.tokenizer.all_special_tokens


def test_multi_turn_prompts_show_earlier_answers_as_unsupervised(encoded):
    encoder, example = encoded
    turn = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}
    again = {"role": "user", "content": [{"type": "text", "text": "blue"}]}
    longer = replace(example, messages=[*example.messages, turn, again])
    one, two = inspection.painted(encoder, example), inspection.painted(encoder, longer)
    assert green(two) == green(one)
    prompt = plain(two).partition("response 0")[0]
    assert prompt.rindex("red") < prompt.rindex("blue")


def test_placeholders_are_counted():
    cfg = config("tiny_llava", "dpo")
    example = read_examples(data_options(cfg), "train", "preference")[0]
    assert "<image>×9" in plain(inspection.painted(build_encoder(cfg), example))


def test_lengths_are_those_of_the_encoder():
    _, policy, cfg = make("tiny_llava", "dpo")
    examples = read_examples(data_options(cfg), "val", "preference")
    lengths = survey(EncodedExamples(examples, policy.encoder), limit=4).lengths
    encoded = [policy.encoder.encode(examples[i], examples[i].responses) for i in range(4)]
    assert lengths.prompts == [e.prompt["input_ids"].shape[1] for e in encoded]
    assert len(lengths.responses) == 8


def test_reasons_are_counted_and_the_rows_named():
    dropped = [Dropped("3", "label", "tie"), Dropped("5", "image", "missing"), Dropped("9", "label", "tie")]
    assert inspection.reasons(dropped) == [["label", "tie", "2", "3, 9"], ["image", "missing", "1", "5"]]


def test_a_pair_that_cannot_work_is_refused_before_weights_load():
    from hydra.utils import instantiate

    cfg = config("tiny_sd", "reward_model")
    with pytest.raises(ValueError, match="diffusion model|log-likelihoods"):
        check_compatible(cfg, instantiate(cfg.algo, _convert_="all"), data_options(cfg))


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(ConfigError, match="one of exact, elbo"):
        config("tiny_llava", "dpo", "model.likelihood=guess")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["init=outputs/nothing"], "init=outputs/nothing does not exist"),
        (["model.lora.rank=2", "model.lora.target=nonsense"], "matches no linear layer"),
        (["model=tiny_qwen2", "modality=t2t", "model.freeze=[vision]"], "has no parameter group 'vision'"),
        (["model.path=/no/such/folder"], "is a folder that does not exist"),
        (["model.quantization=nf4"], "needs bitsandbytes"),
    ],
)
def test_what_training_would_refuse_of_a_model_is_refused_without_weights(typed, says):
    with pytest.raises(ValueError, match=says):
        check(compose(typed, "check"))
