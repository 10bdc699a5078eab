"""Surrogates, advantages and divergences against worked numbers, values and gradients."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from aa_lightning.algos.experience import Experience
from aa_lightning.losses import advantages as of
from aa_lightning.losses import policy_gradient as pg
from aa_lightning.types import Rollout
from tests.vectors.support import algorithm, assert_close, empty_batch, leaves, padded, vector, vectors

each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
each_side = pytest.mark.parametrize("side", ["right", "left"])
CLIP = {"name": "clip", "ratio": "action", "low": 0.2, "high": 0.2, "dual": None, "two_sided": None}
K3 = {"coefficient": 0.04, "estimator": "k3", "corrected": False}


class GivenActions:
    """A policy whose actions have given log-probabilities (P, K, A)."""

    likelihood = "exact"

    def __init__(self, logprobs: Tensor):
        self.logprobs = logprobs

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        return self.logprobs


def learned(objective, given: dict, dtype: torch.dtype, side: str = "right") -> tuple[Tensor, list[Tensor], dict]:
    """Loss, the leaves of its new log-probabilities with gradients, and metrics; one response to each prompt."""
    new = leaves(given["new_logps"], dtype)
    now, old = padded(new, side=side), padded(leaves(given["old_logps"], dtype), side=side)
    supervision = {"old_logprobs": old.terms.detach(), "chosen": now.mask}
    supervision["advantages"] = torch.tensor(given["advantages"], dtype=dtype)[:, None]
    supervision["rewards"] = supervision["ended"] = supervision["advantages"]
    if "ref_logps" in given:
        supervision["reference_logprobs"] = padded(leaves(given["ref_logps"], dtype), side=side).terms.detach()
    loss, metrics = objective(GivenActions(now.terms), empty_batch(len(new), supervision=supervision))
    loss.backward()
    return loss, new, metrics


GROUPS = {  # by vector: the algorithm of the file, and what is changed in it
    ("grpo", "with_k3_beta0.04"): ("grpo", {"loss_kl": K3}),
    ("grpo", "k3_is_corrected_beta0.04"): ("grpo", {"loss_kl": {**K3, "corrected": True}}),
    ("grpo", "delta_two_sided"): ("grpo", {"surrogate": {**CLIP, "two_sided": 1.5}}),
    ("dapo", "token_mean_clip_higher"): ("dapo", {}),
    ("dr_grpo", "constant_normaliser"): ("dr_grpo", {"aggregation": {"name": "constant", "length": 8}}),
    ("cispo", "eps_max1.5_capped"): ("cispo", {"surrogate": {"name": "truncate", "lowest": None, "highest": 1.5}}),
    ("cispo", "eps_max0.2_trl_default_trap"): (
        "cispo",
        {"surrogate": {"name": "truncate", "lowest": None, "highest": 0.2}},
    ),
    ("cispo", "verl_1_plus_eps"): ("cispo", {"surrogate": {"name": "truncate", "lowest": 0.8, "highest": 1.28}}),
    ("sapo", "tau1_1.05"): ("sapo", {}),
    ("gspo", "paper_clip"): ("gspo", {}),
    ("gspo", "paper_clip_partial"): ("gspo", {}),
    ("gmpo", "eps0.4"): ("gmpo", {}),
    ("rloo", "sequence_ratio_clipped"): ("rloo", {}),
}
CASES = [
    pytest.param(name, case, id=f"{name}-{case['id']}")
    for name, case in vectors("policy_gradient", "grpo", "dapo", "dr_grpo", "cispo", "sapo", "gspo", "gmpo", "rloo")
]


@pytest.mark.parametrize(("name", "case"), CASES)
@each_precision
@each_side
def test_a_published_objective_has_the_worked_loss_and_gradients(name, case, dtype, side):
    file, options = GROUPS[name, case["id"]]
    loss, new, _ = learned(algorithm(file, **options), case["inputs"], dtype, side)
    assert_close(loss, case["expected"]["loss"], dtype)
    for row, expected in zip(new, case["gradients"]["new_logps"], strict=True):
        assert_close(row.grad, expected, dtype)


@pytest.mark.parametrize("case", [pytest.param(v, id=v["id"]) for _, v in vectors("policy_gradient", "ppo_policy")])
@each_precision
def test_the_clipped_surrogate_of_ppo_is_the_worked_one(case, dtype):
    params = case["params"]
    clip = {**CLIP, "low": params["clip_low"], "high": params["clip_high"], "dual": params["dual_clip_c"]}
    given = {key: [[value] for value in values] for key, values in case["inputs"].items() if key != "advantages"}
    loss, new, metrics = learned(
        algorithm("dapo", surrogate=clip), {**given, "advantages": case["inputs"]["advantages"]}, dtype
    )
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(torch.cat([row.grad for row in new]), case["gradients"]["new_logps"], dtype)
    ratio = torch.tensor(case["expected"]["ratios"], dtype=dtype)
    advantages = torch.tensor(case["inputs"]["advantages"], dtype=dtype)
    each = pg.clipped(ratio, advantages, params["clip_low"], params["clip_high"], params["dual_clip_c"])
    assert_close(each, case["expected"]["per_token"], dtype)
    too_low = ((ratio < 1 - params["clip_low"]) & (advantages < 0)).double().mean().item()
    too_high = ((ratio > 1 + params["clip_high"]) & (advantages > 0)).double().mean().item()
    assert (metrics["clip/low"].item(), metrics["clip/high"].item()) == pytest.approx((too_low, too_high))
    assert metrics["ratio/mean"].item() == pytest.approx(ratio.mean().item(), rel=1e-5)


@each_precision
def test_the_value_loss_is_the_worked_one(dtype):
    case = vector("policy_gradient", "ppo_value", "clip0.2")
    values, old, returns = (
        torch.tensor(case["inputs"][k], dtype=dtype, requires_grad=True) for k in ("values", "old_values", "returns")
    )
    each = pg.value_loss(values, old.detach(), returns.detach(), case["params"]["cliprange_value"])
    assert_close(2 * each, case["expected"]["per_token_max_sq"], dtype)
    each.mean().backward()
    assert_close(each.mean(), case["expected"]["loss"], dtype)
    assert_close(values.grad, case["gradients"]["values"], dtype)


@each_precision
def test_divergence_estimators_and_their_gradients_are_the_worked_ones(dtype):
    case = vector("policy_gradient", "kl_estimators", "k1_k2_k3")
    for name, expected in case["expected"].items():
        ours = torch.tensor(case["inputs"]["policy_logps"], dtype=dtype, requires_grad=True)
        theirs = torch.tensor(case["inputs"]["ref_logps"], dtype=dtype)
        each = pg.kl_estimate(ours, theirs, name[:2])
        if name == "k3_is_corrected":
            each = each * (ours - ours.detach()).exp()
        each.mean().backward()
        assert_close(each, expected["per_token"], dtype)
        assert_close(ours.grad, expected["grad_of_mean"], dtype)


def experience(rewards, dtype=torch.float64, **fields) -> Experience:
    """One action to each response, unless fields say otherwise."""
    given = rewards if isinstance(rewards, dict) else {"given": rewards}
    given = {name: torch.tensor(values, dtype=dtype) for name, values in given.items()}
    shape = next(iter(given.values())).shape
    plain = {"old_logprobs": torch.zeros(*shape, 1, dtype=dtype), "chosen": torch.ones(*shape, 1, dtype=dtype)}
    whole = {**plain, "weights": dict.fromkeys(given, 1.0), "ended": torch.ones(shape, dtype=torch.bool), **fields}
    return Experience(rewards=given, **whole)


def estimator(baseline: str, scale: str, eps: float = 1e-4, population: bool = False) -> dict:
    return {"name": "group", "baseline": baseline, "scale": scale, "eps": eps, "population": population}


ESTIMATORS = {
    "grpo_unbiased_std_eps1e-4": ("grpo", {}),
    "grpo_unbiased_std_eps1e-6": ("grpo", {"advantage": estimator("group", "group", 1e-6)}),
    "grpo_population_std_eps1e-4": ("grpo", {"advantage": estimator("group", "group", population=True)}),
    "dr_grpo": ("dr_grpo", {}),
    "rloo": ("rloo", {"reward_kl": None}),
    "batch_std_of_rewards_eps1e-4": ("grpo", {"advantage": estimator("group", "rewards")}),
    "reinforce_pp_baseline_seq_whiten": ("reinforce_pp_baseline", {"loss_kl": None}),
    "remax_given_greedy": ("remax", {}),
    "opo_len_weighted": ("opo", {}),
    "rloo_normalized_trl": ("rloo", {"reward_kl": None, "advantage": estimator("leave_one_out", "advantages")}),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@each_precision
def test_advantages_of_a_group_are_the_worked_ones(name, dtype):
    case = vector("policy_gradient", "group_advantage", "two_groups_of_4")
    given, (file, options) = case["inputs"], ESTIMATORS[name]
    assert set(case["expected"]) == set(ESTIMATORS)
    rewards = torch.tensor(given["rewards"], dtype=torch.float64).view(-1, given["group_size"]).tolist()
    fields = {"greedy_rewards": torch.tensor(given["greedy_reward"], dtype=dtype)}
    if name == "opo_len_weighted":
        lengths = torch.tensor(given["lengths"])
        fields["chosen"] = (torch.arange(40) < lengths[..., None]).to(dtype)
        fields["old_logprobs"] = torch.zeros(2, 4, 40, dtype=dtype)
    found = algorithm(file, **options).credit(experience(rewards, dtype, **fields))["advantages"]
    assert_close(found.flatten(), case["expected"][name], dtype)


@each_precision
def test_each_reward_is_normalised_by_itself(dtype):
    case = vector("policy_gradient", "group_advantage", "gdpo_normalize_then_sum")
    rows = torch.tensor(case["inputs"]["reward_matrix"])
    given = {"one": rows[None, :, 0].tolist(), "two": rows[None, :, 1].tolist()}
    weights = dict(zip(given, case["inputs"]["weights"], strict=True))
    found = algorithm("gdpo").credit(experience(given, dtype, weights=weights))["advantages"]
    assert_close(found[0], case["expected"]["advantages"], dtype)


@each_precision
def test_a_divergence_in_the_reward_is_summed_over_a_response(dtype):
    case = vector("policy_gradient", "group_advantage", "rloo_kl_in_reward")
    given = case["inputs"]
    ours, theirs = (padded(*([row] for row in leaves(given[k], dtype))) for k in ("policy_logps", "ref_logps"))
    fields = {"old_logprobs": ours.terms, "chosen": ours.mask, "reference_logprobs": theirs.terms}
    rloo = algorithm("rloo", reward_kl={"coefficient": case["params"]["beta"], "estimator": "k1", "adaptive": None})
    found = rloo.credit(experience([given["rewards"]], dtype, **fields))
    assert_close(found["advantages"][0], case["expected"]["advantages"], dtype)
    assert not found["advantages"].requires_grad
    spread = case["expected"]["shaped_rewards"]
    assert spread[0] - spread[1] == pytest.approx(case["expected"]["advantages"][0])


@each_precision
def test_generalised_advantages_end_at_the_last_real_action(dtype):
    case = vector("policy_gradient", "ppo_rewards_gae", "truncated_mask")
    rewards, values, mask = (torch.tensor([[case["inputs"][k]]], dtype=dtype) for k in ("rewards", "values", "mask"))
    advantages, returns = of.generalized(rewards, values, mask, case["params"]["gamma"], case["params"]["lam"])
    assert_close(advantages[0, 0], case["expected"]["advantages"], dtype)
    assert_close(returns[0, 0], case["expected"]["returns"], dtype)


@each_precision
def test_whitening_keeps_the_mean_on_request(dtype):
    case = vector("policy_gradient", "whiten", "shift_and_noshift")
    values = torch.tensor([[*case["inputs"]["x"], 99.0]], dtype=dtype)
    mask = torch.ones_like(values)
    mask[0, -1] = 0
    for shift, name in ((True, "whitened"), (False, "whitened_no_shift")):
        found = of.whitened(values, mask, shift, case["params"]["eps"])
        assert_close(found[0, :-1], case["expected"][name], dtype)
        assert found[0, -1] == 0


@each_precision
def test_returns_are_whitened_over_all_actions(dtype):
    """The token rewards of the vector are a divergence of coefficient 1 and a reward at the end."""
    case = vector("policy_gradient", "reinforce_pp", "returns_then_global_whiten")
    rows = leaves(case["inputs"]["token_rewards"], dtype)
    given = padded(rows)
    penalty = [torch.cat([-row.detach()[:-1], row.new_zeros(1)]) for row in rows]
    scores = torch.stack([row.detach()[-1] for row in rows])[:, None]
    fields = {"old_logprobs": padded(penalty).terms, "chosen": given.mask}
    fields["reference_logprobs"] = torch.zeros_like(fields["old_logprobs"])
    objective = algorithm("reinforce_pp", reward_kl={"coefficient": 1.0, "estimator": "k1", "adaptive": None})
    found = objective.credit(experience({"given": scores.tolist()}, dtype, **fields))["advantages"]
    plain = algorithm("reinforce_pp", reward_kl={"coefficient": 1.0, "estimator": "k1", "adaptive": None}, whiten=False)
    returns = plain.credit(experience({"given": scores.tolist()}, dtype, **fields))["advantages"]
    for row, size in enumerate(map(len, rows)):
        assert_close(returns[row, 0, :size], case["expected"]["returns"][row], dtype)
        assert_close(found[row, 0, :size], case["expected"]["advantages"][row], dtype)
        assert found[row, 0, size:].abs().sum() == 0


@each_precision
def test_long_responses_lose_reward(dtype):
    case = vector("policy_gradient", "dapo_overlong", "soft_punish")
    lengths = torch.tensor(case["inputs"]["lengths"], dtype=dtype)
    penalty = of.overlong_penalty(lengths, case["params"]["L_max"], case["params"]["L_cache"])
    assert_close(penalty, case["expected"]["penalty"], dtype)


@each_precision
def test_the_multiplier_of_a_cost_takes_its_step_and_mixes_advantages(dtype):
    """The batch is mixed at the multiplier of before the step, as the vector is at that of after it: a second call."""
    case = vector("policy_gradient", "ppo_lagrangian", "lambda_update_and_mix")
    given, params = case["inputs"], case["params"]
    objective = algorithm("ppo_lagrangian").advantage
    assert (objective.rate, objective.threshold) == (params["lambda_lr"], params["threshold"])
    supervision = {
        name: torch.tensor([[given[key]]], dtype=dtype)
        for name, key in (("advantages", "reward_advantages"), ("cost_advantages", "cost_advantages"))
    }
    supervision["costs"] = torch.full((1, 1), given["mean_episode_cost"], dtype=dtype)
    memory = {"log_multiplier": torch.zeros((), dtype=torch.float64)}
    first, told = objective.mixed(supervision, memory)
    assert told["multiplier"].item() == params["lambda_init"]
    assert_close(
        first[0, 0],
        [(r - c) / 2 for r, c in zip(given["reward_advantages"], given["cost_advantages"], strict=True)],
        dtype,
    )
    assert_close(memory["log_multiplier"], case["expected"]["new_log_lambda"], dtype)
    found, told = objective.mixed(supervision, memory)
    assert_close(told["multiplier"], case["expected"]["new_lambda"], dtype)
    assert_close(found[0, 0], case["expected"]["mixed_advantages"], dtype)


@each_precision
def test_better_answers_are_imitated_and_worse_ones_unlearned_half_as_much(dtype):
    """The vector's weights of tokens come as weights of importance."""
    case = vector("policy_gradient", "oreal", "one_pos_one_neg")
    given, expected = case["inputs"], case["expected"]
    new = leaves([given["pos_logps"], given["neg_logps"]], dtype)
    theirs = padded(leaves([given["pos_ref_logps"], given["neg_ref_logps"]], dtype))
    now = padded(new)
    supervision = {"old_logprobs": now.terms.detach(), "chosen": now.mask, "reference_logprobs": theirs.terms.detach()}
    supervision["advantages"] = torch.tensor([[given["adv_pos"]], [given["adv_neg"]]], dtype=dtype)
    supervision["rewards"] = supervision["ended"] = supervision["advantages"]
    supervision["importance"] = padded(leaves([given["w_pos"], given["w_neg"]], dtype)).terms.detach()
    oreal = algorithm("oreal")
    assert oreal.loss_kl.coefficient == case["params"]["kl_coef"]
    loss, _ = oreal(GivenActions(now.terms), empty_batch(2, supervision=supervision))
    loss.backward()
    assert_close(loss, expected["loss"], dtype)
    for row, name in zip(new, ("pos_logps", "neg_logps"), strict=True):
        assert_close(row.grad, case["gradients"][name], dtype)


@each_precision
def test_a_reward_model_of_tokens_weighs_them_by_how_sure_it_is_of_the_outcome(dtype):
    case = vector("policy_gradient", "oreal", "token_reward")
    scores = leaves([case["inputs"]["right_scores"], case["inputs"]["wrong_scores"]], dtype)
    now = padded(scores)
    values, mask = (one.transpose(0, 1) for one in (now.terms, now.mask))  # one prompt with both answers
    oreal = algorithm("oreal_token_reward")
    fields = {"values": values.detach(), "chosen": mask, "old_logprobs": -mask, "reference_logprobs": -mask}
    credit = oreal.credit(experience([[1.0, 0.0]], dtype, **fields))
    for row, name in zip(credit["importance"][0], ("w_right", "w_wrong"), strict=True):
        assert_close(row[: len(case["expected"][name])], case["expected"][name], dtype)
        assert row[len(case["expected"][name]) :].abs().sum() == 0
    assert credit["advantages"].tolist() == [[1.0, -1.0]] and credit["right"].tolist() == [[True, False]]
    loss = oreal.critic(values, credit, mask, torch.tensor([2.0, 5.0, 3.0]))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    for row, name in zip(scores, ("right_scores", "wrong_scores"), strict=True):
        assert_close(row.grad, case["gradients"][name], dtype)
    assert oreal.critic.metrics(values, credit, mask)["process/accuracy"].item() == 1.0


@each_precision
def test_the_coefficient_of_a_divergence_follows_it(dtype):
    """256 responses of 9 nats each: the second rollout is penalised by the grown coefficient."""
    case = vector("policy_gradient", "adaptive_kl", "ziegler")
    given, params = case["inputs"], case["params"]
    adaptive = {"target": params["target"], "horizon": params["horizon"]}
    kl = {"coefficient": given["kl_coef"], "estimator": "k1", "adaptive": adaptive}
    objective = algorithm("reinforce_pp", whiten=False, reward_kl=kl)
    assert objective.remembers == ("log_penalty",)
    apart = torch.full((64, 4, 1), float(given["current_kl"]), dtype=dtype)
    assert apart.numel() == params["n_steps"]
    fields = {"old_logprobs": apart - 9, "reference_logprobs": 0 * apart - 9}
    memory = {"log_penalty": torch.zeros((), dtype=torch.float64)}
    for coefficient in (given["kl_coef"], case["expected"]["new_kl_coef"]):
        found = objective.credit(experience(torch.zeros(64, 4).tolist(), dtype, **fields), memory=memory)
        assert_close(found["advantages"][0, 0], [-9 * coefficient], dtype)


@each_precision
def test_a_process_reward_is_taught_by_answers_and_pays_for_tokens(dtype):
    """The vector's token rewards q, in a group with an answer without any: over the leave-one-out mean 2 q − (mean q + 0),
    and (1 − 0) with the last; advantages are the sums from a token on."""
    case = vector("reward", "prime_implicit_reward", "correct_answer")
    ours, theirs = (leaves([case["inputs"][key]], dtype) for key in ("prm_token_logps", "ref_token_logps"))
    now, fixed = padded(ours), padded(theirs)
    prime = algorithm("prime")
    assert prime.critic.beta == case["params"]["beta_train"]
    given = {"reference_logprobs": fixed.terms.detach(), "right": torch.tensor([[case["inputs"]["label"]]])}
    loss = prime.critic(now.terms, given, now.mask, torch.tensor([1.0, 4.0, 4.0]))
    loss.backward()
    assert_close(loss, case["expected"]["loss"], dtype)
    assert_close(ours[0].grad, case["gradients"]["prm_token_logps"], dtype)
    two = {name: torch.cat([one.terms.detach(), fixed.terms.detach()], 1) for name, one in (("v", now), ("r", fixed))}
    fields = {"old_logprobs": two["r"], "chosen": torch.cat([now.mask] * 2, 1), "values": two["v"]}
    plain = algorithm("prime", whiten=False, advantage={**asdict(prime.advantage), "process": 1.0, "outcome": 1.0})
    found = plain.credit(experience([[1.0, 0.0]], dtype, reference_logprobs=two["r"], **fields))
    q = torch.tensor(case["expected"]["token_process_reward_q"], dtype=dtype)
    each = 2 * q - q.mean() + torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert_close(found["advantages"][0, 0, :4], each.flip(0).cumsum(0).flip(0).tolist(), dtype)
    assert found["right"].tolist() == [[True, False]]


@each_precision
def test_a_critic_learns_beside_the_policy(dtype):
    """At ratio 1 and with values as they were: −mean A of (−1, 1), whitened, is 0, and 0.1 · ½ mean (0.5², 0.25²) is left."""
    values = torch.tensor([0.5, 0.25], dtype=dtype).view(2, 1, 1)
    ppo = algorithm("ppo", reward_kl=None)
    given = experience([[1.0], [0.0]], dtype, values=values)
    credit = ppo.credit(given)
    assert_close(credit["returns"].flatten(), [1.0, 0.0], dtype)
    policy = GivenActions(given.old_logprobs)
    policy.values = lambda batch: values
    loss, metrics = ppo(policy, empty_batch(2, supervision=credit))
    assert_close(loss, 0.1 * (0.25 + 0.0625) / 4, dtype)
    assert metrics["value/explained"].item() == pytest.approx(1 - 0.28125 / 0.5)  # variances of (0.5, −0.25) and (1, 0)


@each_precision
def test_ppo_ptx(dtype):
    """The objective with a policy's loss that is zero, since its responses have no advantage: what is left is ptx."""
    case = vector("policy_gradient", "ppo_ptx", "coef16")
    logps = leaves([case["inputs"]["ptx_token_logps"]], dtype)
    objective = algorithm("grpo", ptx={"coefficient": case["params"]["ptx_coef"]})
    policy = GivenActions(torch.zeros(1, 1, 1, dtype=dtype))
    policy.log_likelihood = lambda batch: padded(logps)
    nothing = torch.zeros(1, 1, 1, dtype=dtype)
    told = {"old_logprobs": nothing, "chosen": nothing + 1, "advantages": nothing[0], "rewards": nothing[0]}
    batch = empty_batch(1, supervision={**told, "ended": nothing[0]})
    shown = padded(logps)
    batch.branches["auxiliary"] = replace(empty_batch(1), response={"mask": shown.mask})
    loss, metrics = objective(policy, batch)
    loss.backward()
    assert_close(case["inputs"]["ppo_actor_loss"] + loss, case["expected"]["loss"], dtype)
    assert_close(metrics["ptx/loss"], case["params"]["ptx_coef"] * case["expected"]["ptx_loss"], dtype)
    assert_close(logps[0].grad, [-case["params"]["ptx_coef"] / 3] * 3, dtype)


@pytest.mark.parametrize("case", [pytest.param(v, id=v["id"]) for _, v in vectors("policy_gradient", "nash_md")])
@each_precision
def test_a_response_is_learned_by_how_much_it_is_preferred_to_its_rival(case, dtype):
    """Rivals are the second half of each group: they are compared with, and nothing is learned from them."""
    given, penalty = case["inputs"], case["id"].removeprefix("divergence_of_").removesuffix("s")
    options = {
        **asdict(algorithm("nash_md").advantage),
        "penalty": {"response": "response", "token": "action"}[penalty],
    }
    nash = algorithm("nash_md", advantage=options)
    assert nash.reward_kl.coefficient == case["params"]["beta"]
    new = leaves(given["new_logps"], dtype)
    now, fixed = padded(new), padded(leaves(given["ref_logps"], dtype))
    both = {"old_logprobs": now, "reference_logprobs": fixed}
    both = {name: torch.cat([one.terms.detach(), 0 * one.terms.detach()], 1) for name, one in both.items()}
    rewards = [*zip(given["rewards"], given["rival_rewards"], strict=True)]
    credit = nash.credit(experience(rewards, dtype, chosen=torch.cat([now.mask, 1 - 0 * now.mask], 1), **both))
    each = credit["advantages"][:, 0]
    if penalty == "response":
        assert_close(each, case["expected"]["advantages"], dtype)
    else:
        for row, expected in zip(each, case["expected"]["advantages"], strict=True):
            assert_close(row[: len(expected)], expected, dtype)
    batch = empty_batch(len(new), supervision=credit)
    loss, _ = replace(nash, surrogate=algorithm("reinforce").surrogate)(GivenActions(now.terms), batch)
    assert_close(loss, case["expected"]["loss"], dtype)
    nash(GivenActions(now.terms), batch)[0].backward()  # whose ratios are 1 here, which has the same gradient
    for row, expected in zip(new, case["gradients"]["new_logps"], strict=True):
        assert_close(row.grad, expected, dtype)


def test_a_verdict_can_be_all_that_counts_of_a_rival():
    """½ for the larger reward, whatever the distance; nothing for equal ones."""
    options = {"name": "against_rivals", "rivals": 0.5, "preference": "larger", "penalty": "response"}
    nash = algorithm("nash_md", advantage=options, reward_kl=None)
    found = nash.credit(experience([[3.0, 0.0, 1.0, 1.0, 0.5, 1.0]]))
    assert found["advantages"].tolist() == [[0.5, -0.5, 0.0]]
    assert found["rewards"].shape == found["ended"].shape == (1, 3) and nash.uses_reference


def test_a_moving_average_is_of_earlier_rollouts_each_counting_less_than_the_next():
    """Means 1, 3, 5 at decay 0.5: over their own 1, then over 1, then over (0.25 · 1 + 0.5 · 3) / 0.75 = 7/3."""
    moving = algorithm("reinforce_moving", advantage={"name": "moving", "decay": 0.5})
    memory = {name: torch.zeros((), dtype=torch.float64) for name in moving.remembers}
    rollouts = ([[0.0, 2.0]], [[3.0, 3.0]], [[4.0, 6.0]])
    found = [moving.credit(experience(rewards), memory=memory)["advantages"][0] for rewards in rollouts]
    assert_close(torch.stack(found), [[-1.0, 1.0], [2.0, 2.0], [4 - 7 / 3, 6 - 7 / 3]], torch.float64)
    alone = moving.credit(experience([[4.0, 6.0]]))["advantages"]
    assert_close(alone, [[-1.0, 1.0]], torch.float64)


@each_precision
def test_rewards_of_a_prompt_are_compared_with_its_last_ones(dtype):
    """Three are kept and two are enough. Prompt 7 has (1, 3), of mean 2 and deviation 1; then (3, 5, 4), of mean 4 and
    deviation √(2/3). Prompt 9, which has one reward at first, is compared with the whole first rollout: mean 4/3,
    deviation √(14/9); then with its own (0, 2), of mean 1 and deviation 1."""
    tracked = algorithm("ddpo_per_prompt", advantage={"name": "per_prompt", "last": 3, "fewest": 2, "eps": 0.0})
    memory = {name: torch.zeros((), dtype=torch.float64) for name in tracked.remembers}
    first = experience([[1.0, 3.0], [0.0, float("nan")]], dtype, prompts=[7, 9])
    second = experience([[2.0, float("nan")], [5.0, 4.0]], dtype, prompts=[9, 7])
    found = tracked.credit(first, memory=memory)["advantages"]
    assert_close(found, [[-1.0, 1.0], [-(4 / 3) / (14 / 9) ** 0.5, 0.0]], dtype)
    found = tracked.credit(second, memory=memory)["advantages"]
    assert_close(found, [[1.0, 0.0], [1 / (2 / 3) ** 0.5, 0.0]], dtype)
    assert memory["tracked_prompts"].tolist() == [7, 9]
    assert memory["tracked_rewards"].nan_to_num(-1).tolist() == [[3.0, 5.0, 4.0], [-1.0, 0.0, 2.0]]


def test_more_rewards_than_are_kept_are_never_there():
    with pytest.raises(Exception, match="type algo.advantage.last=4"):
        algorithm("ddpo_per_prompt", advantage={"name": "per_prompt", "last": 3, "fewest": 4, "eps": 0.0})
