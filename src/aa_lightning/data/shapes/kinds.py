"""Kinds of questions and requests of each modality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from aa_lightning.data.shapes.albums import ask_followup, ask_same, ask_which
from aa_lightning.data.shapes.clip_questions import CLIP_QUESTIONS
from aa_lightning.data.shapes.drawings import DRAWINGS, REDRAWINGS
from aa_lightning.data.shapes.pictures import REQUESTS
from aa_lightning.data.shapes.questions import QUESTIONS
from aa_lightning.data.shapes.sound_questions import SOUND_QUESTIONS
from aa_lightning.data.shapes.together import TOGETHER_QUESTIONS
from aa_lightning.data.shapes.tunes import TUNES

Modality = Literal["t2t", "ti2t", "t2i", "t2ti", "ti2ti", "ta2t", "tv2t", "any2t", "t2a"]
_LOOKING = {**QUESTIONS, "followup": ask_followup}
KINDS: dict[str, dict[str, Callable]] = {
    "t2t": _LOOKING,
    "ti2t": {**_LOOKING, "which": ask_which, "same": ask_same},
    "t2i": REQUESTS,
    "t2ti": DRAWINGS,
    "ti2ti": REDRAWINGS,
    "ta2t": SOUND_QUESTIONS,
    "tv2t": CLIP_QUESTIONS,
    "any2t": TOGETHER_QUESTIONS,
    "t2a": TUNES,
}
SEVERAL = {"count", "relation", "followup", "as_many", "order"}  # kinds that need two figures or tones
# those of one turn about one picture, where there are others
USUAL = {modality: list(QUESTIONS if modality in ("t2t", "ti2t") else kinds) for modality, kinds in KINDS.items()}
