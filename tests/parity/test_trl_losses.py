"""Every loss that TRL has, by TRL's own code on the same rows and weights. Where conventions differ, ours is an option."""

import functools
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

from aa_lightning.algos.step import Step
from aa_lightning.types import Rating
from tests.parity.support import (
    FAMILIES,
    assert_same_gradients,
    batch_of,
    examples,
    gradients,
    make,
    trl_rows,
    trl_trainer,
)
from tests.vectors.support import algorithm

trl = pytest.importorskip("trl", reason="trl is the oracle of these tests: pip install 'aa_lightning[dev]'")
cpo_trainer = pytest.importorskip("trl.experimental.cpo.cpo_trainer")
orpo_trainer = pytest.importorskip("trl.experimental.orpo.orpo_trainer")

each_family = pytest.mark.parametrize("model", FAMILIES)
OFFSET = {"name": "constant", "gamma": 0.7}
DPO = {  # TRL's settings: ours
    "sigmoid": ({}, "dpo", {}),
    "hinge": ({}, "hinge", {}),
    "ipo": ({}, "ipo", {}),
    "exo_pair": ({"label_smoothing": 0.01}, "exo", {"loss": {"name": "exo_pair", "label_smoothing": 0.01}}),
    "nca_pair": ({}, "nca", {}),
    "robust": ({"label_smoothing": 0.1}, "robust_dpo", {}),
    "bco_pair": ({}, "bco_pair", {"loss": {"name": "bco", "shift": "none"}}),
    "sppo_hard": ({}, "sppo", {"loss": {"name": "sppo", "soft": False, "reduction": "sum"}}),
    "aot": ({}, "aot_paired", {}),
    "aot_unpaired": ({}, "aot", {}),
    "apo_zero": ({}, "apo_zero", {}),
    "apo_down": ({}, "apo_down", {}),
    "discopop": ({"discopop_tau": 0.05}, "discopop", {}),
    "sigmoid_norm": ({}, "dpo_norm", {}),
}
VARIANTS = {
    "forward_kl": ({"f_divergence_type": "forward_kl"}, "f_dpo_forward_kl", {}),
    "js_divergence": ({"f_divergence_type": "js_divergence"}, "f_dpo_jensen_shannon", {}),
    "alpha_divergence": (
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},  # 1 − alpha
        "f_dpo_alpha",
        {"alpha": 0.7},
    ),
    "ld_alpha": ({"ld_alpha": 0.4}, "ld_dpo", {"token_weights": {"name": "tail", "alpha": 0.4}}),
    "use_weighting": ({"use_weighting": True}, "wpo", {"weight": {"name": "on_policy", "cap": None}}),
    "sft": (
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
        "dpo",
        {"nll": 0.5, "nll_reduction": "token"},
    ),
    "mpo": (
        {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
        "mpo",
        {},
    ),
}
CASES = {name: ({"loss_type": [name], **given}, *ours) for name, (given, *ours) in DPO.items()} | VARIANTS


@functools.cache
def policy_of(model: str):
    """A policy a little away from its reference, and our batch of the rows."""
    _, policy = make(model, "dpo", "auto", nll=0.0)
    return policy, batch_of(policy.encoder, slice(0, 2))


def ours_on(policy, batch, name: str, options: dict):
    policy.zero_grad(set_to_none=True)
    objective = algorithm(name, **options)
    memory = {key: torch.zeros((), dtype=torch.float64) for key in objective.remembers}
    loss, _ = objective(policy, batch, Step(memory=memory))
    loss.backward()
    return loss.item(), gradients(policy.network.model)


@each_family
@pytest.mark.parametrize("case", CASES)
def test_each_loss_of_the_dpo_trainer(model, case, tmp_path):
    theirs, name, options = CASES[case]
    policy, batch = policy_of(model)
    rows = trl_rows(chosen=2, rejected=3)
    trainer = trl_trainer(trl.DPOTrainer, trl.DPOConfig, policy, rows, tmp_path, reference=True, beta=0.3, **theirs)
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    expected.backward()
    own = {"beta": 0.3} if case != "mpo" else {}
    if case == "mpo":
        objectives = algorithm("mpo").objectives
        scaled = {key: {**_plain(one), "beta": 0.3} for key, one in objectives.items()}
        own = {"objectives": scaled}
    loss, found = ours_on(policy, batch, name, {**own, **options})
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    assert_same_gradients(found, gradients(trainer.model))


def _plain(part) -> dict:
    return {"_target_": "aa_lightning.algos.preference.PreferenceOptimization", **asdict(part)}


def as_trainer(**settings):
    """As much of a TRL trainer as its loss methods look at."""
    device = SimpleNamespace(device=torch.device("cpu"))
    return SimpleNamespace(accelerator=device, label_smoothing=0.0, **settings)


def scores(model: str, reduce: str):
    """(chosen, rejected) log-likelihoods of the policy, with gradients."""
    policy, batch = policy_of(model)
    policy.zero_grad(set_to_none=True)
    likelihood = policy.log_likelihood(batch)
    return (likelihood.total if reduce == "total" else likelihood.mean).unbind(1)


CPO = {
    "sigmoid": ({"loss_type": "sigmoid", "alpha": 0.0}, "total", "cpo", {"nll": 0.0}),
    "simpo": ({"loss_type": "simpo", "alpha": 0.0, "simpo_gamma": 0.7}, "mean", "simpo", {"target_margin": OFFSET}),
    "alphapo": (
        {"loss_type": "simpo", "alpha": 0.25, "simpo_gamma": 0.7},
        "mean",
        "alphapo",
        {"target_margin": OFFSET},
    ),
    "hinge": ({"loss_type": "hinge", "alpha": 0.0}, "total", "slic_hf", {"nll": 0.0}),
}


@each_family
@pytest.mark.parametrize("case", CPO)
def test_each_loss_of_the_cpo_trainer(model, case):
    settings, reduce, name, options = CPO[case]
    per_pair, *_ = cpo_trainer.CPOTrainer.cpo_loss(as_trainer(beta=0.4, **settings), *scores(model, reduce))
    per_pair.mean().backward()
    policy, batch = policy_of(model)
    theirs = gradients(policy.network.model)
    loss, found = ours_on(policy, batch, name, {"beta": 0.4, **options})
    assert loss == pytest.approx(per_pair.mean().item(), abs=1e-5)
    assert_same_gradients(found, theirs)


@each_family
def test_the_odds_ratio_of_the_orpo_trainer(model):
    ratio, *_ = orpo_trainer.ORPOTrainer.odds_ratio_loss(as_trainer(beta=0.2), *scores(model, "mean"))
    (-ratio.mean()).backward()
    policy, batch = policy_of(model)
    theirs = gradients(policy.network.model)
    loss, found = ours_on(policy, batch, "orpo", {"scale": 0.2, "nll": 0.0})
    assert loss == pytest.approx(-ratio.mean().item(), abs=1e-5)
    assert_same_gradients(found, theirs)


LABELS = [True, False, True]


@each_family
@pytest.mark.parametrize(("theirs", "ours"), [("kto", "kto"), ("apo_zero_unpaired", "apo_zero_unpaired")])
def test_each_loss_of_the_kto_trainer(model, theirs, ours, tmp_path):
    """Its mismatched responses are those of the row before, within the batch."""
    policy, _ = policy_of(model)
    options = {"desirable_weight": 1.3} if ours == "kto" else {}
    rows = [{**row, "label": label} for row, label in zip(trl_rows(completion=2), LABELS, strict=True)]
    trainer = trl_trainer(
        trl.KTOTrainer, trl.KTOConfig, policy, rows, tmp_path, reference=True, beta=0.3, loss_type=theirs, **options
    )
    inputs = trainer.data_collator(rows)
    expected = trainer.compute_loss(trainer.model, inputs)
    expected.backward()
    rated = [Rating(id=e.id, messages=e.messages, response=e.chosen, desirable=True) for e in examples()]
    encoder = policy.encoder
    batch = encoder.collate([encoder.encode(row, row.responses) for row in rated])
    batch.supervision["desirable"] = torch.tensor(LABELS)[:, None]
    others = [rated[i - 1].responses for i in range(len(rated))]
    batch.branches["mismatched"] = encoder.collate([encoder.encode(r, o) for r, o in zip(rated, others, strict=True)])
    loss, found = ours_on(policy, batch, ours, {"beta": 0.3, **options})
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert_same_gradients(found, gradients(trainer.model))
