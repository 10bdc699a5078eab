"""Every algorithm of `conf/algo/` on every tiny family that it serves: a step from policy = reference."""

import math
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from aa_lightning.algos.metrics import NAMES
from aa_lightning.algos.step import Step, computed
from aa_lightning.assembly.data import data_options, wanted_of
from aa_lightning.training.datamodule import EncodedExamples
from tests.contract.support import ALGORITHMS, MODELS, config, make, read_once, why_refused
from tests.vectors.support import settings

LN2 = math.log(2)
EPS = 0.001
AT_REFERENCE = {  # the loss where the policy is its reference, with likelihood terms off
    **dict.fromkeys(["dpo", "cdpo", "robust_dpo", "dpo_norm", "ld_dpo", "dense_dpo", "dpop", "rpo", "mm_dpo"], LN2),
    **dict.fromkeys(
        ["f_dpo_forward_kl", "f_dpo_jensen_shannon", "f_dpo_alpha", "beta_dpo", "tdpo1", "tdpo2", "tr_dpo"], LN2
    ),
    **dict.fromkeys(["aot", "aot_paired", "image_dpo", "povid", "bco", "ha_dpo", "implicit_prm"], LN2),
    **dict.fromkeys(["nca", "bco_pair", "adpo", "nca_ranked"], 2 * LN2),
    **dict.fromkeys(["kto", "kto_batch", "kto_pair", "apo_zero_unpaired"], 0.5),
    **dict.fromkeys(["apo_zero", "apo_down", "hinge"], 1.0),
    "ipo": 25.0,  # 1 / (4 beta²)
    "sppo": 250_000.0,  # (1 / (2 beta))²
    "exo": -LN2 - (math.log1p(-EPS) + math.log(EPS)) / 2,
    "discopop": LN2 / 2 + 0.5,
    "mpo": 0.8 * LN2 + 0.2 * 2 * LN2,
    "mdpo": 3 * LN2,
}
OWN_PAIRS = {"adpo", "image_dpo"}  # which compare one answer in two lights, and no two answers
OFF = {
    **{name: ["algo.nll=0"] for name in ("dpo", "rpo", "mm_dpo")},
    "mpo": ["algo.objectives.preference.nll=0"],
    "ha_dpo": ["algo.weights.language=0"],
}


@cache
def settings_of(algo: str) -> DictConfig:
    """The published settings with likelihood terms off."""
    return OmegaConf.merge({"algo": settings(algo)}, OmegaConf.from_dotlist(OFF.get(algo, []))).algo


@cache
def algorithm_of(algo: str):
    return instantiate(settings_of(algo), _convert_="all")


@cache
def policy_of(model: str, trains: str):
    _, policy, _ = make(model, "dpo" if trains == "policy" else "reward_model")
    return policy.eval()


@cache
def refusal(model: str, algo: str) -> str | None:
    return why_refused(model, settings_of(algo), algorithm_of(algo))


def batch_for(model: str, algorithm, policy):
    """A prepared batch of four rows with all that the algorithm wants."""
    wanted = wanted_of(algorithm)
    data = data_options(config(model, "dpo")).serving(algorithm)
    examples = read_once(data, "val", algorithm.supervision)[:4]
    rows = EncodedExamples(examples, policy.encoder, wanted=wanted)
    torch.manual_seed(0)
    batch = policy.prepare(rows.collate([rows[i] for i in range(4)]))
    batch.branches = {name: policy.prepare(branch) for name, branch in batch.branches.items()}
    return batch


def step_of(algorithm) -> Step:
    """A first step whose metrics are written down."""
    return Step(memory={name: torch.zeros((), dtype=torch.float64) for name in algorithm.remembers}, measured=True)


def listed(metric: str) -> str:
    """The name that stands in the list; parts and criteria are called as a user calls them."""
    group = metric.split("/")[0]
    return {"loss": "loss/<objective>", "accuracy": "accuracy/<criterion>"}.get(group, metric)


QUICK = ("tiny_qwen2", "tiny_llava", "tiny_sd")
CASES = [
    pytest.param(model, algo, marks=() if model in QUICK else pytest.mark.slow, id=f"{model}-{algo}")
    for model in MODELS
    for algo in ALGORITHMS
    if not algorithm_of(algo).draws_responses  # those are in test_drawn.py
]


@pytest.mark.parametrize(("model", "algo"), CASES)
def test_a_step_from_the_reference_has_the_closed_value_and_moves_the_model(model, algo):
    algorithm = algorithm_of(algo)
    if refused := refusal(model, algo):
        assert "type" in refused  # what to type instead
        return
    policy = policy_of(model, algorithm.trains)
    policy.zero_grad(set_to_none=True)
    batch = batch_for(model, algorithm, policy)
    loss, metrics = computed(algorithm, policy, batch, step_of(algorithm))
    if algo == "info_nca":  # soft labels over K answers, all as likely as under the reference
        assert loss.item() == pytest.approx(math.log(batch.supervision["scores"].shape[1]), rel=2e-6)
    elif algo in AT_REFERENCE:
        assert loss.item() == pytest.approx(AT_REFERENCE[algo], rel=2e-6, abs=1e-6)
    loss.backward()
    squared = sum(p.grad.double().square().sum() for p in policy.parameters() if p.grad is not None)
    assert math.isfinite(squared) and squared > 0
    assert {"logp/chosen", "length/chosen"} <= set(metrics) or algorithm.trains == "reward_model"
    measured = algorithm.trains == "policy" and policy.likelihood == "exact" and algo not in OWN_PAIRS
    assert not measured or {"entropy/chosen", "token_accuracy/chosen"} <= set(metrics)
    assert all(math.isfinite(value) for value in metrics.values())
    assert {listed(name) for name in metrics} <= set(NAMES)


def test_every_algorithm_serves_a_family_and_has_a_closed_value_or_none():
    assert {algo for algo in ALGORITHMS if refusal("tiny_llava", algo) is not None} == set()
    no_reference = {"alphapo", "cpo", "cpo_simpo", "orpo", "simpo", "slic_hf", "triple_po"}
    no_reference |= {"sft", "dft", "neftune", "critique_sft", "reward_weighted_sft"}
    no_reference |= {algo for algo in ALGORITHMS if algorithm_of(algo).trains == "reward_model"}
    no_reference |= {
        algo for algo in ALGORITHMS if algorithm_of(algo).draws_responses
    }  # closed values in test_drawn.py
    depends_on_the_rows = {"info_nca", "odpo", "r_dpo", "v_dpo", "wpo"}
    assert set(ALGORITHMS) == set(AT_REFERENCE) | no_reference | depends_on_the_rows


def test_algorithms_about_tokens_are_refused_on_a_diffusion_model():
    refused = {algo for algo in ALGORITHMS if refusal("tiny_sd", algo)}
    assert {"orpo", "simpo", "dense_dpo", "tdpo2", "wpo", "kto", "reward_model", "orm", "neftune"} <= refused
    assert not {"dpo", "sft", "kto_batch", "nca", "apo_zero", "robust_dpo", "nca_ranked"} & refused
