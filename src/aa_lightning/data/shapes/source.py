"""The rows of Shapes: a function of (seed, split, index) and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from aa_lightning.data.shapes.claims import GradedRow, graded
from aa_lightning.data.shapes.clips import Film, shoot
from aa_lightning.data.shapes.drawings import DrawingRequest
from aa_lightning.data.shapes.kinds import KINDS, SEVERAL, USUAL, Modality
from aa_lightning.data.shapes.language import description
from aa_lightning.data.shapes.pictures import PictureRequest
from aa_lightning.data.shapes.questions import Question
from aa_lightning.data.shapes.render import draw
from aa_lightning.data.shapes.scenes import COLOURS, GRID, SHAPES, Colour, Palette, Shape, World
from aa_lightning.data.shapes.sounds import HERTZ, TIMBRES, Band, Melody, Pitch, Timbre, play
from aa_lightning.data.shapes.together import Stage

Row = Mapping[str, Any]
Made = TypeVar("Made", Question, PictureRequest, DrawingRequest)
_BUCKETS = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}
_MOST_DRAWS = 10_000


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Shapes:
    """A source of preference rows with feedback and exact ground truth.

    Columns: prompt, messages (the prompt as turns, earlier ones before it), image, audio, video (as the modality has them;
    a list where there are several), said (before a picture that is drawn, or what a sound says), chosen, rejected,
    critique_chosen, critique_rejected, refinement, score_chosen, score_rejected, safe_chosen, safe_rejected (what is false
    stands for what is harmful), answer, kind, scene (JSON); where answers
    are texts, also those of `claims.graded`: several answers, what is wrong in each, and their claims. Media are functions
    without arguments that draw or play when called, so that rows cost no rendering until they are used; `media.decode`
    calls them.

    A scene belongs to one split by a hash of what it shows, whatever the seed: no scene of val is in train.
    """

    modality: Modality
    split: Literal["train", "val", "test"] = "train"
    size: int = Field(default=512, ge=1)
    seed: int = 0
    kinds: list[str] | None = Field(default=None, min_length=1)  # None: every usual kind
    image_size: int = Field(default=56, ge=16, le=2048)
    min_shapes: int = Field(default=1, ge=1)
    max_shapes: int = Field(default=4, ge=1, le=GRID * GRID)
    # a wrong answer needs an alternative, so there are at least two of each
    shapes: list[Shape] = Field(default_factory=lambda: list(SHAPES[:3]), min_length=2)
    colours: list[Colour] = Field(default_factory=lambda: list(COLOURS)[:4], min_length=2)
    style: Literal["sentence", "word"] = "sentence"  # of answers
    noise: float = Field(default=0.0, ge=0, le=64)  # grey levels
    pitches: list[Pitch] = Field(default_factory=lambda: list(HERTZ), min_length=2)
    timbres: list[Timbre] = Field(default_factory=lambda: list(TIMBRES), min_length=2)
    min_tones: int = Field(default=1, ge=1)
    max_tones: int = Field(default=3, ge=1, le=9)
    rate: int = Field(default=16_000, ge=8_000, le=96_000)  # samples per second
    hiss: float = Field(default=0.0, ge=0, le=0.2)  # white noise, as a share of full scale
    frames: int = Field(default=4, ge=4, le=256)  # of a clip
    fps: float = Field(default=2.0, gt=0, le=120)

    @field_validator("kinds", "shapes", "colours", "pitches", "timbres")
    @classmethod
    def _name_each_once(cls, given: list[str] | None) -> list[str] | None:
        if given is not None and len(set(given)) < len(given):
            raise ValueError("it names something twice")
        return given

    @model_validator(mode="after")
    def _have_a_wrong_answer_to_every_question(self) -> Shapes:
        there = list(KINDS[self.modality])
        strangers = [kind for kind in self.kinds or [] if kind not in there]
        if strangers:
            raise ValueError(f"kinds has {', '.join(strangers)}, and {self.modality} has only {', '.join(there)}")
        bounds = {"shapes": (self.min_shapes, self.max_shapes), "tones": (self.min_tones, self.max_tones)}
        for counted, (low, high) in bounds.items():
            if low > high:
                raise ValueError(f"min_{counted}={low} is above max_{counted}={high}")
        most = {"ta2t": "max_tones", "t2a": "max_tones", "any2t": "max_tones and max_shapes"}.get(
            self.modality, "max_shapes"
        )
        if self._most < 2 and SEVERAL & set(self.kinds or USUAL[self.modality]):
            named = " and ".join(kind for kind in USUAL[self.modality] if kind in SEVERAL)
            raise ValueError(f"the kinds {named} need {most} of 2 or more: raise it, or set kinds without them")
        return self

    @property
    def _most(self) -> int:
        """The most figures or tones, whichever are counted."""
        counted = {"ta2t": [self.max_tones], "t2a": [self.max_tones], "any2t": [self.max_tones, self.max_shapes]}
        return min(counted.get(self.modality, [self.max_shapes]))

    def __len__(self) -> int:
        return self.size

    @property
    def columns(self) -> list[str]:
        return list(self[0])

    def filled(self) -> Counter[str]:
        """Every row says something in every column."""
        return Counter(dict.fromkeys(self.columns, self.size))

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.size:
            raise IndexError(f"row {index} of {self.size}")
        rng = Random(f"{self.seed}/{self.split}/{index}")
        # kinds take turns, so that every slice of rows has equal shares of them
        kinds = self.kinds or USUAL[self.modality]
        kind = kinds[index % len(kinds)]
        made = self._draw_from_split(KINDS[self.modality][kind], rng)
        told = {"score_chosen": 1.0, "score_rejected": 0.0, "safe_chosen": True, "safe_rejected": False, "kind": kind}
        if not isinstance(made, Question):
            row = self._drawing_row(made) if isinstance(made, DrawingRequest) else self._picture_row(made)
            return {**row, **told}
        own = partial(Random, f"{self.seed}/{self.split}/{index}/graded")  # pairs stay as they are without
        return GradedRow(
            {**self._question_row(made, rng), **told},
            lambda: graded(made, kind, self.style, self._choices, own()),
        )

    def _draw_from_split(self, make: Callable[[Any, Random], Made], rng: Random) -> Made:
        told = self._what_there_may_be()
        for _ in range(_MOST_DRAWS):
            made = make(told, rng)
            if split_of(made.scene) == self.split:
                return made
        raise ValueError(
            f"these options leave no scene for the split {self.split}: allow more shapes, colours or tones"
        )

    def _what_there_may_be(self) -> Palette | Band | Stage:
        palette = Palette(self.shapes, self.colours, self.min_shapes, self.max_shapes)
        band = Band(self.pitches, self.timbres, self.min_tones, self.max_tones)
        return {"ta2t": band, "t2a": band, "any2t": Stage(palette, band)}.get(self.modality, palette)

    @property
    def _choices(self) -> dict[str, list[str]]:
        return {"colour": self.colours, "shape": self.shapes, "pitch": self.pitches, "timbre": self.timbres}

    def _shown(self, world: World | list[World]) -> Any:
        """Media of a world as functions, or a list of them."""
        if isinstance(world, list):
            return [self._shown(one) for one in world]
        if isinstance(world, Melody):
            return partial(play, world, self.rate, self.hiss)
        if isinstance(world, Film):
            return partial(shoot, world, self.image_size, self.frames, self.fps, self.noise)
        return partial(draw, world, self.image_size, self.noise)

    def _question_row(self, question: Question, rng: Random) -> Row:
        said = asdict(question)
        chosen, rejected = ("right", "wrong") if self.style == "sentence" else ("answer", "wrong_answer")
        media = {kind: self._shown(world) for kind, world in question.scene.media.items()}
        told = ""
        if self.modality == "t2t":
            media, figures = {}, question.scene.figures
            told = f"{description(rng.sample(figures, len(figures)))} "
        turns = _turns(question, told)
        return {
            "prompt": turns[-1]["content"],
            "messages": turns,
            **media,
            "chosen": said[chosen],
            "rejected": said[rejected],
            "critique_chosen": f"Correct: {question.right}",
            "critique_rejected": question.critique,
            "refinement": said[chosen],
            "answer": question.answer,
            "scene": question.scene.truth,
        }

    def _picture_row(self, request: PictureRequest) -> Row:
        return {
            "prompt": request.caption,
            "chosen": self._shown(request.scene),
            "rejected": self._shown(request.wrong_scene),
            "critique_chosen": f"Correct: the picture shows {request.caption}.",
            "critique_rejected": request.critique,
            "refinement": self._shown(request.scene),
            "answer": request.caption,
            "scene": request.scene.truth,
        }

    def _drawing_row(self, request: DrawingRequest) -> Row:
        shown = {} if request.shown is None else {"image": self._shown(request.shown)}
        return {
            "prompt": request.text,
            **shown,
            "said": request.said,
            "chosen": self._shown(request.scene),
            "rejected": self._shown(request.wrong_scene),
            "critique_chosen": f"Correct: this is what was asked for, {request.answer}.",
            "critique_rejected": request.critique,
            "refinement": self._shown(request.scene),
            "answer": request.answer,
            "scene": request.scene.truth,
        }


def _turns(question: Question, told: str) -> list[dict[str, str]]:
    """The prompt as turns; the first one begins with what is told of the scene."""
    earlier = [said for asked, answered in question.before for said in (("user", asked), ("assistant", answered))]
    (role, first), *rest = [*earlier, ("user", question.text)]
    return [{"role": role, "content": content} for role, content in [(role, f"{told}{first}"), *rest]]


def split_of(scene: World) -> str:
    """The one split that a scene belongs to: 8 of 10 scenes are train, one val, one test."""
    bucket = int.from_bytes(blake2b(scene.key.encode(), digest_size=4).digest(), "big") % 10
    return next(split for split, buckets in _BUCKETS.items() if bucket in buckets)
