"""What a policy saves is a folder that transformers loads by itself (every token family)."""

import copy

import pytest
import torch
import transformers as hf

from aa_lightning.assembly.data import data_options, read_examples
from tests.contract.support import MODELS, batch_of, make, modality, read_jointly

TOKENS = [model for model in MODELS if modality(model) not in ("t2i", "t2a")]  # speech: test_speech.py
NO_AUTO_CLASS = {"tiny_audioflamingo3": hf.AudioFlamingo3ForConditionalGeneration}


def loaded(model: str, family, folder):
    auto = hf.AutoModelForMultimodalLM if family.media else hf.AutoModelForCausalLM
    processor = hf.AutoProcessor.from_pretrained(folder)
    if model == "tiny_chameleon":  # the class keeps a template on its tokenizer alone
        processor.chat_template = processor.tokenizer.chat_template
    return NO_AUTO_CLASS.get(model, auto).from_pretrained(folder).eval(), processor


@pytest.mark.parametrize("model", TOKENS)
def test_a_saved_policy_gives_its_numbers_in_transformers_alone(model, tmp_path):
    _, policy, cfg = make(model, "dpo")
    family = policy.encoder.family
    batch = policy.prepare(batch_of(cfg, policy, "preference", slice(0, 1)))
    before = policy.log_likelihood(batch).terms.detach()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    policy.save(tmp_path)
    ours = policy.eval().log_likelihood(batch).terms[0]
    theirs, processor = loaded(model, family, tmp_path)
    example = read_examples(data_options(cfg), "val", "preference")[0]
    encoder = copy.copy(policy.encoder)
    encoder.processor, encoder.tokenizer = processor, processor.tokenizer if family.media else processor
    again = policy.prepare(encoder.collate([encoder.encode(example, example.responses)]))
    assert all(torch.equal(value, again.prompt[key]) for key, value in batch.prompt.items())
    assert torch.equal(again.response["input_ids"], batch.response["input_ids"])
    for k in range(2):
        expected = read_jointly(theirs, family, again, k)
        assert torch.allclose(ours[k, : len(expected)], expected, atol=1e-5)
    assert (ours - before[0]).abs().max() > 1e-3
