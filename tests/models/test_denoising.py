"""Denoising errors and DDIM steps against numbers worked by hand."""

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from aa_lightning.models.diffusion.denoiser import Denoiser, clean_and_noise, noised, step_logprob, target, transition
from aa_lightning.types import Batch


class Says(nn.Module):
    """A U-Net that predicts what it is told."""

    dtype = torch.float32

    def __init__(self, prediction):
        super().__init__()
        self.sample = prediction

    def forward(self, noisy, timesteps, context):
        self.noisy = noisy
        return self


@pytest.mark.parametrize(
    ("prediction_type", "loss"), [("epsilon", 0.00625), ("v_prediction", 0.171825)], ids=["epsilon", "velocity"]
)
def test_the_denoising_error_is_the_worked_one(prediction_type, loss):
    """x_0 = (1, −.5, .25, 0), ε = (.5, −1.2, .3, .8), ᾱ = .64: x_t = .8 x_0 + .6 ε = (1.1, −1.12, .38, .48).

    Against the prediction (.45, −1.1, .35, .7) the errors of ε are (.05, −.1, −.05, .1), their mean square .00625.
    v = .8 ε − .6 x_0 = (−.2, −.66, .09, .64), errors (.65, −.44, .26, .06), mean square .171825.
    """
    latents, noise, predicted = (
        torch.tensor(values).view(1, 1, 1, 2, 2)
        for values in ([1, -0.5, 0.25, 0], [0.5, -1.2, 0.3, 0.8], [0.45, -1.1, 0.35, 0.7])
    )
    unet = Says(predicted[0].repeat(2, 1, 1, 1))
    network = Denoiser(unet, DDIMScheduler(trained_betas=[0.36], prediction_type=prediction_type))
    draws = {
        "latents": latents,
        "noise": noise.repeat(1, 2, 1, 1, 1),
        "timesteps": torch.zeros(1, 2, dtype=torch.long),
        "context": torch.zeros(1, 1, 1),
    }
    likelihood = network(Batch(ids=["0"], prompt={}, response={}, draws=draws))
    assert unet.noisy[0].flatten().tolist() == pytest.approx([1.1, -1.12, 0.38, 0.48], rel=2e-5)
    assert likelihood.terms.flatten().tolist() == pytest.approx([-loss, -loss], rel=2e-5)
    assert likelihood.total.item() == pytest.approx(-loss, rel=2e-5)


def test_a_prediction_gives_back_the_picture_and_the_noise_that_it_stands_for():
    clean, noise = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64)
    for kind in ("epsilon", "v_prediction"):
        found = clean_and_noise(noised(clean, noise, 0.64), target(clean, noise, 0.64, kind), 0.64, kind)
        assert torch.allclose(found[0], clean) and torch.allclose(found[1], noise)


def test_a_ddim_step_has_the_worked_mean_spread_and_logprob():
    """x_t = (.3, −.8), ε̂ = (.4, −.5), ᾱ .5 → .7, η 1: std = √(.3/.5 · (1 − .5/.7)) = .41404.

    Drawn (.246536, −1.121566), the elements' log-densities are −.057144 and −.537144: the mean is −.297144.
    """
    x, eps, here, there = (
        torch.tensor(values, dtype=torch.float64) for values in ([[0.3, -0.8]], [[0.4, -0.5]], 0.5, 0.7)
    )
    mean, std = transition(x, eps, here, there, 1.0, "epsilon")
    assert mean[0].tolist() == pytest.approx([0.1637282094925, -0.7075270434291], rel=1e-10)
    assert std.item() == pytest.approx(0.4140393356054, rel=1e-10)
    drawn = torch.tensor([[0.2465360766136, -1.121566379034]], dtype=torch.float64)
    assert step_logprob(drawn, mean, std).item() == pytest.approx(-0.297144237074, rel=1e-9)
