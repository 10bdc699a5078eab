"""The Bradley–Terry reward model and its regularisers against worked numbers, values and gradients."""

import pytest
import torch

from aa_lightning import losses
from tests.vectors.support import GivenRewards, algorithm, assert_close, empty_batch, vector, vectors

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
    assert losses.reward.square(chosen, rejected).mean().item() == pytest.approx(1.87 * 2 / 6)


@each_precision
def test_the_pure_loss_with_a_margin_averages_to_the_worked_loss(dtype):
    case = vector("reward", "rm_bt", "margin")
    rewards, supervision = inputs(case, dtype)
    per_pair = losses.reward.bradley_terry(rewards[:, 0], rewards[:, 1], supervision["margin"])
    assert per_pair.shape == (3,)
    assert_close(per_pair.mean(), case["expected"]["loss"], dtype)
