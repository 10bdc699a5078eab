"""Engines against the policy whose weights they follow."""

import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest
import torch
import transformers as hf

from aa_lightning.assembly.compatibility import check_compatible
from aa_lightning.assembly.data import data_options
from aa_lightning.assembly.policy import build_algorithm
from aa_lightning.configuration.compose import compose
from aa_lightning.engines.continuous import Continuous
from aa_lightning.engines.engine import Own, gap
from aa_lightning.engines.tokens import Answer, drawn
from aa_lightning.models.families.offer import ModelOffer
from aa_lightning.types import Sampling
from tests.contract.support import MODELS, batch_of, borrow, make, modality

TEXTS = [model for model in MODELS if modality(model) == "t2t" and model != "tiny_gemma2"]


def test_the_gap_is_the_mean_distance_over_chosen_actions():
    own, engine, chosen = torch.tensor([[[-1.0, -2.0, 0.0]]]), torch.tensor([[[-1.5, -1.9, 9.0]]]), torch.ones(1, 1, 3)
    chosen[..., 2] = 0
    assert gap(own, engine, chosen).item() == pytest.approx(0.3)
    assert gap(own, engine, torch.zeros(1, 1, 3)).item() == 0.0


def test_the_policy_itself_is_an_engine_for_every_kind_of_model():
    _, policy, cfg = borrow("tiny_llava")
    asked = batch_of(cfg, policy, "prompt", slice(0, 2))
    torch.manual_seed(0)
    expected = policy.sample(asked, 2, Sampling(max_new_tokens=4))
    torch.manual_seed(0)
    found = Own().generate(policy, [], asked, 2, Sampling(max_new_tokens=4))
    assert torch.equal(found.logprobs, expected.logprobs) and found.responses == expected.responses
    assert Own.exact


@pytest.mark.parametrize("model", TEXTS)
def test_continuous_batching_draws_from_the_policy_and_says_with_which_probability(model, monkeypatch):
    _, policy, cfg = borrow(model)
    asked = batch_of(cfg, policy, "prompt", slice(0, 3))
    engine, sampling = Continuous(), Sampling(max_new_tokens=6, temperature=0.7)
    attention = policy.network.writer.config._attn_implementation
    torch.manual_seed(0)
    found = engine.generate(policy, [], asked, 2, sampling)
    assert policy.network.writer.config._attn_implementation == attention
    assert found.batch.response["input_ids"].shape == (3, 2, 6) and len(found.responses[2]) == 2
    assert gap(policy.action_logprobs(found), found.logprobs, found.mask).item() < 1e-5
    if model == "tiny_qwen2":
        monkeypatch.setattr(policy.encoder, "end", int(found.batch.response["input_ids"][1, 0, 2]))
        torch.manual_seed(0)
        again = engine.generate(policy, [], asked, 2, sampling)
        assert torch.equal(again.batch.response["input_ids"][1, 0, :3], found.batch.response["input_ids"][1, 0, :3])
        assert again.ended[1, 0] and again.mask[1, 0].tolist() == [1, 1, 1, 0, 0, 0] and not again.ended.all()


def test_continuous_batching_takes_the_likeliest_tokens_at_temperature_zero():
    _, policy, cfg = borrow("tiny_qwen2")
    asked, greedy = batch_of(cfg, policy, "prompt", slice(0, 3)), Sampling(max_new_tokens=6, temperature=0.0)
    found = Continuous().generate(policy, [], asked, 1, greedy)
    assert torch.equal(found.batch.response["input_ids"], policy.sample(asked, 1, greedy).batch.response["input_ids"])


def test_continuous_batching_follows_the_weights():
    _, policy, cfg = make("tiny_qwen2", "sft")
    asked, greedy = batch_of(cfg, policy, "prompt", slice(0, 3)), Sampling(max_new_tokens=6, temperature=0.0)
    before = Continuous().generate(policy, [], asked, 1, greedy)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    after = Continuous().generate(policy, [], asked, 1, greedy)
    assert not torch.equal(before.batch.response["input_ids"], after.batch.response["input_ids"])
    assert gap(policy.action_logprobs(after), after.logprobs, after.mask).item() < 1e-5


def refused(*typed: str) -> str | None:
    """What a run says before it loads weights."""
    cfg = compose(["algo=grpo", "init=null", *typed])
    algorithm = build_algorithm(cfg)
    with pytest.raises(ValueError) as found:
        check_compatible(cfg, algorithm, data_options(cfg).serving(algorithm))
    return str(found.value)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["model=tiny_llava", "modality=ti2t"], "serves models of text alone, and llava reads image"),
        (["model=tiny_gemma2", "modality=t2t"], "leaves out the cap on attention scores that this model has"),
        (
            ["model=tiny_janus", "modality=ti2ti"],
            "models of family janus write image with a part that continuous has not",
        ),
        (["model=tiny_sd", "modality=t2i"], "models of family stable_diffusion write image with a part"),
        (["model=tiny_qwen2", "modality=t2t", "strategy=fsdp"], "this strategy shards them"),
    ],
)
def test_what_continuous_batching_cannot_draw_is_refused_before_weights_load_with_what_to_type(typed, why):
    said = refused("rollout.engine=continuous", *typed)
    assert said.startswith("rollout.engine=continuous ") and why in said and ": type rollout.engine=own" in said


def test_layers_that_carry_a_state_are_refused_by_their_configuration():
    config, text = hf.Qwen3NextConfig(num_hidden_layers=4), ModelOffer("qwen3_next", "exact", (), ())
    assert Continuous().why_not(text, config) == "serves attention, and some layers of this model carry a state"
    assert Continuous().why_not(text, hf.Qwen3Config()) is None


def test_vllm_serves_one_process(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__spec__=ModuleSpec("vllm", None)))
    said = refused("rollout.engine=vllm", "model=tiny_qwen2", "modality=t2t", "strategy=ddp", "trainer.devices=2")
    assert said.startswith("rollout.engine=vllm serves one process, and 2 train here: type rollout.engine=own")


def test_answers_of_an_engine_stand_side_by_side_padded():
    answers = [[Answer([5, 6], [-1.0, -2.0], True), Answer([7], [], False)]]
    found = drawn(answers, 9, torch.device("cpu"))
    assert found.tokens.tolist() == [[[5, 6], [7, 9]]] and found.said.tolist() == [[[1, 1], [1, 0]]]
    assert found.logprobs.tolist() == [[[-1, -2], [0, 0]]] and found.ended.tolist() == [[True, False]]
