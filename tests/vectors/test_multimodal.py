"""Objectives that read a pair in several lights, against worked numbers, values and gradients."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from aa_lightning import losses
from aa_lightning.algos.step import Step
from aa_lightning.algos.weighted_sum import WeightedSum
from aa_lightning.types import Batch, LogLikelihood
from tests.vectors.support import algorithm, assert_close, empty_batch, leaves, padded, vector

each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
each_padding = pytest.mark.parametrize("side", ["left", "right"])


class GivenBranches:
    """A policy whose log-likelihoods are given for each branch of a batch, by name; `own` are those of other tokens."""

    likelihood = "exact"

    def __init__(self, ours: dict[str, LogLikelihood], theirs: dict[str, LogLikelihood] | None = None):
        self.ours, self.theirs = ours, theirs

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        if statistic == "argmax":
            assert batch.ids[0] == "corrupted"
            return LogLikelihood(None, None, statistic="their tokens")
        if statistic == "divergence":
            return replace(self.ours["pairs"], statistic=self.ours["divergence"].terms)
        return self.ours["own" if tokens is not None else batch.ids[0]]

    @contextmanager
    def as_reference(self):
        yield GivenBranches(self.theirs)


class Case:
    """A vector's inputs as log-likelihoods, and gradients that they must get."""

    def __init__(self, family: str, name: str, id: str, dtype: torch.dtype, side: str = "right"):
        self.vector, self.dtype, self.side = vector(family, name, id), dtype, side
        rows = {k: v for k, v in self.vector["inputs"].items() if isinstance(v[0], list)}
        self.ragged = {key: leaves(value, dtype) for key, value in rows.items()}
        flat = {k: v for k, v in self.vector["inputs"].items() if k not in rows and isinstance(v[0], float)}
        self.flat = {k: torch.tensor(v, dtype=dtype, requires_grad=True) for k, v in flat.items()}

    def pairs(self, of: str) -> LogLikelihood:
        return padded(*(self.ragged[f"{of}_{k}_token_logps"] for k in ("chosen", "rejected")), side=self.side)

    def totals(self, *names: str) -> LogLikelihood:
        """(P, K, 1) terms of which each is a response's total."""
        terms = torch.stack([self.flat[name] for name in names], 1)[..., None]
        return LogLikelihood(terms, torch.ones_like(terms, requires_grad=False))

    def beside(self, of: str, total: str) -> LogLikelihood:
        """The token terms of the pairs, the chosen one's replaced by a total in its first counted place."""
        pairs = self.pairs(of)
        first = pairs.mask[:, 0].cumsum(-1) * pairs.mask[:, 0] == 1
        chosen = torch.where(first, self.flat[total][:, None], torch.zeros_like(pairs.terms[:, 0]))
        return LogLikelihood(torch.stack([chosen, pairs.terms[:, 1]], 1), pairs.mask)

    def check(self, loss: torch.Tensor) -> None:
        loss.backward()
        assert_close(loss, self.vector["expected"]["loss"], self.dtype)
        for name, expected in self.vector["gradients"].items():
            if name in self.flat:
                assert_close(self.flat[name].grad, expected, self.dtype)
            else:
                for row, wanted in zip(self.ragged[name], expected, strict=True):
                    assert_close(row.grad, wanted, self.dtype)


def batch_with(*branches: str, supervision=None) -> Batch:
    whole = empty_batch(3, supervision=supervision or {})
    whole.ids = ["pairs"] * 3
    whole.branches = {name: Batch(ids=[name] * 3, prompt={}, response={}) for name in branches}
    return whole


@each_precision
@each_padding
def test_dense_dpo_weighs_corrected_tokens(dtype, side):
    case = Case("multimodal", "ddpo_rlhfv", "gamma5_normalised", dtype, side)
    masks = [[torch.tensor(r, dtype=dtype) for r in case.vector["inputs"][f"{k}_corrected_mask"]] for k in KINDS]
    changed = padded(*masks, side=side)
    policy = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    loss, _ = algorithm("dense_dpo")(policy, batch_with(supervision={"changed": (changed.terms * changed.mask) == 1}))
    case.check(loss)


KINDS = ("chosen", "rejected")


@each_precision
@each_padding
def test_mdpo_is_the_sum_of_answers_pictures_and_anchor(dtype, side):
    case = Case("multimodal", "mdpo", "three_terms", dtype, side)
    ours = {"pairs": case.pairs("policy"), "corrupted": case.beside("policy", "policy_chosen_corrupted_image_logps")}
    theirs = {"pairs": case.pairs("ref"), "corrupted": case.beside("ref", "ref_chosen_corrupted_image_logps")}
    loss, metrics = algorithm("mdpo")(GivenBranches(ours, theirs), batch_with("corrupted"))
    case.check(loss)
    assert_close(metrics["reward/accuracy"], case.vector["expected"]["reward_accuracy"], torch.float32)


@each_precision
def test_ha_dpo_adds_the_language_modelling_loss_of_other_rows(dtype):
    case = Case("multimodal", "ha_dpo", "gamma0.5", dtype)
    other = LogLikelihood(case.flat["aux_sft_token_logps"][None, None], torch.ones(1, 1, 4, dtype=dtype))
    ours = {"pairs": case.pairs("policy"), "auxiliary": other}
    loss, _ = algorithm("ha_dpo")(GivenBranches(ours, {"pairs": case.pairs("ref")}), batch_with("auxiliary"))
    case.check(loss)


@each_precision
@each_padding
def test_povid_halves_given_pairs_and_own_mistakes(dtype, side):
    case = Case("multimodal", "povid_stage2", "half_half", dtype, side)
    ours = {"pairs": case.pairs("policy"), "own": case.beside("policy", "policy_own_rejected_logps")}
    theirs = {"pairs": case.pairs("ref"), "own": case.beside("ref", "ref_own_rejected_logps")}
    loss, _ = algorithm("povid")(GivenBranches(ours, theirs), batch_with("corrupted"))
    case.check(loss)


@each_precision
@each_padding
def test_v_dpo_guides_the_policy_and_not_the_reference(dtype, side):
    case = Case("multimodal", "v_dpo", "gamma0.75", dtype, side)
    ours = {"pairs": case.pairs("policy")}
    ours["corrupted"] = padded(*(case.ragged[f"null_image_{k}_token_logps"] for k in KINDS), side=side)
    loss, _ = algorithm("v_dpo")(GivenBranches(ours, {"pairs": case.pairs("ref")}), batch_with("corrupted"))
    case.check(loss)


@each_precision
def test_clean_and_adversarial_pairs_add_up(dtype):
    case = Case("multimodal", "adversarial_image_dpo", "clean_plus_adversarial", dtype)
    clean = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    moved = GivenBranches(
        {"pairs": case.totals("policy_adv_chosen_logps", "policy_adv_rejected_logps")},
        {"pairs": case.totals("ref_adv_chosen_logps", "ref_adv_rejected_logps")},
    )
    mixed = algorithm("adpo")
    assert isinstance(mixed, WeightedSum) and mixed.weights == {"clean": 1.0, "adversarial": 1.0}
    losses = [mixed.objectives["clean"](policy, batch_with())[0] for policy in (clean, moved)]
    case.check(sum(losses))


@each_precision
def test_tdpo2_gives_no_gradient_to_the_chosen_divergence(dtype):
    case = Case("preference", "tdpo", "tdpo2_alpha0.5", dtype)
    ours = {"pairs": case.totals("chosen_logratio", "rejected_logratio")}
    ours["divergence"] = case.totals("seq_kl_ref_policy_chosen", "seq_kl_ref_policy_rejected")
    zero = LogLikelihood(torch.zeros(3, 2, 1, dtype=dtype), torch.ones(3, 2, 1, dtype=dtype))
    loss, _ = algorithm("tdpo2")(GivenBranches(ours, {"pairs": zero}), batch_with())
    loss.backward()
    assert_close(loss, case.vector["expected"]["loss"], dtype)
    assert not case.flat["seq_kl_ref_policy_chosen"].grad.any()
    for name in ("seq_kl_ref_policy_rejected", "chosen_logratio"):
        assert_close(case.flat[name].grad, case.vector["gradients"][name], dtype)


@each_precision
def test_sorted_margins_pair_rows_anew(dtype):
    case = Case("preference", "aot", "paired_sequence_level_reordering", dtype)
    ours = {"pairs": case.totals("policy_chosen_logps", "policy_rejected_logps")}
    theirs = {"pairs": case.totals("ref_chosen_logps", "ref_rejected_logps")}
    loss, _ = algorithm("aot_paired", beta=0.5)(GivenBranches(ours, theirs), batch_with())
    case.check(loss)
    plain, _ = algorithm("dpo", beta=0.5)(GivenBranches(ours, theirs), batch_with())
    assert_close(plain, case.vector["expected"]["unsorted_dpo_loss"], dtype)


@each_precision
@pytest.mark.parametrize("id", ["kl_positive", "kl_clamped_weighted"])
def test_kto_compares_with_the_mismatched_log_ratios(id, dtype):
    case = Case("preference", "kto", id, dtype)
    given = case.vector["params"]
    ours = {"pairs": case.totals("policy_logps"), "mismatched": case.totals("kl_policy_minus_ref_logps")}
    zero = LogLikelihood(torch.zeros(4, 1, 1, dtype=dtype), torch.ones(4, 1, 1, dtype=dtype))
    weights = {name: given[name] for name in ("desirable_weight", "undesirable_weight")}
    kto = algorithm("kto", beta=given["beta"], **weights)
    policy = GivenBranches(ours, {"pairs": case.totals("ref_logps"), "mismatched": zero})
    desirable = torch.tensor(case.vector["inputs"]["label"])[:, None]
    loss, metrics = kto(policy, batch_with("mismatched", supervision={"desirable": desirable}))
    loss.backward()
    assert_close(loss, case.vector["expected"]["loss"], dtype)
    assert_close(case.flat["policy_logps"].grad, case.vector["gradients"]["policy_logps"], dtype)
    assert_close(metrics["reward/baseline"], given["beta"] * case.vector["expected"]["z0"], dtype)
    assert case.flat["kl_policy_minus_ref_logps"].grad is None


@each_precision
def test_the_first_step_of_bco_shifts_by_the_mean_of_its_rewards(dtype):
    case = Case("preference", "bco_pair", "batch_mean_shift", dtype)
    memory = {name: torch.zeros((), dtype=torch.float64) for name in ("reward_sum", "reward_count")}
    policy = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    loss, _ = algorithm("bco_pair", beta=0.5)(policy, batch_with(), Step(memory=memory))
    case.check(loss)
    mean = memory["reward_sum"] / memory["reward_count"]
    assert mean.item() == pytest.approx(case.vector["params"]["delta"], abs=1e-6)


@each_precision
@each_padding
def test_mpo_is_preference_quality_and_generation(dtype, side):
    case = Case("preference", "mpo", "internvl_weights", dtype, side)
    policy = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    loss, _ = algorithm("mpo")(policy, batch_with())
    case.check(loss)


@each_precision
@each_padding
def test_triple_preference_optimisation_imitates_the_refined_response_beside_the_pair(dtype, side):
    case = Case("preference", "tpo_triple", "beta0.01_alpha1", dtype, side)
    gold = padded(case.ragged["gold_token_logps"], side=side)
    triple = algorithm("triple_po")
    assert (triple.supervision, triple.wants, triple.uses_reference) == ("feedback", ("gold",), False)
    loss, metrics = triple(GivenBranches({"pairs": case.pairs("policy"), "gold": gold}), batch_with("gold"))
    case.check(loss)
    assert_close(metrics["loss/gold"], case.vector["expected"]["gold_nll"], dtype)
    for row in case.ragged["gold_token_logps"]:
        assert_close(row.grad, [-1 / 6] * len(row), dtype)  # 6 tokens in all


@each_precision
@each_padding
def test_the_paired_kto_of_older_codes_compares_each_response_with_the_other_kind(dtype, side):
    case = Case("preference", "kto", "legacy_kto_pair", dtype, side)
    policy = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    loss, _ = algorithm("kto_pair", beta=0.5)(policy, batch_with())
    case.check(loss)
    values = case.vector["expected"]["per_example"]
    assert_close(loss, sum(values) / len(values), dtype)


def test_the_means_that_the_paired_kto_compares_with_have_no_gradient():
    """r_chosen = 2, r_rejected = 1: ½ (1 − σ(2 − 1)) + ½ (1 − σ(2 − 1)), and each gradient is its own σ′(1) / 2."""
    chosen, rejected = (torch.tensor([r], dtype=torch.float64, requires_grad=True) for r in (2.0, 1.0))
    loss = losses.preference.kto_pair(chosen, rejected, chosen.mean(), rejected.mean())
    loss.sum().backward()
    slope = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64)) * torch.sigmoid(torch.tensor(-1.0).double())
    assert_close(loss, [torch.sigmoid(torch.tensor(-1.0).double()).item()], torch.float64)
    assert_close(chosen.grad, [-slope.item() / 2], torch.float64)
    assert_close(rejected.grad, [slope.item() / 2], torch.float64)


@each_precision
@each_padding
def test_xpo_compares_with_samples_of_the_reference_and_unlearns_them(dtype, side):
    """α log π(rival) beside the loss of each pair, whichever of the two is better."""
    case = Case("preference", "xpo", "alpha1e-5", dtype, side)
    xpo = algorithm("xpo")
    assert (xpo.optimism, xpo.objective.beta) == (case.vector["params"]["alpha"], case.vector["params"]["beta"])
    order = [[0, 1] if which == "rejected" else [1, 0] for which in case.vector["params"]["reference_sample_is"]]
    credit = {"pair": torch.tensor(order), "apart": torch.ones(3), "rewards": torch.ones(3, 2)}
    given = GivenBranches({"pairs": case.pairs("policy")}, {"pairs": case.pairs("ref")})
    loss, metrics = xpo(given, replace(batch_with(), supervision=credit))
    case.check(loss)
    assert_close(metrics["reward/margin"], case.vector["expected"]["reward_margin_mean"], dtype)
