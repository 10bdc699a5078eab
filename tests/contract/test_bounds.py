"""One scale between nats and denoising errors: an algorithm with the β of text pulls on pictures as hard as it should."""

import math
from contextlib import contextmanager

import pytest
import torch

from aa_lightning.algos.step import computed
from aa_lightning.models.diffusion.denoiser import NATS
from aa_lightning.types import Batch, LogLikelihood
from tests.contract.support import ALGORITHMS
from tests.contract.test_algorithms import algorithm_of, batch_for, policy_of, refusal, step_of
from tests.vectors.support import algorithm, settings

BOUND = [algo for algo in ALGORITHMS if "elbo" in algorithm_of(algo).accepts and not algorithm_of(algo).draws_responses]
WITHOUT_BETA = {"sft", "reward_weighted_sft"}
COMPARED = [algo for algo in BOUND if algo not in WITHOUT_BETA]
MIXED = {"ha_dpo", "mpo"}
FOLLOWING = {"beta_dpo"}  # whose β follows margins in nats, and so differs from one that follows errors
UNIT = {"sppo": NATS**2}  # of the loss: squares of nats instead of squares of errors


class Errors:
    """A policy that is as good as its errors (P, K) say, each taken for so many nats."""

    likelihood = "elbo"

    def __init__(self, errors: torch.Tensor, reference: torch.Tensor, scale: float):
        self.errors, self.reference, self.scale = errors, reference, scale

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        errors = self.errors[:, :1] if batch.ids == ["branch"] * 4 else self.errors
        return LogLikelihood(-errors[..., None], torch.ones_like(errors)[..., None], scale=self.scale)

    @contextmanager
    def as_reference(self):
        yield Errors(self.reference, self.reference, self.scale)


def multiplied(given: dict, factor: float) -> dict:
    """Settings with each β times a factor."""
    return {
        key: multiplied(value, factor) if isinstance(value, dict) else value * factor if key == "beta" else value
        for key, value in given.items()
    }


def gradient(name: str, scale: float, factor: float) -> torch.Tensor:
    """Of the loss in the errors of four rows, from a policy that has moved some nats from its reference."""
    objective = algorithm(name, **multiplied(settings(name), factor))
    draw = torch.Generator().manual_seed(3)
    width = 1 if objective.supervision == "rating" else 2
    reference = 0.5 + 0.1 * torch.rand(4, width, generator=draw, dtype=torch.float64)
    moved = torch.randn(4, width, generator=draw, dtype=torch.float64) * 3 / NATS
    errors = (reference + moved).requires_grad_()
    batch = Batch([str(i) for i in range(4)], {}, {})
    batch.branches = {"auxiliary": Batch(["branch"] * 4, {}, {})}
    batch.supervision = {
        "desirable": torch.tensor([[True], [False], [False], [True]]),
        "scores": torch.tensor([[1.0, 0.0]] * 4),
        "margin": torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64),
    }
    loss, _ = computed(objective, Errors(errors, reference, scale), batch, step_of(objective))
    loss.backward()
    return errors.grad


@pytest.mark.parametrize("name", [name for name in COMPARED if name not in FOLLOWING])
def test_the_beta_of_text_gives_the_gradient_of_25000_times_as_much_on_bare_errors(name):
    assert NATS == 25_000
    scaled, bare = gradient(name, NATS, 1.0), gradient(name, 1.0, NATS) * UNIT.get(name, 1.0)
    assert (scaled - bare).abs().max() <= 1e-12 * bare.abs().max()
    assert (scaled - gradient(name, 1.0, 1.0)).abs().max() > 1e-3 * bare.abs().max()


def test_beta_dpo_follows_margins_in_nats():
    """The mean margin of kept pairs is some nats off its running mean: β moves by some tenths of itself, which errors,
    25,000 times smaller, could not do."""
    scaled, bare = gradient("beta_dpo", NATS, 1.0), gradient("beta_dpo", 1.0, NATS)
    assert (scaled / bare).nan_to_num(1.0).sub(1).abs().max() > 0.05


@pytest.mark.parametrize("name", COMPARED)
def test_every_algorithm_that_accepts_a_bound_reports_rewards_on_the_scale(name):
    """reward = β · 25,000 · (log π − log π_ref), of the real policy; MM-DPO's β is up to half as much again."""
    if (refused := refusal("tiny_sd", name)) is not None:
        pytest.skip(refused)
    objective, policy = algorithm_of(name), policy_of("tiny_sd", "policy")
    batch = batch_for("tiny_sd", objective, policy)
    assert policy.log_likelihood(batch).scale == NATS
    with policy.as_reference() as reference:
        assert reference.log_likelihood(batch).scale == NATS
    _, metrics = computed(objective, _Ahead(policy, batch), batch, step_of(objective))
    sides = [metrics[f"reward/{side}"].item() for side in ("chosen", "rejected")]
    gained = next(side for side in sides if side)  # ratings have 0 for a side that no row is on
    beta = (objective.objectives["preference"] if name in MIXED else objective).beta
    assert 0.98 <= gained / (beta * NATS * 1e-5) <= (1.52 if name == "mm_dpo" else 1.02)


class _Ahead:
    """A policy whose errors are all smaller by 1e-5."""

    def __init__(self, policy, batch: Batch):
        self.policy, self.likelihood = policy, policy.likelihood

    def log_likelihood(self, batch: Batch, tokens=None, statistic=None, measure=False) -> LogLikelihood:
        found = self.policy.log_likelihood(batch)
        return LogLikelihood(found.terms.double() + 1e-5, found.mask.double(), scale=found.scale)

    def as_reference(self):
        return self.policy.as_reference()


def test_the_scale_is_that_of_diffusion_dpo():
    """β 0.1 of text on errors: −log σ(2500 (e_l − e_w)), as 2311.12908 trains Stable Diffusion 1.5 with 5000 and ½."""
    errors = torch.tensor([[0.5, 0.5004]], dtype=torch.float64)
    reference = torch.full((1, 2), 0.5, dtype=torch.float64)
    loss, _ = algorithm("dpo")(Errors(errors, reference, NATS), Batch(["0"], {}, {}))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2500 * 0.0004)))
