"""Denoising as a likelihood: errors at given draws, and the Gaussian steps of a sampling chain."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from aa_lightning.types import Batch, LogLikelihood, Rollout, Statistic

PredictionType = Literal["epsilon", "v_prediction"]
# what an error of 1 is taken for in nats, so that β 0.1 of text is 2500 on mean errors, without a factor 1/2: the same loss
# as 5000 with it, which Diffusion-DPO takes (2311.12908)
NATS = 25_000.0


class Denoiser(nn.Module):
    """A diffusers U-Net with its noise schedule, reading batches in the (P, K) layout.

    Args:
        unet: predicts noise or velocity from (noisy latents, timesteps, text states).
        scheduler: a DDIMScheduler; only its schedule is used, the steps are our own, since a scheduler returns no
            log-probabilities.
        blank_learns: whether steps of a chain have a gradient through the prediction without a caption.

    Raises:
        ValueError: the scheduler predicts something other than noise or velocity.
    """

    def __init__(self, unet: nn.Module, scheduler: object, blank_learns: bool = True):
        super().__init__()
        if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"the checkpoint's scheduler has prediction_type={scheduler.config.prediction_type!r}, and the "
                "denoising error is defined here for epsilon and v_prediction: choose another model.path"
            )
        self.unet, self.scheduler, self.blank_learns = unet, scheduler, blank_learns
        self.prediction_type: PredictionType = scheduler.config.prediction_type
        table = torch.cat([scheduler.alphas_cumprod, scheduler.final_alpha_cumprod[None]])
        self.register_buffer("alphas_cumprod", table, persistent=False)  # the last entry, [-1], is where a chain ends

    def forward(
        self, batch: Batch, tokens: Tensor | None = None, statistic: Statistic | None = None, measure: bool = False
    ) -> LogLikelihood:
        """Minus the mean squared error of every draw, (P, K, T), in float32 (2305.13301, 2311.12908); it has no measures."""
        assert tokens is None and statistic is None, "only token models have those"
        latents, noise = batch.draws["latents"].float(), batch.draws["noise"].float()
        p, k, t = *latents.shape[:2], noise.shape[1]
        every = (p, k, t)
        latents = latents[:, :, None].expand(*every, *latents.shape[2:]).flatten(0, 2)
        noise = noise[:, None].expand(*every, *noise.shape[2:]).flatten(0, 2)
        timesteps = batch.draws["timesteps"][:, None].expand(every).flatten()
        context = batch.draws["context"]
        context = context[:, None, None].expand(*every, *context.shape[1:]).flatten(0, 2)
        level = self.level(timesteps)
        predicted = self.predict(noised(latents, noise, level), timesteps, context)
        error = (predicted - target(latents, noise, level, self.prediction_type)).square().mean((1, 2, 3))
        return LogLikelihood(-error.view(every), torch.full(every, 1 / t, device=error.device), scale=NATS)

    def predict(self, noisy: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """The U-Net's output in float32. Arguments (B, C, h, w), (B,), (B, L, D)."""
        dtype = self.unet.dtype
        return self.unet(noisy.to(dtype), timesteps, context.to(dtype)).sample.float()

    def level(self, timesteps: Tensor) -> Tensor:
        """ᾱ of each timestep, (B, 1, 1, 1); timestep −1 is the end of a chain."""
        return self.alphas_cumprod[timesteps][:, None, None, None]

    # ------------------------------------------------------------ a chain

    def steps(self, count: int) -> Tensor:
        """Timesteps of a chain of `count` steps, (count + 1,), from noise to −1, the end."""
        self.scheduler.set_timesteps(count)
        end = torch.tensor([-1])
        return torch.cat([self.scheduler.timesteps.cpu(), end]).to(self.alphas_cumprod.device)

    def action_logprobs(self, rollout: Rollout) -> Tensor:
        """(P, K, A): log-probabilities of the drawn denoising steps under the current weights."""
        chain = rollout.batch.draws["chain"]
        states = chain.flatten(0, 1)
        logprobs = []
        for action in range(chain.shape[2] - 1):
            mean, std = self.step_of(rollout.batch, states[:, action], action)
            logprobs.append(step_logprob(states[:, action + 1], mean, std))
        return torch.stack(logprobs, 1).unflatten(0, chain.shape[:2])

    def step_of(self, batch: Batch, noisy: Tensor, action: int) -> tuple[Tensor, Tensor]:
        """Mean (P·K, C, h, w) and standard deviation (P·K, 1, 1, 1) of one denoising step of all chains of a drawn batch."""
        repeats = batch.draws["repeats"]
        wide = {key: batch.draws[key].repeat_interleave(repeats, 0) for key in ("context", "blank", "eta", "guidance")}
        steps = batch.draws["steps"].repeat_interleave(repeats, 0)
        return self.step(noisy, steps[:, action], steps[:, action + 1], **wide)

    def step(
        self,
        noisy: Tensor,
        here: Tensor,
        there: Tensor,
        context: Tensor,
        blank: Tensor,
        eta: Tensor,
        guidance: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mean (B, C, h, w) and standard deviation (B, 1, 1, 1) of the step from timestep `here` to `there`.

        Args:
            noisy: (B, C, h, w).
            here, there: (B,).
            context, blank: text states of the captions and of the empty caption, (B, L, D).
            eta: (B,), 0 for a deterministic step.
            guidance: (B,), classifier-free guidance (2207.12598); 1 is none and costs no second pass.
        """
        predicted = self.predict(noisy, here, context)
        if (guidance != 1).any():
            with torch.set_grad_enabled(self.blank_learns and torch.is_grad_enabled()):
                without = self.predict(noisy, here, blank)
            predicted = without + guidance[:, None, None, None] * (predicted - without)
        return transition(
            noisy, predicted, self.level(here), self.level(there), eta[:, None, None, None], self.prediction_type
        )


def noised(latents: Tensor, noise: Tensor, level: Tensor | float) -> Tensor:
    """(B, C, h, w) x_t = √ᾱ x_0 + √(1 − ᾱ) ε (2006.11239 eq. 4), with `level` ᾱ (B, 1, 1, 1) or a number."""
    return level**0.5 * latents + (1 - level) ** 0.5 * noise


def target(latents: Tensor, noise: Tensor, level: Tensor | float, prediction_type: PredictionType) -> Tensor:
    """(B, C, h, w) the training target of the network: ε, or v = √ᾱ ε − √(1 − ᾱ) x_0 (2202.00512)."""
    if prediction_type == "epsilon":
        return noise
    return level**0.5 * noise - (1 - level) ** 0.5 * latents


def clean_and_noise(
    noisy: Tensor, predicted: Tensor, level: Tensor | float, prediction_type: PredictionType
) -> tuple[Tensor, Tensor]:
    """(B, C, h, w) each: the x_0 and ε that a prediction stands for."""
    signal, spread = level**0.5, (1 - level) ** 0.5
    if prediction_type == "epsilon":
        return (noisy - spread * predicted) / signal, predicted
    return signal * noisy - spread * predicted, spread * noisy + signal * predicted


def transition(
    noisy: Tensor,
    predicted: Tensor,
    level: Tensor,
    next_level: Tensor,
    eta: Tensor | float,
    prediction_type: PredictionType,
) -> tuple[Tensor, Tensor]:
    """Mean (B, C, h, w) and standard deviation (B, 1, 1, 1) of p(x_{t−1} | x_t) (DDIM, 2010.02502 eq. 12 and 16)."""
    clean, noise = clean_and_noise(noisy, predicted, level, prediction_type)
    std = eta * ((1 - next_level) / (1 - level) * (1 - level / next_level)) ** 0.5
    mean = next_level**0.5 * clean + (1 - next_level - std**2) ** 0.5 * noise
    return mean, std


def step_logprob(drawn: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density of a drawn step, the MEAN over its latent elements (2305.13301), (B,); 0 where nothing is random.

    The mean, and not the sum, is what the clip range of 1e-4 of DDPO and its kin is made for.
    """
    safe = torch.where(std > 0, std, torch.ones_like(std))
    density = -((drawn - mean) ** 2) / (2 * safe**2) - safe.log() - 0.5 * math.log(2 * math.pi)
    return torch.where(std > 0, density, torch.zeros_like(density)).flatten(1).mean(1)


def step_divergence(mean: Tensor, other: Tensor, std: Tensor) -> Tensor:
    """KL of two Gaussian steps with one standard deviation, ‖μ − μ'‖² / 2σ² as a MEAN over latent elements, (B,) (2305.16381,
    2505.05470 eq. 10); 0 where nothing is random.

    Args:
        mean, other: (B, C, h, w).
        std: (B, 1, 1, 1).
    """
    safe = torch.where(std > 0, std, torch.ones_like(std))
    apart = (mean - other) ** 2 / (2 * safe**2)
    return torch.where(std > 0, apart, torch.zeros_like(apart)).flatten(1).mean(1)
