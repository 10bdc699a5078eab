"""TRL's collators and losses and ours, on the same rows and weights: the same losses, the same gradients."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from tests.parity.support import (
    FAMILIES,
    assert_same_gradients,
    batch_of,
    gradients,
    make,
    supervised,
    trl_rows,
    trl_trainer,
)

trl = pytest.importorskip("trl", reason="trl is the oracle of these tests: pip install 'aa_lightning[dev]'")

each_family = pytest.mark.parametrize("model", FAMILIES)
each_layout = pytest.mark.parametrize("layout", ["never", "always"])


@each_family
@each_layout
def test_dpo_has_the_loss_gradients_and_metrics_of_trl(model, layout, tmp_path):
    algorithm, policy = make(model, "dpo", layout, beta=0.3, nll=0.0)
    batch = batch_of(policy.encoder, slice(0, 2))
    rows = trl_rows(chosen=2, rejected=3)
    trainer = trl_trainer(trl.DPOTrainer, trl.DPOConfig, policy, rows, tmp_path, reference=True, beta=0.3)
    inputs = trainer.data_collator(rows)
    ours = supervised(*(batch.response[key].transpose(0, 1).flatten(0, 1) for key in ("input_ids", "mask")))
    assert ours == supervised(inputs["input_ids"], inputs["completion_mask"])
    expected = trainer.compute_loss(trainer.model, inputs)
    expected.backward()
    loss, metrics = algorithm(policy, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert abs(expected.item() - 0.6931) > 0.01  # the policy is not its reference
    for here, there in (("reward/margin", "rewards/margins"), ("logp/chosen", "logps/chosen")):
        assert metrics[here].item() == pytest.approx(trainer._metrics["train"][there][0], rel=1e-5, abs=1e-5)
    assert_same_gradients(gradients(policy.network.model), gradients(trainer.model))


@each_family
@each_layout
def test_length_normalised_dpo_is_trls_sigmoid_norm(model, layout, tmp_path):
    algorithm, policy = make(model, "dpo", layout, beta=2.0, reduction="mean", nll=0.0)
    rows = trl_rows(chosen=2, rejected=3)
    options = {"beta": 2.0, "loss_type": "sigmoid_norm"}
    trainer = trl_trainer(trl.DPOTrainer, trl.DPOConfig, policy, rows, tmp_path, reference=True, **options)
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    loss, _ = algorithm(policy, batch_of(policy.encoder, slice(0, 2)))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


@each_family
def test_fine_tuning_has_the_loss_and_gradients_of_trl(model, tmp_path):
    algorithm, policy = make(model, "sft", "auto")
    batch = batch_of(policy.encoder, slice(0, 1))
    rows = trl_rows(completion=2)
    trainer = trl_trainer(
        trl.SFTTrainer, trl.SFTConfig, policy, rows, tmp_path, reference=False, completion_only_loss=True
    )
    inputs = trainer.data_collator(rows)
    ours = supervised(batch.response["input_ids"][:, 0], batch.response["mask"][:, 0])
    assert ours == supervised(inputs["input_ids"], inputs["labels"] != -100)
    expected = trainer.compute_loss(trainer.model, inputs)
    expected.backward()
    loss, _ = algorithm(policy, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert_same_gradients(gradients(policy.network.model), gradients(trainer.model))


@each_family
@pytest.mark.parametrize("margin", ["none", "subtract"])
def test_reward_modelling_has_the_loss_and_gradients_of_trl_on_the_same_scores(model, margin):
    """TRL cannot build a reward model of these families, so its loss gets the scores of ours."""
    algorithm, scorer = make(model, "reward_model", "auto", center=0.01, margin=margin)
    batch = batch_of(scorer.encoder, slice(0, 2))
    batch.supervision["margin"] = torch.tensor([0.5, 0.0, 1.5])
    expected = trl_reward_loss(scorer.score(batch), batch.supervision["margin"] if margin == "subtract" else None)
    expected.backward()
    theirs = gradients(scorer)
    scorer.zero_grad()
    loss, _ = algorithm(scorer, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert_same_gradients(gradients(scorer), theirs)


def trl_reward_loss(rewards: torch.Tensor, margin: torch.Tensor | None) -> torch.Tensor:
    """RewardTrainer.compute_loss on given rewards (P, 2), with center_rewards_coefficient=0.01."""
    one_process = SimpleNamespace(gather=torch.atleast_1d, gather_for_metrics=torch.atleast_1d)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=one_process,
        args=SimpleNamespace(center_rewards_coefficient=0.01),
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    logits = rewards.T.reshape(-1, 1)  # TRL reads [all chosen; all rejected]
    inputs = {"attention_mask": torch.ones(len(logits), 1)}
    if margin is not None:
        inputs["margin"] = margin
    return trl.RewardTrainer.compute_loss(trainer, lambda **inputs: SimpleNamespace(logits=logits), inputs)
