"""What a policy promises about its likelihood, its reference and its rollouts (every family)."""

import math

import pytest
import torch

from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.training.datamodule import EncodedExamples
from aa_lightning.types import Batch, Sampling
from tests.contract.support import MODELS, SHOWN, batch_of, borrow, make, modality

TOKENS = [model for model in MODELS if modality(model) != "t2i"]
MEDIA = [(model, medium) for model in TOKENS for medium in SHOWN.get(modality(model), ())]


@pytest.fixture(params=MODELS)
def made(request):
    return borrow(request.param)


def test_log_likelihood_is_the_same_to_the_bit_on_a_prepared_batch(made):
    _, policy, cfg = made
    batch = policy.prepare(batch_of(cfg, policy, "preference"))
    first, second = policy.log_likelihood(batch), policy.log_likelihood(batch)
    assert torch.equal(first.terms, second.terms)
    assert first.total.shape == (3, 2)


@pytest.mark.parametrize("model", TOKENS)
def test_entropy_and_hits_are_those_of_the_whole_distribution_of_each_token(model):
    _, policy, cfg = borrow(model)
    batch = policy.prepare(batch_of(cfg, policy, "preference"))
    assert policy.log_likelihood(batch).measures == {}
    found, counted = policy.log_likelihood(batch, measure=True), batch.response["mask"].bool()
    whole = policy.network(batch, statistic="distribution").statistic
    said = found.terms[counted]
    assert torch.allclose(found.measures["entropy"][counted], -(whole.exp() * whole).sum(-1), atol=1e-5)
    assert torch.equal(found.measures["token_accuracy"][counted].bool(), said >= whole.amax(-1) - 1e-4)
    assert not any(measure.requires_grad for measure in found.measures.values())
    others = policy.log_likelihood(batch, tokens=batch.response["input_ids"], measure=True)
    assert others.measures == {}  # not what the response says


def test_dpo_starts_at_log_two(made):
    algorithm, policy, cfg = made
    policy.train()
    loss, metrics = algorithm(policy, policy.prepare(batch_of(cfg, policy, "preference")))
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert metrics["reward/margin"].item() == 0.0


@pytest.mark.parametrize("model", MODELS)
def test_reference_gets_no_gradient_and_does_not_move(model):
    algorithm, policy, cfg = make(model, "dpo", "algo.nll=0")
    (reference,) = policy.reference_modules()
    before = [p.clone() for p in reference.parameters()]
    optimizer = torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        loss, _ = algorithm(policy, policy.prepare(batch_of(cfg, policy, "preference")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(reference.parameters(), before, strict=True))
    registered = {id(p) for p in policy.parameters()}
    assert not registered & {id(p) for p in reference.parameters()}
    assert not any("reference" in name for name in policy.state_dict())


def test_adapter_switched_off_is_the_reference_and_there_is_no_second_copy(made):
    _, frozen, _ = made
    _, policy, cfg = make_with_lora(frozen)
    assert policy.reference_modules() == []
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if parameter.requires_grad:
                assert "lora" in name
                parameter.add_(0.05)
    batch = policy.prepare(batch_of(cfg, policy, "preference"))
    with policy.as_reference() as reference:
        off = reference.log_likelihood(batch)
    base = frozen.log_likelihood(frozen.prepare(batch_of(cfg, frozen, "preference")))
    assert torch.allclose(off.terms, base.terms, atol=1e-6)
    assert (policy.log_likelihood(batch).terms - base.terms).abs().max() > 1e-4


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llava", "tiny_sd"])
def test_an_adapter_switched_off_says_the_same_with_dropout_while_the_policy_trains(model):
    dropout = [] if model == "tiny_sd" else ["model.dropout=0.5"]
    _, policy, cfg = make(model, "dpo", "model.lora.rank=2", "model.lora.dropout=0.5", *dropout)
    batch = policy.eval().prepare(batch_of(cfg, policy, "preference"))
    with policy.as_reference() as reference:
        still = reference.log_likelihood(batch)
    policy.train()
    for name, parameter in policy.named_parameters():
        if "lora" in name:
            torch.nn.init.constant_(parameter, 0.05)
    for _ in range(2):
        with policy.as_reference() as reference:
            assert torch.equal(reference.log_likelihood(batch).terms, still.terms)
    assert policy.network.training and all(module.training for module in policy.network.modules())
    assert not torch.equal(policy.log_likelihood(batch).terms, policy.log_likelihood(batch).terms)


def make_with_lora(frozen):
    name = "tiny_sd" if frozen.likelihood == "elbo" else f"tiny_{frozen.encoder.family.name}"
    made = make(name, "dpo", "model.lora.rank=2")
    made[1].eval()
    return made


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rollout_log_probabilities_are_reproduced(made, temperature):
    _, policy, cfg = made
    batch = batch_of(cfg, policy, "prompt")
    rollout = policy.sample(batch, 2, Sampling(max_new_tokens=12, temperature=temperature))
    again = policy.action_logprobs(rollout)
    assert again.shape == rollout.logprobs.shape
    assert torch.allclose(again * rollout.mask, rollout.logprobs * rollout.mask, atol=1e-5)
    assert len(rollout.responses) == 3 and len(rollout.responses[0]) == 2
    assert rollout.ended.shape == (3, 2) and rollout.ended.dtype == torch.bool


@pytest.mark.parametrize("model", TOKENS)
def test_checkpoint_defaults_do_not_bend_the_sampling_distribution(model):
    _, policy, cfg = make(model, "dpo")
    policy.network.model.generation_config.repetition_penalty = 5.0
    policy.network.model.generation_config.top_k = 1
    batch = batch_of(cfg, policy, "prompt")
    torch.manual_seed(1)
    rollout = policy.sample(batch, 4, Sampling(max_new_tokens=6, temperature=2.0))
    assert torch.allclose(policy.action_logprobs(rollout), rollout.logprobs, atol=1e-4)
    tokens = rollout.batch.response["input_ids"][:, :, 0]
    assert any(len(set(row.tolist())) > 1 for row in tokens)


def test_a_batch_gives_the_numbers_of_its_rows_one_by_one(made):
    _, policy, cfg = made
    together = policy.log_likelihood(policy.prepare(batch_of(cfg, policy, "preference"))).total
    alone = [
        policy.log_likelihood(policy.prepare(batch_of(cfg, policy, "preference", slice(i, i + 1)))).total
        for i in range(3)
    ]
    assert torch.allclose(together, torch.cat(alone), atol=2e-5)


@pytest.mark.parametrize("model", TOKENS)
def test_more_padding_on_either_side_changes_nothing(model):
    _, policy, cfg = borrow(model)
    batch = policy.prepare(batch_of(cfg, policy, "preference"))
    padded = pad_more(batch, policy.encoder, left=5, right=4)
    plain, wide = policy.log_likelihood(batch), policy.log_likelihood(padded)
    assert torch.allclose(plain.total, wide.total, atol=2e-5)
    assert torch.equal(plain.size, wide.size)


def pad_more(batch: Batch, encoder, left: int, right: int) -> Batch:
    pad = torch.nn.functional.pad
    prompt = dict(batch.prompt)
    fills = {"input_ids": encoder.pad, "attention_mask": 0, **encoder.family.padding}
    for key in fills.keys() & prompt.keys():
        sides = (0, 0) * (prompt[key].ndim - 2) + (left, 0)
        prompt[key] = pad(prompt[key], sides, value=fills[key])
    response = {
        "input_ids": pad(batch.response["input_ids"], (0, right), value=encoder.pad),
        "mask": pad(batch.response["mask"], (0, right)),
    }
    return Batch(ids=batch.ids, prompt=prompt, response=response, blocks=batch.blocks)


@pytest.mark.parametrize(("model", "medium"), MEDIA, ids=map("-".join, MEDIA))
def test_swapping_the_media_moves_the_log_likelihood(model, medium):
    _, policy, cfg = borrow(model)
    batch = batch_of(cfg, policy, "preference")
    before = policy.log_likelihood(policy.prepare(batch)).total
    content = policy.encoder.family.keys_of(medium)[0]
    batch.prompt[content] = batch.prompt[content].flip(0)
    assert (policy.log_likelihood(policy.prepare(batch)).total - before).abs().max() > 1e-3


def test_swapping_the_pictures_of_a_diffusion_model_moves_the_log_likelihood():
    _, policy, cfg = make("tiny_sd", "dpo")
    policy.eval()
    batch = batch_of(cfg, policy, "preference")
    before = policy.log_likelihood(policy.prepare(batch)).total
    batch.response["pixels"] = batch.response["pixels"].flip(0)
    assert (policy.log_likelihood(policy.prepare(batch)).total - before).abs().max() > 1e-5


@pytest.mark.parametrize(("model", "medium"), MEDIA, ids=map("-".join, MEDIA))
def test_a_missing_required_key_is_refused_by_name(model, medium):
    _, policy, cfg = borrow(model)
    examples = EncodedExamples(read_examples(data_options(cfg), "val", "preference"), policy.encoder)
    encoder = policy.encoder
    for key in encoder.family.keys_of(medium):
        if key == encoder.family.grid_seconds:
            continue  # made by the encoder itself
        honest = encoder.processor
        encoder.processor = forgetful(honest, key)
        with pytest.raises(ValueError, match=f"made no {key} for its"):
            examples.item(examples.examples[0])
        encoder.processor = honest


def forgetful(processor, key):
    class Forgetful:
        def __getattr__(self, name):
            return getattr(processor, name)

        def __call__(self, *args, **kwargs):
            return {k: v for k, v in processor(*args, **kwargs).items() if k != key}

    return Forgetful()


MEDIA_TOKENS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index", "audio_token_id")


@pytest.mark.parametrize("model", TOKENS)
def test_tokens_that_stand_for_media_are_never_drawn(model):
    _, policy, _ = borrow(model)
    settings = policy.network.model.config.to_dict()
    standing = {settings[key] for key in (*MEDIA_TOKENS, "audio_token_index") if isinstance(settings.get(key), int)}
    assert standing <= set(policy.encoder.placeholders)
