"""Random steps of a flow: the stochastic sampler of Flow-GRPO, which leaves the distributions on the way as they are."""

from __future__ import annotations

from torch import Tensor


def flow_transition(
    noisy: Tensor, velocity: Tensor, time: Tensor, next_time: Tensor, noise_level: float
) -> tuple[Tensor, Tensor]:
    """Mean (B, C, h, w) and standard deviation (B, 1, 1, 1) of a step towards the data (Flow-GRPO, 2505.05470 eq. 9).

    With σ_t = a √(t / (1 − t)) and Δ = next_time − time < 0, the mean is
    x (1 + σ_t² Δ / 2t) + v (1 + σ_t² (1 − t) / 2t) Δ, and the standard deviation σ_t √−Δ. Noise level 0 is an Euler step.

    Args:
        noisy: (B, C, h, w) x_t = (1 − t) data + t noise.
        velocity: (B, C, h, w) predicted noise − data.
        time, next_time: (B, 1, 1, 1), 1 ≥ time > next_time ≥ 0. From time 1, where σ_t has no bound, 1 − t is counted as
            1 − next_time in it.
        noise_level: a.
    """
    span = next_time - time
    left = 1 - next_time.where(time == 1, time)
    sigma = noise_level * (time / left) ** 0.5
    drift = sigma**2 / (2 * time)
    mean = noisy * (1 + drift * span) + velocity * (1 + drift * (1 - time)) * span
    return mean, sigma * (-span) ** 0.5
