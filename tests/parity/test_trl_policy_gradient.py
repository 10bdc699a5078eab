"""Objectives on drawn responses, by TRL's own loss code on the same log-probabilities: values and gradients."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from aa_lightning.algos.step import Step
from tests.vectors.support import algorithm, empty_batch
from tests.vectors.test_policy_gradient import CLIP, GivenActions

trl = pytest.importorskip("trl", reason="trl is the oracle of these tests: pip install 'aa_lightning[dev]'")
gmpo_trainer = pytest.importorskip("trl.experimental.gmpo.gmpo_trainer")

P, K, A, LONGEST = 3, 4, 7, 9
K3 = {"coefficient": 0.04, "estimator": "k3", "corrected": False}
GSPO = {"importance_sampling_level": "sequence", "epsilon_low": 3e-4, "epsilon_high": 4e-4}
CASES = {  # TRL's settings: the algorithm of ours, and what is changed in it
    "grpo": ({"loss_type": "grpo"}, "grpo", {}),
    "grpo_kl": ({"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}, "grpo", {"loss_kl": K3}),
    "grpo_corrected_kl": ({"loss_type": "grpo", "beta": 0.04}, "grpo", {"loss_kl": {**K3, "corrected": True}}),
    "grpo_delta": ({"loss_type": "grpo", "delta": 1.5}, "grpo", {"surrogate": {**CLIP, "two_sided": 1.5}}),
    "dr_grpo": ({"loss_type": "dr_grpo"}, "dr_grpo", {"aggregation": {"name": "constant", "length": LONGEST}}),
    "dapo": ({"loss_type": "dapo", "epsilon_high": 0.28}, "dapo", {}),
    "dapo_importance": ({"loss_type": "dapo", "epsilon_high": 0.28, "use_vllm": True}, "dapo", {"importance_cap": 2.0}),
    "bnpo": ({"loss_type": "bnpo"}, "bnpo", {}),
    "gspo": ({"loss_type": "grpo", **GSPO}, "gspo", {}),
    "gspo_corrected_kl": (
        {"loss_type": "grpo", "beta": 0.04, **GSPO},
        "gspo",
        {"loss_kl": {**K3, "corrected": True}},
    ),
    "luspo": ({"loss_type": "luspo", **GSPO}, "luspo", {}),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 5.0}, "cispo", {}),
    "cispo_capped": (
        {"loss_type": "cispo", "epsilon_high": 1.1},
        "cispo",
        {"surrogate": {"name": "truncate", "lowest": None, "highest": 1.1}},
    ),
    "sapo": ({"loss_type": "sapo"}, "sapo", {}),
    "gmpo": ({"epsilon_low": 0.4, "epsilon_high": 0.4}, "gmpo", {}),
    "gmpo_kl": ({"epsilon_low": 0.4, "epsilon_high": 0.4, "beta": 0.04}, "gmpo", {"loss_kl": K3}),
    "rloo": ({}, "rloo", {"reward_kl": None}),
}


def rollout(seed: int) -> dict[str, torch.Tensor]:
    """Log-probabilities in double precision, of responses of 1 to A tokens, at ratios between about ½ and 2."""
    luck = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, A + 1, (P * K,), generator=luck)
    random = {name: torch.randn(P * K, A, generator=luck, dtype=torch.float64) for name in ("new", "apart", "theirs")}
    scale = torch.tensor([1e-3, 0.3])[torch.arange(P * K) % 2][:, None]  # some within the bounds of whole responses
    new = -random["new"].abs()
    return {
        "new": new,
        "old": new + scale * random["apart"],
        "reference": new + 0.3 * random["theirs"],
        "mask": (torch.arange(A) < sizes[:, None]).double(),
        "advantages": torch.randn(P * K, generator=luck, dtype=torch.float64),
        "importance": torch.rand(P * K, A, generator=luck, dtype=torch.float64) * 2,
    }


def as_trainer(logprobs: torch.Tensor, **settings) -> SimpleNamespace:
    """As much of a TRL trainer as its loss looks at."""
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    accelerator.gather_for_metrics = accelerator.gather
    args = {"use_bias_correction_kl": True, "delta": None, "steps_per_generation": 1}
    args |= {"sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05}
    args |= {name: settings.pop(name) for name in list(settings) if name in args}
    plain = {"epsilon_low": 0.2, "epsilon_high": 0.2, "beta": 0.0, "importance_sampling_level": "token"}
    plain |= {"use_vllm": False, "vllm_importance_sampling_correction": True, "max_completion_length": LONGEST}
    plain |= {"aux_loss_enabled": False, "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None}
    plain |= {"current_gradient_accumulation_steps": 1, "_entropy_bonus_enabled": False}
    read = (logprobs, torch.zeros_like(logprobs), None)
    return SimpleNamespace(
        **{**plain, **settings},
        accelerator=accelerator,
        args=SimpleNamespace(**args),
        model=SimpleNamespace(training=True),
        _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *given, **named: read,
    )


def theirs(case: str, given: dict[str, torch.Tensor], settings: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's loss and its gradient."""
    logprobs = given["new"].clone().requires_grad_()
    ids = torch.zeros(P * K, A, dtype=torch.long)
    inputs = {"prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids, "completion_mask": given["mask"]}
    inputs |= {"advantages": given["advantages"], "old_per_token_logps": given["old"]}
    inputs |= {"old_logps": (given["old"] * given["mask"]).sum(-1), "ref_per_token_logps": given["reference"]}
    inputs |= {"importance_sampling_ratio": given["importance"], "num_items_in_batch": given["mask"].sum()}
    trainers = {"rloo": trl.RLOOTrainer, "gmpo": gmpo_trainer.GMPOTrainer}
    trainer = trainers.get(case.split("_")[0], trl.GRPOTrainer)
    loss = trainer._compute_loss(as_trainer(logprobs, **settings), None, inputs)
    loss.backward()
    return loss, logprobs.grad


def ours(name: str, options: dict, given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    logprobs = given["new"].clone().requires_grad_()
    wide = {key: value.unflatten(0, (P, K)) for key, value in given.items()}
    supervision = {"old_logprobs": wide["old"], "chosen": wide["mask"], "advantages": wide["advantages"]}
    supervision |= {"rewards": wide["advantages"], "ended": wide["advantages"], "reference_logprobs": wide["reference"]}
    if "importance_cap" in options:
        supervision["importance"] = wide["importance"]
    objective, batch = algorithm(name, **options), empty_batch(P, supervision=supervision)
    counted = Step(normalizer=torch.tensor(objective.normalizer(batch)))
    loss, _ = objective(GivenActions(logprobs.unflatten(0, (P, K))), batch, counted)
    loss.backward()
    return loss, logprobs.grad


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_each_loss_of_trls_trainers_of_drawn_responses(case, seed):
    settings, name, options = CASES[case]
    given = rollout(seed)
    expected, gradient = theirs(case, given, dict(settings))
    loss, found = ours(name, options, given)
    close = 1e-6 if case == "sapo" else 1e-9  # whose temperatures are single precision there
    assert loss.item() == pytest.approx(expected.item(), rel=close, abs=close)
    torch.testing.assert_close(found, gradient * given["mask"], rtol=close, atol=close)
    assert found.abs().sum() > 0
