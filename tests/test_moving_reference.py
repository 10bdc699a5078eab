"""A reference that follows the policy: by the worked numbers, and over a resume to the bit."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aa_lightning.algos.hyperparameters import ReferenceSync
from aa_lightning.assembly.policy import build_algorithm, build_policy
from aa_lightning.train import train
from aa_lightning.training.callbacks.reference_update import SyncReference, move
from tests.contract.support import config
from tests.vectors.support import vector

QUICK = [
    *("trainer.max_steps=6", "checkpoint.every_n_steps=2", "checkpoint.keep=3", "loader.batch_size=4"),
    *("evaluation.before=false", "evaluation.num_generations=0", "evaluation.num_examples=8", "evaluation.samples=0"),
    *("evaluation.blank_media_control=false", "logger.tensorboard=false", "trainer.enable_progress_bar=false"),
    *("optimizer.lr=1e-3", "algo.ref_sync.every_n_steps=3"),
]


def test_a_share_of_the_way_is_the_worked_one():
    worked = vector("preference", "tr_dpo", "soft_update")
    reference, policy = nn.Module(), nn.Module()
    reference.weight = nn.Parameter(torch.tensor(worked["inputs"]["ref_param"]), requires_grad=False)
    policy.weight = nn.Parameter(torch.tensor(worked["inputs"]["policy_param"]))
    move(reference, dict(policy.named_parameters()), worked["params"]["alpha"])
    assert reference.weight.tolist() == pytest.approx(worked["expected"]["new_ref_param"])


def test_a_resumed_run_has_the_moved_reference(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config("tiny_qwen2", "tr_dpo", *QUICK), whole)
    train(config("tiny_qwen2", "tr_dpo", *QUICK), cut)
    (cut / "checkpoints" / "step_00000006.ckpt").unlink()
    train(config("tiny_qwen2", "tr_dpo", *QUICK, f"resume={cut}"), cut)
    first, second = (torch.load(r / "checkpoints" / "step_00000006.ckpt", weights_only=False) for r in (whole, cut))
    assert first["reference"]["moved_at"] == second["reference"]["moved_at"] == 6
    for one, other in (
        (first["state_dict"], second["state_dict"]),
        (first["reference"]["weights"][0], second["reference"]["weights"][0]),
    ):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_sd"])
def test_a_frozen_copy_follows_an_adapter_by_the_share_of_what_it_adds(model):
    cfg = config(model, "tr_dpo", "model.lora.rank=2", "model.reference=frozen")
    policy = build_policy(cfg, build_algorithm(cfg), None)
    (reference,) = policy.reference_modules()
    before = {name: weight.clone() for name, weight in reference.named_parameters()}
    for name, parameter in policy.named_parameters():
        if ".lora_" in name:
            torch.nn.init.constant_(parameter, 0.1)
    follower = SyncReference(ReferenceSync(every_n_steps=1, mixup=0.25))
    module = SimpleNamespace(policy=policy)
    follower.on_train_batch_end(SimpleNamespace(global_step=1), module, None, None, 0)
    added = 2 * 0.1 * 0.1 * cfg.model.lora.alpha / 2  # of each weight below an adapter: B A of rank 2
    changed = {name: (weight - before[name]) for name, weight in reference.named_parameters()}
    moved = [change for change in changed.values() if change.abs().max() > 0]
    assert len(moved) == sum(".lora_A." in name for name, _ in policy.named_parameters())
    assert all(torch.allclose(change, torch.tensor(0.25 * added), atol=1e-6) for change in moved)


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_sd"])
def test_an_adapter_switched_off_cannot_follow_and_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match="model.reference=frozen"):
        train(config(model, "tr_dpo", "model.lora.rank=2"), tmp_path / "a")


def test_what_is_sharded_cannot_follow_and_is_refused(tmp_path):
    with pytest.raises(ValueError, match="strategy=ddp"):
        train(config("tiny_qwen2", "tr_dpo", "strategy=fsdp"), tmp_path / "b")
