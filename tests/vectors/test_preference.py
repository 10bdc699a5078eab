"""Every preference objective of `conf/algo/` against worked numbers, values and gradients."""

import pytest
import torch
from torch import Tensor

from aa_lightning import losses
from aa_lightning.types import LogLikelihood
from tests.vectors.support import GivenTerms, algorithm, assert_close, empty_batch, leaves, padded, vectors


def logistic(smoothing: float = 0.0) -> dict:
    return {"name": "sigmoid", "label_smoothing": smoothing}


def beta(given: dict) -> dict:
    return {"beta": given["beta"]}


# vector -> the published algorithm, and the vector's parameters in our words
CASES_OF = {
    "dpo": lambda g: ("dpo", beta(g)),
    "cdpo": lambda g: ("cdpo", beta(g) | {"loss": logistic(g["label_smoothing"])}),
    "robust_dpo": lambda g: ("robust_dpo", beta(g) | {"loss": {"name": "robust", "label_smoothing": 0.1}}),
    "ipo": lambda g: ("ipo", beta(g)),
    "hinge": lambda g: ("hinge", beta(g)),
    "slic_hf": lambda g: ("slic_hf", {"loss": {"name": "hinge", "target": g["delta"]}, "nll": g["lambda_reg"]}),
    "dpo_length_norm": lambda g: ("dpo_norm", beta(g)),
    "r_dpo": lambda g: ("r_dpo", beta(g) | {"target_margin": {"name": "length", "alpha": g["alpha"]}}),
    "dpo_nll": lambda g: ("rpo", beta(g) | {"nll": g["alpha"]}),
    "f_dpo": lambda g: (F_DPO[g["f_divergence"]], beta(g) | ({"alpha": g["alpha"]} if "alpha" in g else {})),
    "exo_pair": lambda g: ("exo", beta(g) | {"loss": {"name": "exo_pair", "label_smoothing": g["label_smoothing"]}}),
    "nca_pair": lambda g: ("nca", beta(g)),
    "apo_zero": lambda g: ("apo_zero", beta(g)),
    "apo_down": lambda g: ("apo_down", beta(g)),
    "sppo": lambda g: ("sppo", beta(g) | {"loss": {"name": "sppo", "soft": True, "reduction": g["sides"]}}),
    "discopop": lambda g: ("discopop", beta(g) | {"loss": {"name": "discopop", "tau": g["tau"]}}),
    "aot": lambda g: ("aot" if g["unpaired"] else "aot_paired", beta(g)),
    "cpo": lambda g: ("cpo", beta(g) | {"nll": g["cpo_alpha"]}),
    "simpo": lambda g: ("simpo", beta(g) | {"target_margin": {"name": "constant", "gamma": g["gamma"]}}),
    "orpo": lambda g: ("orpo", {"scale": g["beta"]}),
    "ld_dpo": lambda g: ("ld_dpo", beta(g) | {"token_weights": {"name": "tail", "alpha": g["ld_alpha"]}}),
    "wpo": lambda g: ("wpo", beta(g) | {"weight": {"name": "on_policy", "cap": g["weight_max"]}}),
    "mm_dpo": lambda g: ("mm_dpo", {"beta": g["beta_ori"], "nll": 0.0}),
}
F_DPO = {
    "reverse_kl": "dpo",
    "forward_kl": "f_dpo_forward_kl",
    "js_divergence": "f_dpo_jensen_shannon",
    "alpha_divergence_paper": "f_dpo_alpha",
}
CASES = [
    pytest.param(name, vector, id=f"{name}/{vector['id']}")
    for name, vector in vectors("preference", *CASES_OF)
    if "policy_chosen_token_logps" in vector["inputs"]
]
each_case = pytest.mark.parametrize(("name", "vector"), CASES)
each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
each_padding = pytest.mark.parametrize("side", ["left", "right"])


def supervision(params: dict, dtype: torch.dtype) -> dict[str, Tensor]:
    """The margins that a vector's parameters stand for."""
    if "prob_chosen" in params:
        return {"margin": torch.tensor(params["prob_chosen"], dtype=dtype).logit()}
    if "reward_margin" in params:
        return {"margin": torch.tensor(params["reward_margin"], dtype=dtype)}
    return {}


def run(name, vector, dtype, side):
    """Loss, metrics and the terms of (chosen, rejected)."""
    given = {key: leaves(rows, dtype) for key, rows in vector["inputs"].items()}
    pairs = {of: [given[f"{of}_{k}_token_logps"] for k in ("chosen", "rejected")] for of in ("policy", "ref")}
    likelihood = padded(*pairs["policy"], side=side)
    if "log_sum_sq_probs_chosen" in given:
        columns = [given[f"log_sum_sq_probs_{k}"] for k in ("chosen", "rejected")]
        likelihood = LogLikelihood(likelihood.terms, likelihood.mask, padded(*columns, side=side).terms)
    policy = GivenTerms(likelihood, padded(*pairs["ref"], side=side))
    batch = empty_batch(len(pairs["policy"][0]), supervision=supervision(vector["params"], dtype))
    published, options = CASES_OF[name](vector["params"])
    loss, metrics = algorithm(published, **options)(policy, batch)
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


MEANS = ("ipo", "dpo_length_norm")  # the vectors report sums for them; ours are what the loss compares
OTHER_REWARDS = ("f_dpo", "ld_dpo", "simpo", "orpo", "cpo", "slic_hf", "mm_dpo")  # transformed or weighted here


@pytest.mark.parametrize(("name", "vector"), [case.values for case in CASES if case.values[0] not in OTHER_REWARDS])
def test_the_reported_rewards_are_the_means_of_the_worked_ones(name, vector):
    _, metrics, _ = run(name, vector, torch.float64, "right")
    means = {}
    for which in ("chosen", "rejected"):
        sizes = [len(row) for row in vector["inputs"][f"policy_{which}_token_logps"]]
        rewards = zip(vector["expected"][f"{which}_rewards"], sizes, strict=True)
        means[which] = sum(r / (n if name in MEANS else 1) for r, n in rewards) / len(sizes)
    assert_close(metrics["reward/chosen"], means["chosen"], torch.float64)
    assert_close(metrics["reward/rejected"], means["rejected"], torch.float64)
    assert_close(metrics["reward/margin"], means["chosen"] - means["rejected"], torch.float64)
    assert metrics["reward/accuracy"].item() == pytest.approx(vector["expected"]["reward_accuracy"])


@each_precision
def test_smoothed_labels_of_rewards_give_the_worked_value_of_each_pair(dtype):
    ((_, vector),) = vectors("preference", "cdpo")
    rewards = {k: torch.tensor(vector["expected"][f"{k}_rewards"], dtype=dtype) for k in ("chosen", "rejected")}
    per_pair = losses.preference.sigmoid(rewards["chosen"] - rewards["rejected"], 0.1)
    assert_close(per_pair, vector["expected"]["per_pair"], dtype)
