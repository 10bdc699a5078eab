"""Supervised fine-tuning against worked numbers: logits, means of means, and the mean over an accumulated step."""

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from aa_lightning.algos.step import Step
from aa_lightning.configuration.schema import Optimizer
from aa_lightning.data.kinds import REQUEST, weaken
from aa_lightning.models.token.logprobs import token_logprobs
from aa_lightning.models.token.neftune import add_noise, scaled
from aa_lightning.training.module import AlignmentModule
from aa_lightning.types import Feedback, LogLikelihood, text
from tests.contract.support import batch_of, make
from tests.vectors.support import ROOT, GivenTerms, algorithm, assert_close, empty_batch, leaves, padded, vector

each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
each_padding = pytest.mark.parametrize("side", ["left", "right"])


def identity_head(size: int, dtype: torch.dtype) -> nn.Linear:
    """A head whose logits are the hidden states."""
    head = nn.Linear(size, size, bias=False, dtype=dtype)
    nn.init.eye_(head.weight)
    return head


@each_precision
def test_the_mean_over_supervised_tokens_of_logits_is_the_worked_one(dtype):
    case = vector("supervised", "sft", "shifted_ce_prompt_masked")
    labels = torch.tensor(case["inputs"]["labels"])
    before = torch.tensor(case["inputs"]["logits"], dtype=dtype)[:-1][labels[1:] >= 0].requires_grad_()
    targets = labels[labels >= 0]
    terms = token_logprobs(before, identity_head(4, dtype), targets)
    assert_close(-terms, case["expected"]["token_nll"], dtype)
    likelihood = LogLikelihood(terms[None, None], torch.ones(1, 1, 3, dtype=dtype))
    loss, _ = algorithm("sft")(GivenTerms(likelihood), empty_batch(1))
    assert_close(loss, case["expected"]["loss"], dtype)
    (gradient,) = torch.autograd.grad(loss, before)
    (cross_entropy,) = torch.autograd.grad(F.cross_entropy(before, targets), before)
    assert_close(gradient, cross_entropy.tolist(), dtype)


@each_precision
@each_padding
def test_the_mean_over_responses_of_their_means_is_the_worked_one(dtype, side):
    case = vector("supervised", "sft", "sequence_mean")
    rows = leaves(case["inputs"]["token_logps"], dtype)
    loss, _ = algorithm("sft", reduction="response")(GivenTerms(padded(rows, side=side)), empty_batch(2))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    for row, expected in zip(rows, case["gradients"]["token_logps"], strict=True):
        assert_close(row.grad, expected, dtype)


class OneProcess:
    """As much of a trainer as the normaliser looks at."""

    world_size = 1

    def __init__(self, accumulate: int):
        self.accumulate_grad_batches, self.strategy = accumulate, self

    def reduce(self, tensor: torch.Tensor, reduce_op: str) -> torch.Tensor:
        return tensor


@each_precision
@each_padding
def test_accumulated_micro_batches_average_to_the_mean_over_all_tokens_of_the_step(dtype, side):
    """Losses 1.2 and 1.0 of 2 and 6 tokens: 8.4 / 8 = 1.05, and not (1.2 + 1.0) / 2 = 1.1."""
    case = vector("supervised", "sft", "grad_accumulation_trap")
    sft = algorithm("sft")
    optimizer = Optimizer(**OmegaConf.load(ROOT / "conf" / "train.yaml").optimizer)
    module = AlignmentModule(nn.Identity(), sft, optimizer, {})
    module.trainer = trainer = OneProcess(case["params"]["gradient_accumulation_steps"])
    micro = [leaves(rows, dtype) for rows in case["inputs"]["micro_batches_token_logps"]]
    step_terms = torch.tensor(float(sum(len(row) for rows in micro for row in rows)))  # as the loader counts them
    losses = []
    for rows in micro:
        step = Step(normalizer=module._normalizer(step_terms))
        losses.append(sft(GivenTerms(padded(rows, side=side)), empty_batch(1), step)[0])
    loss = sum(losses) / trainer.accumulate_grad_batches  # what Lightning does with them
    assert_close(loss, case["expected"]["loss"], dtype)
    loss.backward()
    for row in (row for rows in micro for row in rows):
        assert_close(row.grad, [-1 / 8] * len(row), dtype)


@each_precision
def test_without_the_normaliser_the_same_step_would_give_the_known_wrong_number(dtype):
    case = vector("supervised", "sft", "grad_accumulation_trap")
    micro = [leaves(rows, dtype) for rows in case["inputs"]["micro_batches_token_logps"]]
    losses = [algorithm("sft")(GivenTerms(padded(rows)), empty_batch(1))[0] for rows in micro]
    assert_close(sum(losses) / 2, case["expected"]["wrong_mean_of_means"], dtype)


@each_precision
@each_padding
def test_dynamic_fine_tuning_weighs_each_token_by_its_detached_probability(dtype, side):
    case = vector("supervised", "dft", "token_mean")
    rows = leaves(case["inputs"]["token_logps"], dtype)
    loss, _ = algorithm("dft")(GivenTerms(padded(rows, side=side)), empty_batch(len(rows)))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    for row, expected in zip(rows, case["gradients"]["token_logps"], strict=True):
        assert_close(row.grad, expected, dtype)


# ---------------------------------------------------------------- noise, critiques


@each_precision
def test_noise_on_embeddings_has_the_worked_scale(dtype):
    case = vector("supervised", "neftune", "noise_scale")
    uniform = torch.tensor(case["inputs"]["uniform_pm1"], dtype=dtype)
    assert_close(scaled(uniform, case["params"]["neftune_noise_alpha"]), case["expected"]["noise"], dtype)


def test_noise_is_there_in_training_alone_and_bounded_by_its_scale():
    """α = 5 on 3 tokens of width 4: at most 5 / √12 = 1.4434."""
    model = nn.Module()
    model.embedding = nn.Embedding(7, 4)
    model.get_input_embeddings = lambda: model.embedding
    ids, plain = torch.tensor([[1, 2, 3]]), model.embedding(torch.tensor([[1, 2, 3]]))
    add_noise(model, 5.0)
    first, second = model.embedding(ids), model.embedding(ids)
    for noisy in (first, second):
        assert 0.1 < (noisy - plain).abs().max() <= 5 / 12**0.5 + 1e-6
    assert not torch.equal(first, second)
    assert torch.equal(model.eval().embedding(ids), plain)


def test_the_published_noise_is_that_of_the_policy_and_plain_fine_tuning_has_none():
    """Two readings of a policy in training differ with noise alone; at rest there is none."""
    for name, alpha in (("neftune", 5.0), ("sft", 0.0)):
        train, policy, cfg = make("tiny_qwen2", name)
        assert train.noise == alpha
        batch = batch_of(cfg, policy, "demonstration")
        first, second = (policy.train().log_likelihood(batch).terms for _ in range(2))
        assert torch.equal(first, second) == (alpha == 0)
        assert torch.equal(*(policy.eval().log_likelihood(batch).terms for _ in range(2)))
    assert algorithm("neftune").accepts == ("exact",)


def test_the_policy_with_its_adapter_off_is_a_reference_without_noise():
    _, policy, cfg = make("tiny_qwen2", "dpo", "model.lora.rank=2")
    batch = batch_of(cfg, policy, "preference")
    add_noise(policy.train().network.writer, 5.0)
    with policy.as_reference() as reference:
        assert torch.equal(*(reference.log_likelihood(batch).terms for _ in range(2)))
    assert not torch.equal(*(policy.log_likelihood(batch).terms for _ in range(2)))


def test_the_critique_is_the_response_and_question_and_answer_are_the_prompt():
    """Only response tokens are supervised, so the worked loss is that of the critique's: (0.7 + 0.4) / 2 = 0.55."""
    case = vector("supervised", "critique_modeling", "critique_tokens_only")
    train = algorithm("critique_sft")
    question = [{"role": "user", "content": [text("How many?")]}]
    row = Feedback(
        id="7", messages=question, chosen=[text("Two.")], rejected=[text("Three.")], critique=(None, "There are two.")
    )
    (made,) = weaken(row, train.supervision)
    assert [message["content"][0]["text"] for message in made.messages] == ["How many?", "Three.", REQUEST]
    assert [message["role"] for message in made.messages] == ["user", "assistant", "user"]
    assert made.responses == [[text("There are two.")]]
    given = zip(case["inputs"]["token_logps"], case["inputs"]["segment"], strict=True)
    supervised = [logp for logp, segment in given if segment == "critique"]
    loss, _ = train(GivenTerms(padded(leaves([supervised], torch.float64))), empty_batch(1))
    assert_close(loss, case["expected"]["loss"], torch.float64)
