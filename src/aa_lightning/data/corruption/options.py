"""Corruptions and the media that each is for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.configuration.schema import BY_NAME

Medium = Literal["image", "audio", "video"]
# which media each corruption is for; the transforms stand in transforms.py, which is read when a medium is
SPOILS: dict[str, tuple[str, ...]] = {
    "blank": ("image", "audio", "video"),
    "noise": ("image", "audio", "video"),
    "diffuse": ("image", "video"),
    "swap": ("image", "audio", "video"),
    "blur": ("image",),
    "crop": ("image",),
    "mute": ("audio",),
    "reverse": ("audio", "video"),
    "shuffle": ("video",),
    "drop": ("video",),
    "freeze": ("video",),
}


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CorruptionOptions:
    """A transform of the media of prompts; responses stay as they are.

    blank: one uniform grey, silence; noise: Gaussian; diffuse: faded into Gaussian noise, as a diffusion model would; blur:
    Gaussian; crop: a random window of a picture, enlarged to the old size; swap: the media of another row; mute: silence in
    a part of a sound; reverse: a sound or a clip backwards; shuffle, drop, freeze: frames of a clip in another order, left
    out, standing still.
    """

    name: Literal["blank", "noise", "diffuse", "blur", "crop", "swap", "mute", "reverse", "shuffle", "drop", "freeze"]
    media: list[Medium] | None = Field(default=None, min_length=1)  # null: all that this corruption is for
    noise: float = Field(default=64.0, gt=0)  # of pictures and frames: standard deviation in levels of 0 to 255
    step: int = Field(default=500, ge=0, lt=1000)  # of diffuse: how far into the noise
    hiss: float = Field(default=1.0, gt=0)  # of sounds: standard deviation, as a multiple of the sound's own
    blur: float = Field(default=0.1, gt=0, le=1)  # radius as a share of the longer side
    crop: float = Field(default=0.5, gt=0, lt=1)  # side of the window as a share of the picture's
    share: float = Field(default=0.5, gt=0, lt=1)  # of a sound that is muted, of a clip that is dropped or frozen
    seed: int = 0

    @model_validator(mode="after")
    def _is_for_the_media_named(self) -> CorruptionOptions:
        if not self.kinds:
            raise ValueError(
                f"the corruption {self.name} is for {', '.join(SPOILS[self.name])}: name one of them in media"
            )
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The media that are spoiled."""
        return tuple(kind for kind in SPOILS[self.name] if self.media is None or kind in self.media)


Corruption = Annotated[CorruptionOptions, BY_NAME]
