"""Reward objectives against worked numbers, values and gradients."""

import math

import pytest
import torch

from aa_lightning import losses
from aa_lightning.types import LogLikelihood
from tests.vectors.support import (
    GivenRewards,
    GivenTerms,
    algorithm,
    assert_close,
    empty_batch,
    leaves,
    padded,
    vector,
    vectors,
)

CASES = [pytest.param(v, id=v["id"]) for _, v in vectors("reward", "rm_bt")]
MARGIN = {None: "none", "subtract": "subtract", "multiply_loss": "scale"}
each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def options(given: dict) -> dict:
    """What a vector's parameters are called here."""
    return {
        "margin": MARGIN[given.get("margin_mode")],
        "center": given.get("center_rewards_coefficient", 0.0),
        "l2": given.get("regularization", 0.0),
        "label_smoothing": given.get("label_smoothing", 0.0),
    }


def inputs(case: dict, dtype: torch.dtype) -> tuple[torch.Tensor, dict]:
    """Rewards (P, 2) and the batch's supervision."""
    given = {key: torch.tensor(value, dtype=dtype) for key, value in case["inputs"].items()}
    rewards = torch.stack([given["rewards_chosen"], given["rewards_rejected"]], 1).requires_grad_()
    return rewards, {"margin": given["margin"]} if "margin" in given else {}


@pytest.mark.parametrize("case", CASES)
@each_precision
def test_the_loss_its_gradients_and_the_accuracy_are_the_worked_ones(case, dtype):
    rewards, supervision = inputs(case, dtype)
    train = algorithm("reward_model", **options(case["params"]))
    loss, metrics = train(GivenRewards(rewards), empty_batch(3, supervision=supervision))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    for k, which in enumerate(("chosen", "rejected")):
        assert_close(rewards.grad[:, k], case["gradients"][f"rewards_{which}"], dtype)
    assert metrics["reward/accuracy"].item() == pytest.approx(case["expected"]["accuracy"])


def test_center_and_l2_are_different_regularisers():
    """On r = (1.4, 0.5), (−0.3, 0.4), (0.8, 0.8): mean (r_c + r_r)² = 2.06, mean (r_c² + r_r²)/2 = 0.6233."""
    rewards, _ = inputs(vector("reward", "rm_bt", "l2_both"), torch.float64)
    chosen, rejected = rewards.detach().unbind(1)
    assert losses.reward.center(chosen, rejected).mean().item() == pytest.approx(2.06)
    assert losses.reward.l2(chosen, rejected).mean().item() == pytest.approx(1.87 * 2 / 6)


@each_precision
def test_the_pure_loss_with_a_margin_averages_to_the_worked_loss(dtype):
    case = vector("reward", "rm_bt", "margin")
    rewards, supervision = inputs(case, dtype)
    per_pair = losses.reward.bradley_terry(rewards[:, 0], rewards[:, 1], supervision["margin"])
    assert per_pair.shape == (3,)
    assert_close(per_pair.mean(), case["expected"]["loss"], dtype)


@each_precision
def test_ties_are_an_outcome_with_the_worked_value_and_gradients(dtype):
    case = vector("reward", "rm_bt_ties", "theta5")
    given = {key: torch.tensor(value, dtype=dtype) for key, value in case["inputs"].items()}
    rewards = torch.stack([given["rewards_A"], given["rewards_B"]], 1).requires_grad_()
    tie = given["is_tie"].bool()
    loss, metrics = algorithm("reward_model_ties", theta=5.0)(
        GivenRewards(rewards), empty_batch(3, supervision={"tie": tie})
    )
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(losses.reward.rao_kupper(*rewards.unbind(1), tie, 5.0), case["expected"]["per_pair"], dtype)
    for k, which in enumerate("AB"):
        assert_close(rewards.grad[:, k], case["gradients"][f"rewards_{which}"], dtype)
    assert metrics["reward/accuracy"].item() == 0.5  # of the two pairs that are no tie


@pytest.mark.parametrize("difference", [-3.0, 0.0, 0.7])
def test_the_three_outcomes_of_a_pair_sum_to_one(difference):
    a, b = torch.tensor([difference], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    yes, no = torch.tensor([True]), torch.tensor([False])
    outcomes = [(a, b, no), (b, a, no), (a, b, yes)]
    assert sum(math.exp(-losses.reward.rao_kupper(*one, 5.0)) for one in outcomes) == pytest.approx(1.0, abs=1e-12)


@each_precision
def test_costs_have_the_worked_value_and_gradients_with_rewards_as_their_negatives(dtype):
    case = vector("reward", "cost_model", "safe_rlhf")
    given = {key: torch.tensor(value, dtype=dtype) for key, value in case["inputs"].items()}
    rewards = -torch.stack([given["cost_less_harmful"], given["cost_more_harmful"]], 1)
    rewards.requires_grad_()
    safe = torch.stack([given["sign_less_harmful"], given["sign_more_harmful"]], 1) < 0
    loss, metrics = algorithm("cost_model", l2=0.0)(GivenRewards(rewards), empty_batch(3, supervision={"safe": safe}))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    for k, which in enumerate(("less", "more")):
        assert_close(-rewards.grad[:, k], case["gradients"][f"cost_{which}_harmful"], dtype)
    # costs −0.8, 0.6, −1.0 of what is harmless, harmful, harmless, and 0.9, 0.3, −0.4 of harmful, harmful, harmless
    assert metrics["cost/sign_accuracy"].item() == 1.0
    assert metrics["reward/accuracy"].item() == pytest.approx(2 / 3)


# ---------------------------------------------------------------- rankings


def test_the_likelihood_of_an_order_is_worked_by_hand_and_a_tie_pulls_together():
    """r = (log 3, log 2, 0): P(order) = 3/6 · 2/3 · 1 = 1/3. With scores (1, 1, 0) the first two share their sum:
    3/6 · 2/6 · 1 = 1/6."""
    rewards = torch.tensor([[3.0, 2.0, 1.0]], dtype=torch.float64).log()
    order, tied = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert losses.reward.plackett_luce(rewards, order).item() == pytest.approx(math.log(3))
    assert losses.reward.plackett_luce(rewards, tied).item() == pytest.approx(math.log(6))
    equal = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    losses.reward.plackett_luce(equal + torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)).sum().backward()
    assert equal.grad[0, 0] > 0 > equal.grad[0, 1]


def test_the_order_of_the_responses_does_not_matter_to_the_likelihood_of_their_ranking():
    rewards, scores = torch.randn(4, 5, dtype=torch.float64), torch.rand(4, 5)
    shuffled = torch.tensor([3, 1, 4, 0, 2])
    for of in (losses.reward.plackett_luce, losses.reward.all_pairs):
        assert torch.allclose(of(rewards, scores), of(rewards[:, shuffled], scores[:, shuffled]), atol=1e-12)


@pytest.mark.parametrize("form", ["plackett_luce", "pairs"])
@each_precision
def test_a_ranking_of_two_is_bradley_terry(form, dtype):
    case = vector("reward", "rm_bt", "centered_sum_sq")
    rewards, _ = inputs(case, dtype)
    scores = torch.tensor([[1.0, 0.0]] * 3)
    loss, _ = algorithm("reward_ranking", form=form, center=0.0)(
        GivenRewards(rewards), empty_batch(3, supervision={"scores": scores})
    )
    assert_close(loss, losses.reward.bradley_terry(*rewards.unbind(1)).mean().item(), dtype)


def test_pairs_of_a_ranking_leave_ties_out():
    """Rewards (1, 0, 0) with scores (2, 2, 1): the two pairs that differ have differences 1 and 0."""
    rewards = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    loss = losses.reward.all_pairs(rewards, torch.tensor([[2.0, 2.0, 1.0]]))
    assert loss.item() == pytest.approx((math.log1p(math.exp(-1)) + math.log(2)) / 2)


# ---------------------------------------------------------------- criteria


class GivenCriteria:
    def __init__(self, rewards):
        self.rewards = rewards

    def score_criteria(self, batch):
        return self.rewards


def test_a_tie_and_a_missing_rating_of_a_criterion_do_not_count_and_weights_do():
    """Two pairs, criteria a and b of weights 1 and 3. Pair 0: a prefers the first (r 1 over 0), b is tied. Pair 1: a has no
    rating, b prefers the second (r 0.5 under 2). Loss = (1 · −log σ(1) + 3 · −log σ(1.5)) / 4."""
    rewards = torch.tensor([[[1.0, 5.0], [0.0, -5.0]], [[9.0, 0.5], [-9.0, 2.0]]], dtype=torch.float64)
    nan = float("nan")
    ratings = torch.tensor([[[4.0, 2.0], [1.0, 2.0]], [[nan, 1.0], [nan, 5.0]]])
    train = algorithm("reward_multihead", criteria={"a": 1.0, "b": 3.0})
    assert train.heads == 2
    leaf = rewards.requires_grad_()
    loss, metrics = train(GivenCriteria(leaf), empty_batch(2, supervision={"ratings": ratings}))
    loss.backward()
    assert loss.item() == pytest.approx((math.log1p(math.exp(-1)) + 3 * math.log1p(math.exp(-1.5))) / 4)
    assert leaf.grad[0, :, 1].tolist() == [0.0, 0.0] and leaf.grad[1, :, 0].tolist() == [0.0, 0.0]
    assert leaf.grad[1, 0, 1].item() == pytest.approx(0.75 * torch.sigmoid(torch.tensor(-1.5)).item())
    assert metrics["accuracy/a"].item() == 1.0 and metrics["accuracy/b"].item() == 1.0


# ---------------------------------------------------------------- critiques


class GivenCritiques:
    """Rewards, and log-likelihoods of critiques."""

    def __init__(self, rewards, likelihood):
        self.rewards, self.likelihood = rewards, likelihood

    def score_and_speak(self, batch, spoken):
        return self.rewards, LogLikelihood(self.likelihood.terms, spoken)


@each_precision
def test_critique_then_score_has_the_worked_value(dtype):
    case = vector("reward", "rm_critique", "mm_rlhf")
    rewards, _ = inputs({"inputs": {k: v for k, v in case["inputs"].items() if k.startswith("rewards")}}, dtype)
    columns = [leaves(case["inputs"][f"critique_token_logps_{which}"], dtype) for which in ("chosen", "rejected")]
    likelihood = padded(*columns)
    loss, metrics = algorithm("reward_critique")(
        GivenCritiques(rewards, likelihood), empty_batch(3, supervision={"critique": likelihood.mask})
    )
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(metrics["loss/critique"], case["expected"]["critique_ce_sum_of_both"], dtype)
    loss.backward()
    for column in columns:
        for row in column:
            assert_close(row.grad, [-1 / (3 * len(row))] * len(row), dtype)


# ---------------------------------------------------------------- outcomes and steps


@each_precision
def test_the_implicit_process_reward_has_the_worked_value_and_gradient(dtype):
    case = vector("reward", "prime_implicit_reward", "correct_answer")
    ours, theirs = (leaves([case["inputs"][f"{of}_token_logps"]], dtype) for of in ("prm", "ref"))
    loss, metrics = algorithm("implicit_prm", beta=0.05)(
        GivenTerms(padded(ours), padded(theirs)), empty_batch(1, supervision={"desirable": torch.tensor([[True]])})
    )
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(metrics["reward/chosen"], case["expected"]["sequence_reward"], dtype)
    assert_close(ours[0].grad, case["gradients"]["prm_token_logps"], dtype)


class GivenSteps:
    def __init__(self, logits):
        self.logits = logits

    def score_steps(self, batch, ends):
        return self.logits


@each_precision
def test_steps_have_the_worked_value_and_gradient_and_padding_has_none(dtype):
    case = vector("reward", "prm_bce", "step_labels")
    logits = torch.tensor([[[*case["inputs"]["step_logits"], 99.0]]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([[[*case["inputs"]["step_labels"], float("nan")]]])
    loss, metrics = algorithm("prm")(
        GivenSteps(logits), empty_batch(1, supervision={"steps": labels, "step_ends": torch.zeros(1, 1, 4)})
    )
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(logits.grad[0, 0], [*case["gradients"]["step_logits"], 0.0], dtype)
    assert metrics["reward/accuracy"].item() == 1.0


@each_precision
def test_whole_responses_are_judged_as_one_step_each(dtype):
    case = vector("reward", "prm_bce", "step_labels")
    logits = torch.tensor(case["inputs"]["step_logits"], dtype=dtype)[:, None].requires_grad_()
    right = torch.tensor(case["inputs"]["step_labels"]).bool()[:, None]
    loss, _ = algorithm("orm")(GivenRewards(logits), empty_batch(3, supervision={"desirable": right}))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(logits.grad[:, 0], case["gradients"]["step_logits"], dtype)
