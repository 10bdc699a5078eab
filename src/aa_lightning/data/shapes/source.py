"""The rows of Shapes: a function of (seed, split, index) and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.data.shapes.language import description
from aa_lightning.data.shapes.pictures import REQUESTS, PictureRequest
from aa_lightning.data.shapes.questions import QUESTIONS, Question
from aa_lightning.data.shapes.render import draw
from aa_lightning.data.shapes.scenes import COLOURS, GRID, SHAPES, Colour, Palette, Scene, Shape

Row = dict[str, Any]
QuestionKind = Literal["colour", "shape", "count", "relation", "yesno", "caption"]
Made = TypeVar("Made", Question, PictureRequest)
_BUCKETS = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}
_MOST_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Shapes:
    """A source of preference rows with feedback and exact ground truth.

    Columns: prompt, image (ti2t), chosen, rejected, critique_chosen, critique_rejected, refinement, score_chosen,
    score_rejected, answer, kind, scene (JSON). Pictures are functions without arguments that draw an RGB image when
    called, so that rows cost no rendering until they are used; `media.decode` calls them.

    A scene belongs to one split by a hash of what it shows, whatever the seed: no scene of val is in train.
    """

    modality: Literal["t2t", "ti2t", "t2i"]
    split: Literal["train", "val", "test"] = "train"
    size: int = Field(default=512, ge=1)
    seed: int = 0
    kinds: list[QuestionKind] | None = Field(default=None, min_length=1)  # None: every kind that the modality has
    image_size: int = Field(default=56, ge=16, le=2048)
    min_shapes: int = Field(default=1, ge=1)
    max_shapes: int = Field(default=4, ge=1, le=GRID * GRID)
    # a wrong answer needs an alternative, so there are at least two of each
    shapes: list[Shape] = Field(default_factory=lambda: list(SHAPES[:3]), min_length=2)
    colours: list[Colour] = Field(default_factory=lambda: list(COLOURS)[:4], min_length=2)
    style: Literal["sentence", "word"] = "sentence"  # of answers
    noise: float = Field(default=0.0, ge=0, le=64)  # grey levels

    @field_validator("kinds", "shapes", "colours")
    @classmethod
    def _name_each_once(cls, given: list[str] | None) -> list[str] | None:
        if given is not None and len(set(given)) < len(given):
            raise ValueError("it names something twice")
        return given

    @model_validator(mode="after")
    def _have_a_wrong_answer_to_every_question(self) -> Shapes:
        strangers = [kind for kind in self.kinds or [] if kind not in self._makers]
        if strangers:
            raise ValueError(
                f"kinds has {', '.join(strangers)}, and {self.modality} has only {', '.join(self._makers)}"
            )
        if self.min_shapes > self.max_shapes:
            raise ValueError(f"min_shapes={self.min_shapes} is above max_shapes={self.max_shapes}")
        if self.max_shapes < 2 and {"count", "relation"} & set(self.kinds or self._makers):
            raise ValueError(
                "the kinds count and relation need max_shapes of 2 or more: raise it, or set kinds without them"
            )
        return self

    def __len__(self) -> int:
        return self.size

    @property
    def columns(self) -> list[str]:
        return list(self[0])

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.size:
            raise IndexError(f"row {index} of {self.size}")
        rng = Random(f"{self.seed}/{self.split}/{index}")
        # kinds take turns, so that every slice of rows has equal shares of them
        kinds = self.kinds or list(self._makers)
        kind = kinds[index % len(kinds)]
        palette = Palette(self.shapes, self.colours, self.min_shapes, self.max_shapes)
        if self.modality == "t2i":
            row = self._picture_row(self._draw_from_split(REQUESTS[kind], palette, rng))
        else:
            row = self._question_row(self._draw_from_split(QUESTIONS[kind], palette, rng), rng)
        return {**row, "score_chosen": 1.0, "score_rejected": 0.0, "kind": kind}

    @property
    def _makers(self) -> dict[str, Any]:
        return REQUESTS if self.modality == "t2i" else QUESTIONS

    def _draw_from_split(self, make: Callable[[Palette, Random], Made], palette: Palette, rng: Random) -> Made:
        for _ in range(_MOST_DRAWS):
            made = make(palette, rng)
            if split_of(made.scene) == self.split:
                return made
        raise ValueError(f"these options leave no scene for the split {self.split}: allow more shapes or colours")

    def _picture(self, scene: Scene) -> Callable[[], Any]:
        return partial(draw, scene, self.image_size, self.noise)

    def _question_row(self, question: Question, rng: Random) -> Row:
        said = asdict(question)
        chosen, rejected = ("right", "wrong") if self.style == "sentence" else ("answer", "wrong_answer")
        row = {
            "prompt": question.text,
            "image": self._picture(question.scene),
            "chosen": said[chosen],
            "rejected": said[rejected],
            "critique_chosen": f"Correct: {question.right}",
            "critique_rejected": question.critique,
            "refinement": said[chosen],
            "answer": question.answer,
            "scene": question.scene.truth,
        }
        if self.modality == "t2t":
            del row["image"]
            told = rng.sample(question.scene.figures, len(question.scene.figures))
            row["prompt"] = f"{description(told)} {question.text}"
        return row

    def _picture_row(self, request: PictureRequest) -> Row:
        return {
            "prompt": request.caption,
            "chosen": self._picture(request.scene),
            "rejected": self._picture(request.wrong_scene),
            "critique_chosen": f"Correct: the picture shows {request.caption}.",
            "critique_rejected": request.critique,
            "refinement": self._picture(request.scene),
            "answer": request.caption,
            "scene": request.scene.truth,
        }


def split_of(scene: Scene) -> str:
    """The one split that a scene belongs to: 8 of 10 scenes are train, one val, one test."""
    bucket = int.from_bytes(blake2b(scene.key.encode(), digest_size=4).digest(), "big") % 10
    return next(split for split, buckets in _BUCKETS.items() if bucket in buckets)
