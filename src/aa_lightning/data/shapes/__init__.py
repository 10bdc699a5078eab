"""Shapes, the procedural world: coloured shapes with exact ground truth, in any amount, from a seed.

`scenes.py`, `sounds.py`, `clips.py` what there is to see and to hear, `render.py` how it looks, `language.py` how it is said;
`questions.py`, `sound_questions.py`, `clip_questions.py` what is asked about one medium, `albums.py` about several pictures
and in a second turn, `together.py` about a picture, a sound and a video; `pictures.py` which pictures are wanted,
`drawings.py` what is to be drawn and said, `tunes.py` what is to be played and said; `kinds.py` what each modality has,
`answers.py`, `reading.py` and `hearing.py` whether an answer, a picture or a sound is right, `claims.py` what is wrong in it,
`source.py` the rows.
"""

from aa_lightning.data.shapes.answers import check_answer
from aa_lightning.data.shapes.hearing import can_check_sound, check_sound, score_sound
from aa_lightning.data.shapes.reading import can_check, check_picture, score_picture
from aa_lightning.data.shapes.render import draw
from aa_lightning.data.shapes.scenes import Figure, Scene
from aa_lightning.data.shapes.source import Shapes

__all__ = [
    "Figure",
    "Scene",
    "Shapes",
    "can_check",
    "can_check_sound",
    "check_answer",
    "check_picture",
    "check_sound",
    "draw",
    "score_picture",
    "score_sound",
]
