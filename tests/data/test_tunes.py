"""Tunes of Shapes: what is asked for is heard in the right sound and not in the wrong one."""

import numpy as np
import pytest

from aa_lightning.data.shapes import Shapes, can_check_sound, check_sound
from aa_lightning.data.shapes.hearing import hear_tones
from aa_lightning.media.audio import Sound, resampled


def rows(split: str = "train", count: int = 60, **options) -> list[dict]:
    source = Shapes(modality="t2a", split=split, size=count, **options)
    return [source[i] for i in range(count)]


@pytest.mark.parametrize("kind", ["pitch", "order", "count"])
@pytest.mark.parametrize("options", [{}, {"rate": 24_000}, {"hiss": 0.01}, {"rate": 44_100}])
def test_only_the_right_tune_is_what_was_asked_for(kind, options):
    for row in rows(kinds=[kind], max_tones=4, **options):
        right, wrong = row["chosen"](), row["rejected"]()
        assert check_sound(row["answer"], right), row["prompt"]
        assert not check_sound(row["answer"], wrong), row["prompt"]
        assert row["said"].lower() in row["prompt"].lower()


def test_no_tune_of_one_split_is_in_another():
    heard = [
        {row["answer"] for row in rows(split, 300, kinds=["pitch", "order"], max_tones=4)}
        for split in ("train", "val", "test")
    ]
    assert all(len(tunes) > 5 for tunes in heard)
    assert not (heard[0] & heard[1] or heard[0] & heard[2] or heard[1] & heard[2])


def test_tones_are_heard_one_by_one_whatever_their_loudness_and_rate():
    place = np.arange(3200) / 16_000
    low, high, off = (np.sin(2 * np.pi * hertz * place) for hertz in (300, 1600, 1000))
    gap = np.zeros(800)
    tune = Sound(np.concatenate([0.1 * low, gap, low, high, gap, off, gap]).astype(np.float32), 16_000)
    assert hear_tones(tune) == ["low", "low", "high", "other"]
    assert hear_tones(resampled(tune, 24_000)) == ["low", "low", "high", "other"]
    assert hear_tones(Sound(np.zeros(16_000, np.float32), 16_000)) == []


def test_an_answer_without_a_pitch_cannot_be_checked():
    silence = Sound(np.zeros(16_000, np.float32), 16_000)
    assert not can_check_sound("a nice tune")
    with pytest.raises(ValueError, match="names no pitch of Shapes"):
        check_sound("a nice tune", silence)
    assert not check_sound("low", silence)
