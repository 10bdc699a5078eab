"""Every algorithm of `conf/algo/` that learns from drawn responses, on every tiny family: from draws of the policy itself,
whose ratios are 1, the loss is its closed form, and its gradient reaches the weights."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from aa_lightning.algos.experience import Experience
from aa_lightning.algos.metrics import NAMES
from aa_lightning.algos.plain import completed
from aa_lightning.algos.policy_gradient import PolicyGradient
from aa_lightning.algos.step import Step, credited
from aa_lightning.training.groups import first
from aa_lightning.types import Batch, Rollout, Sampling
from tests.contract.support import ALGORITHMS, CONF, MODELS, batch_of, config
from tests.contract.test_algorithms import QUICK, algorithm_of, policy_of, refusal

EVERY = [algo for algo in ALGORITHMS if algorithm_of(algo).draws_responses]
DRAWING = [algo for algo in EVERY if isinstance(algorithm_of(algo), PolicyGradient)]
CASES = [
    pytest.param(model, algo, marks=() if model in QUICK else pytest.mark.slow, id=f"{model}-{algo}")
    for model in MODELS
    for algo in DRAWING
]
P, K = 2, 4


@cache
def drawn(model: str):
    """Four short responses to each of two prompts; pictures of a diffusion model in three steps."""
    torch.manual_seed(0)
    return sampled(model, slice(0, P), Sampling(max_new_tokens=5))


def sampled(model: str, rows: slice, sampling: Sampling) -> Rollout:
    policy = policy_of(model, "policy")
    prompts = batch_of(config(model, "dpo"), policy, "demonstration", rows)
    if policy.likelihood == "exact":
        return policy.sample(prompts, K, sampling)
    as_typed = policy.options.sampling
    policy.options.sampling = replace(as_typed, steps=3)
    try:
        return policy.sample(prompts, K, sampling)
    finally:
        policy.options.sampling = as_typed


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=() if model in QUICK else pytest.mark.slow) for model in MODELS]
)
def test_what_is_drawn_to_a_prompt_follows_from_its_seed_whatever_is_drawn_beside_it(model):
    """Nothing of it is drawn by the global generator, whose state is another one each time."""
    known = [sampled(model, slice(0, 3), Sampling(max_new_tokens=5, seeds=seeds)) for seeds in ((7, 8, 9), (7, 5, 9))]
    alone = [sampled(model, slice(row, row + 1), Sampling(max_new_tokens=5, seeds=(7 + row,))) for row in range(3)]
    chains = [[chosen(one, row) for row in range(len(one.batch))] for one in (*known, *alone)]
    for row in range(3):
        torch.testing.assert_close(chains[0][row], chains[2 + row][0], rtol=0, atol=1e-4)
    assert all(torch.equal(chains[0][row], chains[1][row]) for row in (0, 2))
    assert chains[0][1].shape != chains[1][1].shape or not torch.equal(chains[0][1], chains[1][1])


def chosen(rollout: Rollout, row: int) -> torch.Tensor:
    """The tokens that were said to a prompt, or the latents of its pictures."""
    if "chain" in rollout.batch.draws:
        return rollout.batch.draws["chain"][row]
    response = rollout.batch.response
    return response["input_ids"][row][response["mask"][row].bool()]


@cache
def read(model: str) -> torch.Tensor:
    """(P, K, A) the same actions, read by the policy: what all algorithms see."""
    rollout = drawn(model)
    with torch.no_grad():
        return policy_of(model, "policy").action_logprobs(rollout)


class Read:
    """A policy that has read its draws already, those to all prompts or to some, and whose critics stay as they were."""

    def __init__(self, model: str, prompts: slice = slice(None)):
        self.logprobs = read(model)[prompts].clone().requires_grad_()

    def action_logprobs(self, rollout: Rollout) -> torch.Tensor:
        return self.logprobs[:, : rollout.mask.shape[1]]

    def values(self, batch: Batch) -> torch.Tensor:
        given = batch.supervision
        values = given["old_values"] if "old_values" in given else given["reference_logprobs"] + 0.1
        return values.clone().requires_grad_()


def values_of(algorithm, rollout: Rollout, luck: torch.Generator) -> torch.Tensor:
    """Of critics, or log-probabilities of a process reward near those of the policy."""
    values = torch.rand(*rollout.mask.shape, algorithm.critics, generator=luck)
    return rollout.logprobs + 0.1 * values[..., 0] if algorithm.process_reward else values


def experience_of(model: str, algorithm) -> Experience:
    """What is drawn, with random rewards, by a policy that is its reference."""
    rollout, luck = drawn(model), torch.Generator().manual_seed(1)
    weights = {"right": 1.0, "short": 0.5, "cost": 0.0}
    return Experience(
        rewards={name: torch.rand(P, K, generator=luck) for name in weights},
        weights=weights,
        old_logprobs=rollout.logprobs,
        chosen=rollout.mask,
        ended=rollout.ended,
        reference_logprobs=rollout.logprobs if algorithm.uses_reference else None,
        values=values_of(algorithm, rollout, luck) if algorithm.critics else None,
        greedy_rewards=torch.rand(P, generator=luck) if algorithm.needs_greedy else None,
    )


def closed_form(algorithm, given: dict[str, torch.Tensor]) -> float:
    """The loss where every ratio is 1, the policy is its reference, the critics are as they were, and a multiplier is 1."""
    given = {name: values.double() for name, values in given.items()}
    mask, advantages, logprobs = given["chosen"], given["advantages"], given["old_logprobs"]
    advantages = (advantages[..., None] if advantages.ndim == 2 else advantages).expand_as(mask)
    if "cost_advantages" in given:
        advantages = (advantages - given["cost_advantages"]) / 2
    surrogate, size, better = algorithm.surrogate, mask.sum(-1, keepdim=True), (advantages > 0).double()
    each = {
        "clip": lambda: -advantages,
        "truncate": lambda: -advantages * logprobs,
        "reinforce": lambda: -advantages * logprobs,
        "imitate_better": lambda: torch.where(advantages > 0, -advantages * logprobs, -advantages),
        "soft_gate": lambda: -2 * advantages / torch.where(advantages > 0, surrogate.positive, surrogate.negative),
        "geometric": lambda: -((advantages * mask).sum(-1, keepdim=True) / size).expand_as(mask),
    }[surrogate.name]()
    weight = {
        "token": lambda how: 1 / mask.sum(),
        "token_of_batch": lambda how: 1 / mask.sum(),
        "response": lambda how: 1 / (mask[..., 0].numel() * size),
        "sum": lambda how: 1 / mask[..., 0].numel(),
        "constant": lambda how: 1 / (P * K * how.length),
        "by_sign": lambda how: torch.where(
            advantages > 0, how.positive / (mask * better).sum(), how.negative / (mask * (1 - better)).sum()
        ),
    }[algorithm.aggregation.name](algorithm.aggregation)
    found = (each * given.get("importance", 1.0) * mask * weight).sum().item()
    if algorithm.imitation:
        good = (given["rewards"] > algorithm.imitation.above)[..., None] * mask
        found -= algorithm.imitation.coefficient * (good * logprobs).sum().item() / mask.sum().item()
    if algorithm.process_reward:  # whose model says 0.1 more of each action than the reference
        logits = algorithm.critic.beta * 0.1 * size[..., 0]
        right = given["right"]
        lost = -(right * logits.sigmoid().log() + (1 - right) * (-logits).sigmoid().log())
        found += algorithm.critic.coefficient * lost.mean().item()
    elif "right" in given:  # scores of tokens, which are the reference's log-probabilities and 0.1
        scores = ((given["reference_logprobs"] + 0.1) * mask).sum(-1) / size[..., 0]
        right = given["right"]
        lost = -(right * scores.sigmoid().log() + (1 - right) * (-scores).sigmoid().log())
        found += algorithm.critic.coefficient * lost.mean().item()
    elif algorithm.critic:
        missed = ((given["old_values"] - given["returns"]) ** 2 * mask[..., None]).sum() / mask.sum()
        found += algorithm.critic.coefficient * missed.item() / 2
    return found


def learned(model: str, given: dict[str, torch.Tensor]) -> Batch:
    """The draws of which something is learned, with it."""
    batch = drawn(model).batch
    return replace(batch, response=first(batch.response, given["chosen"].shape[1]), supervision=given)


def memory_of(algorithm) -> dict[str, torch.Tensor]:
    return {name: torch.zeros((), dtype=torch.float64) for name in algorithm.remembers}


@pytest.mark.parametrize(("model", "algo"), CASES)
def test_a_step_on_the_policys_own_draws_has_the_closed_value(model, algo):
    algorithm = algorithm_of(algo)
    if refused := refusal(model, algo):
        assert "type" in refused
        return
    policy, given = Read(model), algorithm.credit(experience_of(model, algorithm))
    batch = learned(model, given)
    normalizer = torch.tensor(algorithm.normalizer(batch))
    loss, metrics = algorithm(policy, batch, Step(normalizer=normalizer, memory=memory_of(algorithm), measured=True))
    assert loss.item() == pytest.approx(closed_form(algorithm, given), rel=1e-4, abs=2e-5)
    loss.backward()
    assert torch.isfinite(policy.logprobs.grad).all() and policy.logprobs.grad.abs().sum() > 0
    left_out = policy.logprobs.grad[:, : given["chosen"].shape[1]] * (1 - given["chosen"])
    assert left_out.abs().sum() == 0  # what was not chosen is not learned
    assert set(metrics) <= set(NAMES) and all(math.isfinite(value) for value in metrics.values())
    assert metrics["ratio/mean"].item() == pytest.approx(1, abs=1e-4)
    assert metrics["reward/mean"].item() == pytest.approx(given["rewards"].mean().item())


@pytest.mark.parametrize("model", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MODELS])
def test_the_gradient_reaches_the_weights(model):
    """Between θ + t·g and θ − t·g, with its gradient g, the loss of GRPO falls by 2t·|g|²."""
    algorithm, policy = algorithm_of("grpo"), policy_of(model, "policy")
    policy.zero_grad(set_to_none=True)
    batch = replace(drawn(model).batch, supervision=algorithm.credit(experience_of(model, algorithm)))
    algorithm(policy, batch)[0].backward()
    moved = [p for p in policy.parameters() if p.grad is not None]
    squared = sum(p.grad.double().square().sum() for p in moved).item()
    assert math.isfinite(squared) and squared > 0
    rate, kept = 2e-3 / squared**0.5, [p.detach().clone() for p in moved]
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, old in zip(moved, kept, strict=True):
                p.copy_(old + sign * rate * p.grad)
            losses.append(algorithm(policy, batch)[0].item())
    with torch.no_grad():
        for p, old in zip(moved, kept, strict=True):
            p.copy_(old)
    if "qwen3_omni" not in model:  # whose experts are chosen by rank, so that the loss jumps
        assert losses[0] - losses[1] == pytest.approx(2 * rate * squared, rel=0.1)


@pytest.mark.parametrize("algo", DRAWING)
def test_micro_batches_of_a_step_add_up_to_it(algo):
    """Lightning averages the losses of two halves, each divided by half of what the whole step counts."""
    algorithm = algorithm_of(algo)
    given = algorithm.credit(experience_of("tiny_qwen2", algorithm))
    whole = learned("tiny_qwen2", given)
    halves = [half(whole, p) for p in range(P)]
    counts = torch.tensor([algorithm.normalizer(one) for one in halves])

    def loss_of(batch: Batch, prompts: slice, normalizer: torch.Tensor | None) -> float:
        step = Step(normalizer=normalizer, memory=memory_of(algorithm))
        return algorithm(Read("tiny_qwen2", prompts), batch, step)[0].item()

    total = loss_of(whole, slice(None), counts.sum(0))
    parts = [loss_of(one, slice(p, p + 1), counts.sum(0) / 2) for p, one in enumerate(halves)]
    if algo == "bnpo":  # which takes means of batches
        assert parts == pytest.approx([loss_of(one, slice(p, p + 1), None) for p, one in enumerate(halves)])
    else:
        assert sum(parts) / 2 == pytest.approx(total, rel=1e-4, abs=1e-5)


def half(batch: Batch, p: int) -> Batch:
    """One prompt of a batch of text."""
    held = {name: getattr(batch, name) for name in ("prompt", "response", "supervision")}
    cut = {name: {key: value[p : p + 1] for key, value in tensors.items()} for name, tensors in held.items()}
    return Batch(ids=batch.ids[p : p + 1], draws=batch.draws, **cut)


def test_responses_that_are_left_out_take_no_part():
    """A reward of NaN, or an answer that was cut off where those are dropped: its group's statistics and the loss are those
    of the other three."""
    algorithm = algorithm_of("grpo")
    whole = experience_of("tiny_qwen2", algorithm)
    holed = {name: reward.clone() for name, reward in whole.rewards.items()}
    holed["right"][0, 3] = math.nan
    credit = algorithm.credit(replace(whole, rewards=holed))
    cut = [
        replace(whole, **{name: getattr(whole, name)[:, :3] for name in ("old_logprobs", "chosen", "ended")}),
        {name: reward[:, :3] for name, reward in whole.rewards.items()},
    ]
    of_three = algorithm.credit(replace(cut[0], rewards=cut[1]))
    torch.testing.assert_close(credit["advantages"][0, :3], of_three["advantages"][0])
    assert credit["advantages"][0, 3] == 0 and credit["chosen"][0, 3].sum() == 0
    unfinished = torch.ones_like(whole.ended)
    unfinished[1, 0] = False
    kept = replace(algorithm, drop_unfinished=True).credit(replace(whole, ended=unfinished))
    assert kept["chosen"][1, 0].sum() == 0 and torch.equal(kept["chosen"][0], whole.chosen[0])


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llava"])
def test_a_bonus_on_entropy_is_that_of_whole_distributions_and_raises_it(model):
    policy, plain = policy_of(model, "policy"), algorithm_of("grpo")
    batch = replace(drawn(model).batch, supervision=plain.credit(experience_of(model, plain)))
    mask = batch.supervision["chosen"]

    def spread() -> torch.Tensor:
        with torch.no_grad():
            return (policy.log_likelihood(batch, measure=True).measures["entropy"] * mask).sum() / mask.sum()

    policy.zero_grad(set_to_none=True)
    loss, _ = replace(plain, entropy=0.1)(policy, batch)
    assert (plain(policy, batch)[0] - loss).item() == pytest.approx(0.1 * spread().item(), rel=1e-4)
    none = replace(batch, supervision={**batch.supervision, "advantages": torch.zeros(P, K)})
    replace(plain, entropy=1.0)(policy, none)[0].backward()
    moved = [p for p in policy.parameters() if p.grad is not None]
    before, kept = spread(), [p.detach().clone() for p in moved]
    with torch.no_grad():
        for p in moved:
            p -= 0.05 * p.grad
        after = spread()
        for p, old in zip(moved, kept, strict=True):
            p.copy_(old)
    assert after > before


AT_REFERENCE = {"online_dpo": math.log(2), "online_ipo": 25.0}  # 1 / (4 beta²)


PAIRED = [algo for algo in EVERY if algo not in DRAWING]


@pytest.mark.parametrize("algo", [algo for algo in PAIRED if not algorithm_of(algo).rivals])
@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llava"])
def test_the_best_and_the_worst_draw_are_a_pair(model, algo):
    """The loss is that of the objective on these two responses alone, and has its closed value at the reference."""
    algorithm, policy = algorithm_of(algo), policy_of(model, "policy")
    policy.zero_grad(set_to_none=True)
    experience = experience_of(model, algorithm)
    given = algorithm.credit(experience)
    reward = experience.rewards["right"] + 0.5 * experience.rewards["short"]
    assert given["pair"].tolist() == [[row.argmax().item(), row.argmin().item()] for row in reward]
    batch = replace(drawn(model).batch, supervision=given)
    step = Step(normalizer=torch.tensor(algorithm.normalizer(batch)), measured=True)
    loss, metrics = algorithm(policy, batch, step)
    assert loss.item() == pytest.approx(AT_REFERENCE[algo], rel=1e-5)
    loss.backward()
    assert sum(p.grad.abs().sum() for p in policy.parameters() if p.grad is not None) > 0
    assert set(metrics) <= set(NAMES) and metrics["advantage/zero"].item() == 0
    chosen = torch.stack(
        [row[best] for row, best in zip(batch.response["mask"].sum(-1), reward.argmax(1), strict=True)]
    )
    assert metrics["length/chosen"].item() == pytest.approx(chosen.mean().item())


def test_a_draw_and_its_rival_are_a_pair_the_farthest_apart():
    """The policy drew the first two; at the reference the loss is ln 2, and α times the likelihood of the rival."""
    algorithm, policy = algorithm_of("xpo"), policy_of("tiny_llava", "policy")
    rewards = torch.tensor([[0.1, 0.9, 0.3, 0.4], [0.2, 0.5, 1.0, 0.0]])
    experience = replace(experience_of("tiny_llava", algorithm), rewards={"right": rewards}, weights={"right": 1.0})
    given = algorithm.credit(experience)
    assert given["pair"].tolist() == [[1, 2], [2, 0]]
    batch = replace(drawn("tiny_llava").batch, supervision=given)
    with torch.no_grad():
        said = policy.log_likelihood(batch).total
    loss, metrics = replace(algorithm, optimism=0.01)(policy, batch, Step(measured=True))
    rival = (said[0, 2] + said[1, 2]).item() / 2
    assert metrics["logp/rival"].item() == pytest.approx(rival, rel=1e-5)
    assert loss.item() == pytest.approx(math.log(2) + 0.01 * rival, rel=1e-5)
    assert set(metrics) <= set(NAMES)


def test_where_rewards_are_equal_a_rival_is_unlearned_and_compared_with_nothing():
    algorithm, policy = replace(algorithm_of("xpo"), optimism=0.0), policy_of("tiny_qwen2", "policy")
    experience = replace(
        experience_of("tiny_qwen2", algorithm), rewards={"right": torch.ones(P, K)}, weights={"right": 1.0}
    )
    given = algorithm.credit(experience)
    assert given["pair"].tolist() == [[2, 2]] * P and not given["apart"].any()
    batch = replace(drawn("tiny_qwen2").batch, supervision=given)
    for optimism, moves in ((0.0, False), (0.1, True)):
        policy.zero_grad(set_to_none=True)
        replace(algorithm, optimism=optimism)(policy, batch)[0].backward()
        assert (max(p.grad.abs().max() for p in policy.parameters() if p.grad is not None) > 1e-6) == moves


def test_equal_rewards_make_pairs_that_teach_nothing():
    algorithm, policy = algorithm_of("online_dpo"), policy_of("tiny_qwen2", "policy")
    experience = experience_of("tiny_qwen2", algorithm)
    experience.rewards = {name: torch.ones(P, K) for name in experience.rewards}
    policy.zero_grad(set_to_none=True)
    loss, metrics = algorithm(policy, replace(drawn("tiny_qwen2").batch, supervision=algorithm.credit(experience)))
    loss.backward()
    assert metrics["advantage/zero"].item() == 1.0
    assert max(p.grad.abs().max() for p in policy.parameters() if p.grad is not None) < 1e-7


def test_the_class_of_the_page_imitates_the_best_draw():
    """The loss is −log π of the tokens of the best responses, in the mean."""
    page = (CONF.parent / "docs" / "algorithms.md").read_text(encoding="utf-8")
    code = page.partition("## One of drawn responses")[2].partition("```python\n")[2].partition("```")[0]
    there: dict = {}
    exec(code, there)
    own = completed(there["BestOfDraws"]())
    assert (own.draws_responses, own.critics, own.uses_reference) == (True, 0, False)
    experience = experience_of("tiny_qwen2", algorithm_of("grpo"))
    batch = replace(drawn("tiny_qwen2").batch, supervision=credited(own, experience, {}))
    loss, _ = own(Read("tiny_qwen2"), batch)
    best = experience.reward.argmax(1)
    terms = [(read("tiny_qwen2")[p, k], experience.chosen[p, k]) for p, k in enumerate(best)]
    total, count = sum((one * mask).sum() for one, mask in terms), sum(mask.sum() for _, mask in terms)
    assert loss.item() == pytest.approx(-(total / count).item(), rel=1e-5)
