"""Denoising errors and Diffusion-DPO against worked numbers, values and gradients."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aa_lightning.algos.experience import Experience
from aa_lightning.models.diffusion.denoiser import (
    Denoiser,
    noised,
    step_divergence,
    step_logprob,
    target,
    transition,
)
from aa_lightning.models.diffusion.flow import flow_transition
from aa_lightning.types import LogLikelihood
from tests.vectors.support import GivenTerms, algorithm, assert_close, empty_batch, vector, vectors
from tests.vectors.test_policy_gradient import GivenActions

each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
SFT = [pytest.param(case, id=case["id"]) for _, case in vectors("diffusion", "diffusion_sft")]
PICTURES = ("w", "l")  # winner and loser, as the vectors call them


def bound(mse: torch.Tensor, draws: int = 1) -> LogLikelihood:
    """(P, K) errors as a policy gives them: minus the error at each of T equal draws, each weighing 1/T."""
    terms = -mse[..., None].expand(*mse.shape, draws)
    return LogLikelihood(terms, torch.full_like(terms, 1 / draws))


def errors(given: dict, of: str, dtype: torch.dtype) -> torch.Tensor:
    """(1, 2) mean squared errors of (winner, loser)."""
    want = torch.tensor(given["target"], dtype=dtype)
    made = [torch.tensor(given[f"{of}_pred_{which}"], dtype=dtype) for which in PICTURES]
    return torch.stack([(prediction - want).square().mean() for prediction in made])[None]


@pytest.mark.parametrize("case", SFT)
@each_precision
def test_noising_target_and_error_are_the_worked_ones(case, dtype):
    given = {k: torch.tensor(v, dtype=dtype) for k, v in case["inputs"].items() if k != "alpha_bar"}
    level, kind = case["inputs"]["alpha_bar"], case["params"]["prediction_type"]
    if "x_t" in case["expected"]:
        assert_close(noised(given["x0"], given["noise"], level), case["expected"]["x_t"], dtype)
    aim = target(given["x0"], given["noise"], level, kind)
    assert_close(aim, case["expected"]["target"], dtype)
    error = (given["pred"] - aim).square().mean()
    loss, _ = algorithm("sft")(GivenTerms(bound(error[None, None], draws=4)), empty_batch(1))
    assert_close(loss, case["expected"]["loss"], dtype)


class GivenPrediction(nn.Module):
    """A U-Net that predicts the same for every input."""

    dtype = torch.float32

    def __init__(self, prediction: torch.Tensor):
        super().__init__()
        self.prediction = nn.Parameter(prediction)

    def forward(self, noisy, timesteps, context):
        self.seen = noisy
        return SimpleNamespace(sample=self.prediction.expand_as(noisy))


@pytest.mark.parametrize("case", SFT)
def test_the_denoiser_makes_the_worked_loss_from_a_prediction(case):
    """d loss / d prediction = 2 (prediction − target) / 4 elements."""
    latent = {k: torch.tensor(v).view(1, 1, 2, 2) for k, v in case["inputs"].items() if k != "alpha_bar"}
    unet = GivenPrediction(latent["pred"])
    schedule = SimpleNamespace(
        config=SimpleNamespace(prediction_type=case["params"]["prediction_type"]),
        alphas_cumprod=torch.tensor([case["inputs"]["alpha_bar"]]),
        final_alpha_cumprod=torch.tensor(1.0),
    )
    batch = empty_batch(1)
    batch.draws = {
        "latents": latent["x0"][None],
        "noise": latent["noise"][None],
        "timesteps": torch.zeros(1, 1, dtype=torch.long),
        "context": torch.zeros(1, 1, 1),
    }
    loss, _ = algorithm("sft")(GivenTerms(Denoiser(unet, schedule)(batch)), batch)
    loss.backward()
    assert_close(loss, case["expected"]["loss"], torch.float32)
    aim = torch.tensor(case["expected"]["target"])
    expected = (torch.tensor(case["inputs"]["pred"]) - aim) / 2
    assert_close(unet.prediction.grad.flatten(), expected.tolist(), torch.float32)
    if "x_t" in case["expected"]:
        assert_close(unet.seen.flatten(), case["expected"]["x_t"], torch.float32)


@each_precision
@pytest.mark.parametrize("draws", [1, 4])
def test_dpo_on_denoising_errors_is_diffusion_dpo_value_and_gradient(dtype, draws):
    """−log σ(−β [(e_w − e_w,ref) − (e_l − e_l,ref)]) with β = 2500 on mean errors; the same DPO as on tokens."""
    case = vector("diffusion", "diffusion_dpo", "diffusers_sd15_beta2500")
    policy, reference = (errors(case["inputs"], of, dtype) for of in ("policy", "ref"))
    policy.requires_grad_()
    dpo = algorithm("dpo", beta=case["params"]["beta_dpo"])
    loss, _ = dpo(GivenTerms(bound(policy, draws), bound(reference, draws)), empty_batch(1))
    loss.backward()
    for k, which in enumerate(PICTURES):
        assert_close(policy[0, k], case["expected"][f"policy_mse_{which}"], dtype)
        assert_close(reference[0, k], case["expected"][f"ref_mse_{which}"], dtype)
        assert_close(policy.grad[0, k], case["gradients"][f"policy_mse_{which}"], dtype)
    assert_close(loss, case["expected"]["loss"], dtype)


@each_precision
def test_the_papers_beta_on_squared_norms_is_the_same_loss_as_ours_on_mean_errors(dtype):
    """2311.12908 eq. 14 sums D = 4 squares over T = 1000 steps: β T ω D = 0.625 · 1000 · 1 · 4 = 2500."""
    case = vector("diffusion", "diffusion_dpo", "paper_form_sum_T_omega")
    given = case["params"]
    beta = given["beta"] * given["T"] * given["omega"] * len(case["inputs"]["target"])
    policy, reference = (bound(errors(case["inputs"], of, dtype)) for of in ("policy", "ref"))
    loss, _ = algorithm("dpo", beta=beta)(GivenTerms(policy, reference), empty_batch(1))
    assert_close(loss, case["expected"]["loss"], dtype)


@each_precision
def test_a_denoising_step_has_the_worked_mean_deviation_and_log_probability(dtype):
    case = vector("diffusion", "ddpo_ddim_logprob", "one_step")
    given = {key: torch.tensor(value, dtype=dtype) for key, value in case["inputs"].items()}
    noisy, predicted, drawn = (given[key].view(1, 1, 1, 2) for key in ("x_t", "eps_pred", "x_prev"))
    level, after = (given[key].view(1, 1, 1, 1) for key in ("alpha_bar_t", "alpha_bar_prev"))
    mean, std = transition(noisy, predicted, level, after, case["params"]["eta"], "epsilon")
    assert_close(mean.flatten(), case["expected"]["mean"], dtype)
    assert_close(std.flatten()[0], case["expected"]["std"], dtype)
    assert_close(step_logprob(drawn, mean, std)[0], case["expected"]["logprob_mean"], dtype)


@each_precision
def test_a_reward_on_a_chain_is_learned_in_each_of_its_steps(dtype):
    """−10 · 0.7 · mean log π + 0.01 · mean KL. The divergence of a step, which the vector gives, is here d²/2 of its
    log-ratio d = √(2 KL)."""
    case = vector("diffusion", "dpok", "reinforce_plus_kl")
    given, params = case["inputs"], case["params"]
    steps = torch.tensor([[given["step_logprob"]]], dtype=dtype)
    apart = (2 * torch.tensor([[given["step_kl_to_pretrained"]]], dtype=dtype)).sqrt()
    dpok = algorithm("dpok")
    assert dpok.loss_kl.coefficient == params["kl_weight"]
    scored = Experience(
        rewards={"picture": torch.tensor([[given["reward"]]], dtype=dtype)},
        weights={"picture": params["reward_weight"]},
        old_logprobs=steps,
        chosen=torch.ones_like(steps),
        ended=torch.ones(1, 1, dtype=torch.bool),
        reference_logprobs=steps - apart,
    )
    loss, _ = dpok(GivenActions(steps), empty_batch(1, supervision=dpok.credit(scored)))
    assert_close(loss, case["expected"]["loss"], dtype)


def flow_step(dtype: torch.dtype):
    """The worked step of a flow: latents (1, 1, 1, 4), times (1, 1, 1, 1), what must come out, and the noise level."""
    case = vector("diffusion", "flow_grpo_sde", "step")
    given = {key: torch.tensor(value, dtype=dtype).view(1, 1, 1, -1) for key, value in case["inputs"].items()}
    return given, case["expected"], case["params"]["noise_level"]


@each_precision
def test_a_random_step_of_a_flow_has_the_worked_mean_deviation_and_log_probability(dtype):
    given, expected, level = flow_step(dtype)
    times = given["sigma"], given["sigma_next"]
    mean, std = flow_transition(given["x_t"], given["v_pred"], *times, level)
    drawn = mean + std * given["noise"]
    assert_close(mean.flatten(), expected["mean"], dtype)
    assert_close(std.flatten()[0], expected["step_std"], dtype)
    assert_close(drawn.flatten(), expected["x_next"], dtype)
    assert_close(step_logprob(drawn, mean, std)[0], expected["logprob_mean"], dtype)
    straight, none = flow_transition(given["x_t"], given["v_pred"], *times, 0.0)
    assert_close(straight.flatten(), expected["ode_next"], dtype)
    assert none.item() == 0


@each_precision
def test_the_divergence_of_two_steps_is_the_papers_over_the_elements_of_a_latent(dtype):
    """‖μ − μ_ref‖² / (2 σ_t² Δt), which is a sum over four elements; no divergence where no step is random."""
    given, expected, level = flow_step(dtype)
    times = given["sigma"], given["sigma_next"]
    (mean, std), (other, _) = (flow_transition(given["x_t"], given[v], *times, level) for v in ("v_pred", "v_ref"))
    assert_close(4 * step_divergence(mean, other, std)[0], expected["kl_paper_mean_form"], dtype)
    assert_close(4 * step_divergence(mean, other, std)[0], expected["kl_paper_velocity_form"], dtype)
    assert step_divergence(mean, other, torch.zeros_like(std)).item() == 0


def test_a_random_step_of_a_flow_keeps_the_distribution_that_a_straight_one_gives():
    """Data are normal of deviation 0.5, whose velocity is known: in many small steps from noise they come back. At time 1,
    where the deviation has no bound, the step is finite."""
    torch.manual_seed(0)
    data, count = 0.5, 400
    noisy = torch.randn(40_000, 1, 1, 1, dtype=torch.float64)
    times = torch.linspace(1, 0, count + 1, dtype=torch.float64)[:, None, None, None, None]
    for time, after in pairwise(times):
        spread = (1 - time) ** 2 * data**2 + time**2  # the variance of (1 − t) data + t noise
        velocity = noisy * (time - (1 - time) * data**2) / spread
        mean, std = flow_transition(noisy, velocity, time, after, 0.7)
        noisy = mean + std * torch.randn_like(mean)
    assert noisy.std().item() == pytest.approx(data, rel=0.02)
    assert noisy.mean().item() == pytest.approx(0, abs=0.02)
