"""Corruption spoils the pictures of prompts, always in the same way, and nothing else."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from aa_lightning.data.corruption import Corruption, CorruptionOptions
from aa_lightning.data.examples import Examples, load_examples

from .support import Memory, data_options, template

NAMES = ["blank", "noise", "blur", "crop", "swap"]
MAPPING = {"kind": "prompt", "prompt": [{"image": "image"}, {"text": "q"}]}


def gradient(seed):
    """A smooth picture of 40 x 32, different for each seed."""
    y, x = np.mgrid[0:32, 0:40] / 40
    return (np.stack([x, y, (x + seed / 7) % 1], axis=-1) * 255).astype(np.uint8)


def examples_of(count=6, **options):
    source = Memory([{"image": gradient(i), "q": f"Q{i}"} for i in range(count)])
    corruption = CorruptionOptions(**options) if options else None
    return Examples(source, template(**MAPPING), "prompt", corruption=corruption)


def pixels(example):
    return np.asarray(example.messages[0]["content"][0]["image"], dtype=float)


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_changes_its_size_and_the_words_do_not(name):
    plain, spoiled = examples_of(), examples_of(name=name)
    for before, after in zip(plain, spoiled, strict=True):
        assert pixels(before).shape == pixels(after).shape
        assert np.abs(pixels(before) - pixels(after)).mean() > 1
        assert before.messages[0]["content"][1] == after.messages[0]["content"][1] and before.id == after.id


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_spoiled_in_the_same_way_every_time(name):
    one, two = examples_of(name=name), examples_of(name=name)
    for i in reversed(range(len(one))):
        assert np.array_equal(pixels(one[i]), pixels(two[i])) and np.array_equal(pixels(one[i]), pixels(one[i]))


def test_blank_is_one_grey():
    assert {tuple(p) for e in examples_of(name="blank") for p in pixels(e).reshape(-1, 3)} == {(128, 128, 128)}


def test_noise_has_the_deviation_asked_for():
    """On mid-grey, noise of 20 levels is hardly clipped: its standard deviation is 20 within 5 %."""
    source = Memory([{"image": np.full((64, 64, 3), 128, np.uint8), "q": "Q"}])
    example = Examples(source, template(**MAPPING), "prompt", corruption=CorruptionOptions(name="noise", noise=20))[0]
    assert pixels(example).std() == pytest.approx(20, rel=0.05)
    assert pixels(example).mean() == pytest.approx(128, abs=1)


def test_blur_lowers_the_contrast_of_fine_detail():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    example = Examples(
        Memory([{"image": stripes, "q": "Q"}]), template(**MAPPING), "prompt", corruption=CorruptionOptions(name="blur")
    )[0]
    # away from the edges, where there is something to mix on both sides
    assert stripes.std() > 127 and pixels(example)[:, 10:22].std() < 3


def test_a_crop_shows_a_window_of_the_picture():
    """Red runs over x from 0 to 249; a window of half the width spans half of it."""
    for example in examples_of(name="crop", crop=0.5):
        red = pixels(example)[..., 0]
        assert 90 < np.ptp(red) < 150


def test_swap_shows_the_picture_of_another_row():
    plain, swapped = examples_of(), examples_of(name="swap")
    pictures = [pixels(e).tobytes() for e in plain]
    for i, example in enumerate(swapped):
        assert pictures.index(pixels(example).tobytes()) != i
    assert len({pixels(e).tobytes() for e in swapped}) > 1


def test_swap_skips_rows_with_the_same_picture_and_says_when_all_are_the_same():
    rows = [{"image": gradient(i // 3), "q": "Q"} for i in range(6)]
    corruption = CorruptionOptions(name="swap")
    examples = Examples(Memory(rows), template(**MAPPING), "prompt", corruption=corruption)
    for i, example in enumerate(examples):
        assert np.array_equal(pixels(example), gradient(1 - i // 3))
    same = Examples(Memory(rows[:3]), template(**MAPPING), "prompt", corruption=corruption)
    with pytest.raises(ValueError, match="finds no other picture for row 0"):
        same[0]


def test_responses_stay_as_they_are():
    mapping = {
        "kind": "demonstration",
        "prompt": [{"image": "image"}, {"text": "q"}],
        "completion": [{"image": "image"}],
    }
    source = Memory([{"image": gradient(1), "q": "Q"}])
    example = Examples(source, template(**mapping), "demonstration", corruption=CorruptionOptions(name="blank"))[0]
    assert np.array_equal(np.asarray(example.response[0]["image"]), gradient(1))
    assert pixels(example).std() == 0


def test_a_name_alone_is_enough_in_the_configuration():
    options = data_options("shapes_ti2t", "corruption=blank", "train.size=3")
    assert all(pixels(e).std() == 0 for e in load_examples(options, "train", "preference"))
    assert TypeAdapter(Corruption).validate_python({"name": "blur", "blur": 0.2}).blur == 0.2
    with pytest.raises(ValidationError, match="blank"):
        TypeAdapter(Corruption).validate_python("blak")
