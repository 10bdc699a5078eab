"""Options of `model` for a diffusion policy. Imports no torch; the defaults stand in conf/model/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import STRICT, Keeping, Lora, Share


@dataclass(config=STRICT, kw_only=True, frozen=True)
class Denoising:
    """Options of sampling images.

    Attributes:
        steps: denoising steps; each is one action of a rollout.
        eta: 0 is deterministic DDIM, 1 is ancestral; policy gradients need more than 0.
        guidance: classifier-free guidance scale; 1 is none.
        noisy_steps: the first steps, which alone are random and learned from (MixGRPO, 2507.21802); None: all.
        blank_learns: whether the log-probability of a step has a gradient through the prediction without a caption too.
    """

    steps: PositiveInt
    eta: Share
    guidance: NonNegativeFloat
    noisy_steps: PositiveInt | None = None
    blank_learns: bool = True

    def __post_init__(self):
        if self.noisy_steps is not None and self.noisy_steps > self.steps:
            raise ValueError(
                f"model.sampling.noisy_steps={self.noisy_steps} are more than model.sampling.steps={self.steps}: type "
                f"model.sampling.noisy_steps={self.steps}, or null, which are all of them"
            )


@dataclass(config=STRICT, kw_only=True)
class Diffusion:
    """The `model` section of a Stable Diffusion policy; conf/model/stable_diffusion_v1_5.yaml explains each key."""

    likelihood: Literal["elbo"]
    family: Literal["stable_diffusion"]
    path: str
    tiny: dict[str, Any]
    revision: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    image_size: Annotated[int, Field(ge=8, multiple_of=8)]
    timesteps_per_example: PositiveInt
    eval_timesteps_per_example: PositiveInt
    eval_seed: int
    caption_dropout: Share
    long_captions: Literal["error", "cut"]
    gradient_checkpointing: bool
    keep_features: Keeping
    lora: Lora
    trains: str = "all"
    reference: Literal["auto", "frozen", "adapter", "kept", "none"]
    sampling: Denoising
