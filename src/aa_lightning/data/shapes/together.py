"""A picture, a sound and a video in one prompt: questions that need one of them, and questions that need two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from aa_lightning.data.shapes import clip_questions, questions, sound_questions
from aa_lightning.data.shapes.clips import Film
from aa_lightning.data.shapes.language import NUMBERS, a, caption, look, plural, sentence
from aa_lightning.data.shapes.questions import Question, change_look
from aa_lightning.data.shapes.scenes import Palette, Scene, World, cells, make_scene
from aa_lightning.data.shapes.sounds import Band, Melody, make_melody

_PLACES = {"image": "picture", "audio": "sound", "video": "video"}


@dataclass(frozen=True)
class Together:
    """A scene, a melody and a film that are shown together and have nothing to do with each other."""

    scene: Scene
    melody: Melody
    film: Film

    @property
    def key(self) -> str:
        return "||".join(world.key for world in (self.scene, self.melody, self.film))

    @property
    def truth(self) -> str:
        """The ground truth as JSON, by medium."""
        return json.dumps({kind: json.loads(world.truth) for kind, world in self.media.items()})

    @property
    def media(self) -> dict[str, World]:
        return {"image": self.scene, "audio": self.melody, "video": self.film}


@dataclass(frozen=True)
class Stage:
    """Sources of scenes, melodies and films."""

    palette: Palette
    band: Band

    def world(self, rng: Random, scene: Scene | None = None, melody: Melody | None = None, film: Film | None = None):
        """A world with the given parts; the others are random."""
        return Together(
            scene=scene or questions.ask_caption(self.palette, rng).scene,
            melody=melody or sound_questions.ask_caption(self.band, rng).scene,
            film=film or clip_questions.ask_caption(self.palette, rng).scene,
        )


def ask_picture(stage: Stage, rng: Random) -> Question:
    """A question about the picture."""
    kinds = [questions.ask_colour, questions.ask_shape, questions.ask_yesno]
    return _about("image", stage, rng, rng.choice(kinds)(stage.palette, rng))


def ask_sound(stage: Stage, rng: Random) -> Question:
    """A question about the sound."""
    kinds = [sound_questions.ask_pitch, sound_questions.ask_timbre, sound_questions.ask_yesno]
    return _about("audio", stage, rng, rng.choice(kinds)(stage.band, rng))


def ask_clip(stage: Stage, rng: Random) -> Question:
    """A question about the video."""
    kinds = [clip_questions.ask_motion, clip_questions.ask_mover, clip_questions.ask_appears]
    return _about("video", stage, rng, rng.choice(kinds)(stage.palette, rng))


def ask_as_many(stage: Stage, rng: Random) -> Question:
    """Are there as many sounds as shapes in the picture? Needs both; yes in half of the questions."""
    most = min(stage.palette.max_shapes, stage.band.max_tones)
    shapes, tones = rng.sample(range(1, most + 1), 2)
    tones = shapes if rng.random() < 0.5 else tones
    free = cells(rng)
    scene = make_scene([stage.palette.figure(rng, free.pop()) for _ in range(shapes)], rng)
    melody = make_melody([stage.band.tone(rng) for _ in range(tones)], rng)
    counts = f"{NUMBERS[shapes]} {plural('shape', shapes)} and {NUMBERS[tones]} {plural('sound', tones)}"
    return _yes_or_no(
        stage.world(rng, scene=scene, melody=melody),
        "Are there as many sounds as shapes in the picture?",
        shapes == tones,
        f"there are {counts}",
    )


def ask_same(stage: Stage, rng: Random) -> Question:
    """Does the video show the shape of the picture? Needs both; yes in half of the questions."""
    one = replace(stage.palette, min_shapes=1, max_shapes=1)
    film = clip_questions.ask_caption(one, rng).scene
    moving = film.movers[0].figure
    figure = moving if rng.random() < 0.5 else change_look(make_scene([moving], rng), one, rng)[1]
    shown = one.figure(rng, rng.choice(cells(rng)), colour=figure.colour, shape=figure.shape)
    return _yes_or_no(
        stage.world(rng, scene=make_scene([shown], rng), film=film),
        "Does the video show the same shape in the same colour as the picture?",
        shown.look == moving.look,
        f"the picture shows {a(look(shown))} and the video {a(look(moving))}",
    )


def ask_caption(stage: Stage, rng: Random) -> Question:
    """Ask "What is in the picture, the sound and the video?" The wrong answer changes one thing in one of them."""
    world = stage.world(rng)
    changed = rng.choice(list(_PLACES))
    other = _changed(stage, rng, world, changed)
    right, wrong = _said(world), _said(other)
    return Question(
        scene=world,
        text="What is in the picture, the sound and the video?",
        answer=right,
        wrong_answer=wrong,
        right=sentence(right),
        wrong=sentence(wrong),
        critique=f"Wrong about the {_PLACES[changed]}: {_described(world)[changed]}, not {_described(other)[changed]}.",
    )


def _changed(stage: Stage, rng: Random, world: Together, medium: str) -> Together:
    if medium == "image":
        return replace(world, scene=world.scene.with_figure(*change_look(world.scene, stage.palette, rng)))
    if medium == "audio":
        changed = sound_questions.change_tone(world.melody, stage.band, rng)
        return replace(world, melody=world.melody.with_tone(*changed))
    return replace(world, film=world.film.with_mover(*clip_questions.change_mover(world.film, stage.palette, rng)))


def _described(world: Together) -> dict[str, str]:
    return {
        "image": caption(world.scene.figures),
        "audio": sound_questions.heard(world.melody),
        "video": clip_questions.seen(world.film),
    }


def _said(world: Together) -> str:
    parts = [f"in the {_PLACES[medium]} {words}" for medium, words in _described(world).items()]
    return ", ".join(parts)


def _about(medium: str, stage: Stage, rng: Random, question: Question) -> Question:
    """A question about one medium, asked where there are three."""
    part = {"image": "scene", "audio": "melody", "video": "film"}[medium]
    world = stage.world(rng, **{part: question.scene})
    text = f"In the {_PLACES[medium]}: {question.text[0].lower()}{question.text[1:]}"
    return replace(question, scene=world, text=text)


def _yes_or_no(world: Together, text: str, yes: bool, fact: str) -> Question:
    answer, wrong = ("yes", "no") if yes else ("no", "yes")
    says = {"yes": "Yes.", "no": "No."}
    return Question(
        scene=world,
        text=text,
        answer=answer,
        wrong_answer=wrong,
        right=says[answer],
        wrong=says[wrong],
        critique=f"Wrong: {fact}, so the answer is {answer}.",
    )


TOGETHER_QUESTIONS: dict[str, Callable[[Stage, Random], Question]] = {
    "picture": ask_picture,
    "sound": ask_sound,
    "clip": ask_clip,
    "as_many": ask_as_many,
    "same": ask_same,
    "caption": ask_caption,
}
