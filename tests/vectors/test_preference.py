"""DPO and its settings against worked numbers, values and gradients."""

import pytest
import torch

from aa_lightning import losses
from tests.vectors.support import GivenTerms, algorithm, assert_close, empty_batch, leaves, padded, vectors

OPTIONS = {  # what a vector's parameters are called here
    "dpo": lambda given: {"beta": given["beta"]},
    "cdpo": lambda given: {"beta": given["beta"], "link": {"name": "logistic", "label_smoothing": given["label_smoothing"]}},
    "dpo_length_norm": lambda given: {"beta": given["beta"], "reduce": "mean"},
    "dpo_nll": lambda given: {"beta": given["beta"], "nll": given["alpha"]},
}
CASES = [pytest.param(name, vector, id=f"{name}/{vector['id']}") for name, vector in vectors("preference", *OPTIONS)]
each_case = pytest.mark.parametrize(("name", "vector"), CASES)
each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
each_padding = pytest.mark.parametrize("side", ["left", "right"])


def run(name, vector, dtype, side):
    """Loss, metrics and the terms of (chosen, rejected)."""
    given = {key: leaves(rows, dtype) for key, rows in vector["inputs"].items()}
    pairs = {of: [given[f"{of}_{k}_token_logps"] for k in ("chosen", "rejected")] for of in ("policy", "ref")}
    policy = GivenTerms(padded(*pairs["policy"], side=side), padded(*pairs["ref"], side=side))
    loss, metrics = algorithm("dpo", **OPTIONS[name](vector["params"]))(policy, empty_batch(3))
    return loss, metrics, pairs["policy"]


@each_case
@each_precision
@each_padding
def test_the_loss_and_its_gradient_for_every_token_are_the_worked_ones(name, vector, dtype, side):
    loss, _, (chosen, rejected) = run(name, vector, dtype, side)
    loss.backward()
    assert_close(loss, vector["expected"]["loss"], dtype)
    for which, terms in (("chosen", chosen), ("rejected", rejected)):
        for row, expected in zip(terms, vector["gradients"][f"policy_{which}_token_logps"], strict=True):
            assert_close(row.grad, expected, dtype)


def worked_rewards(name, vector):
    """β u of (chosen, rejected). The vectors report sums for every variant; ours are what the loss compares."""
    rewards = {}
    for which in ("chosen", "rejected"):
        sizes = [len(row) for row in vector["inputs"][f"policy_{which}_token_logps"]]
        scale = sizes if name == "dpo_length_norm" else [1] * len(sizes)
        rewards[which] = [r / n for r, n in zip(vector["expected"][f"{which}_rewards"], scale, strict=True)]
    return rewards


@each_case
def test_the_reported_rewards_are_the_means_of_the_worked_ones(name, vector):
    _, metrics, _ = run(name, vector, torch.float64, "right")
    rewards = worked_rewards(name, vector)
    means = {which: sum(values) / len(values) for which, values in rewards.items()}
    assert_close(metrics["reward/chosen"], means["chosen"], torch.float64)
    assert_close(metrics["reward/rejected"], means["rejected"], torch.float64)
    assert_close(metrics["reward/margin"], means["chosen"] - means["rejected"], torch.float64)
    assert metrics["reward/accuracy"].item() == pytest.approx(vector["expected"]["reward_accuracy"])


@pytest.mark.parametrize(("name", "vector"), [case.values for case in CASES if case.values[0] != "dpo_nll"])
@each_precision
def test_the_pure_loss_gives_the_worked_value_of_each_pair(name, vector, dtype):
    rewards = {which: torch.tensor(values, dtype=dtype) for which, values in worked_rewards(name, vector).items()}
    per_pair = losses.preference.logistic(
        rewards["chosen"] - rewards["rejected"], vector["params"].get("label_smoothing", 0.0)
    )
    assert_close(per_pair, vector["expected"]["per_pair"], dtype)
