"""Spoiled pictures: what a model still says when it cannot see, or sees something else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from aa_lightning.types import Example, Message, Part

if TYPE_CHECKING:
    from PIL import Image  # the options are read before anything heavy is imported

GREY = (128, 128, 128)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CorruptionOptions:
    """A transform of the pictures of prompts; responses stay as they are.

    blank: one uniform grey; noise: Gaussian; blur: Gaussian; crop: a random window, enlarged to the old size; swap: the
    pictures of another row.
    """

    name: Literal["blank", "noise", "blur", "crop", "swap"]
    noise: float = Field(default=64.0, gt=0)  # standard deviation in levels of 0 to 255
    blur: float = Field(default=0.1, gt=0, le=1)  # radius as a share of the longer side
    crop: float = Field(default=0.5, gt=0, lt=1)  # side of the window as a share of the picture's
    seed: int = 0


def _named(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


Corruption = Annotated[CorruptionOptions, BeforeValidator(_named)]


def corrupt(example: Example, options: CorruptionOptions, others: Callable[[], Iterable[Example]]) -> Example:
    """The example with spoiled prompt pictures, the same whenever it is asked for.

    Args:
        example: a decoded example.
        options: what is done to the pictures.
        others: decoded examples, among which `swap` takes the first with another picture.

    Raises:
        ValueError: `swap` finds no row with another picture.
    """
    images = prompt_images(example)
    if not images:
        return example
    rng = Random(f"{options.seed}/{options.name}/{example.id}")
    if options.name == "swap":
        spoiled = _of_another_row(example, images, others())
    else:
        spoiled = [_TRANSFORMS[options.name](image, options, rng) for image in images]
    return replace(example, messages=_with_images(example.messages, iter(spoiled)))


def prompt_images(example: Example) -> list[Any]:
    """The pictures of a prompt, in order."""
    return [part["image"] for message in example.messages for part in message["content"] if part["type"] == "image"]


def _with_images(messages: list[Message], images: Iterable[Image.Image]) -> list[Message]:
    def content(parts: list[Part]) -> list[Part]:
        return [{"type": "image", "image": next(images)} if part["type"] == "image" else part for part in parts]

    return [{**message, "content": content(message["content"])} for message in messages]


def _of_another_row(example: Example, images: list[Image.Image], others: Iterable[Example]) -> list[Image.Image]:
    for other in others:
        theirs = prompt_images(other)
        if theirs and all(_differ(a, b) for a in images for b in theirs):
            return [theirs[i % len(theirs)] for i in range(len(images))]
    raise ValueError(
        f"corruption=swap finds no other picture for row {example.id}: the data set needs rows with different "
        "pictures; take corruption=blank"
    )


def _differ(a: Image.Image, b: Image.Image) -> bool:
    return a.size != b.size or a.tobytes() != b.tobytes()


def _blank(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    from PIL import Image

    return Image.new("RGB", image.size, GREY)


def _noise(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(image, dtype=np.float32)
    added = np.random.default_rng(rng.randrange(2**32)).normal(0, options.noise, pixels.shape)
    return Image.fromarray((pixels + added).round().clip(0, 255).astype(np.uint8))


def _blur(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(options.blur * max(image.size)))


def _crop(image: Image.Image, options: CorruptionOptions, rng: Random) -> Image.Image:
    width, height = (max(1, round(side * options.crop)) for side in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    from PIL.Image import Resampling

    return image.resize(image.size, Resampling.BICUBIC, box=(left, top, left + width, top + height))


_TRANSFORMS = {"blank": _blank, "noise": _noise, "blur": _blur, "crop": _crop}
