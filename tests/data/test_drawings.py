"""Requests to draw, and pictures read back from their pixels."""

import json
from collections import Counter

import pytest

from aa_lightning.data.shapes import Shapes, check_picture
from aa_lightning.data.shapes.reading import read_picture
from aa_lightning.data.shapes.scenes import COLOURS, SHAPES


def rows(modality: str, count: int = 20, split: str = "val", **options) -> list[dict]:
    source = Shapes(modality=modality, split=split, size=count, **{"image_size": 24, **options})
    return [source[index] for index in range(count)]


@pytest.mark.parametrize("image_size", [24, 32, 48, 56])
def test_every_figure_of_every_picture_is_read_exactly(image_size):
    everything = {"shapes": list(SHAPES), "colours": list(COLOURS), "max_shapes": 5, "kinds": ["colour"]}
    for row in rows("t2i", image_size=image_size, **everything):
        drawn = {tuple(figure["cell"]): (figure["colour"], figure["shape"]) for figure in json.loads(row["scene"])}
        assert read_picture(row["chosen"]()) == drawn


@pytest.mark.parametrize("kind", ["colour", "shape", "count", "relation"])
def test_the_right_picture_of_a_caption_passes_and_the_wrong_one_fails(kind):
    for row in rows("t2i", kinds=[kind], max_shapes=3):
        assert check_picture(row["answer"], row["chosen"]())
        assert not check_picture(row["answer"], row["rejected"]())


@pytest.mark.parametrize("modality", ["t2ti", "ti2ti"])
@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_the_drawn_answer_has_the_asked_attribute_and_the_rejected_one_another(modality, kind):
    for row in rows(modality, kinds=[kind]):
        assert check_picture(row["answer"], row["chosen"]())
        assert not check_picture(row["answer"], row["rejected"]())
        assert row["said"].startswith("This")


@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_what_is_wrong_after_a_picture_can_only_be_told_from_that_picture(kind):
    """The words do not name it, the picture shows it, and every value is about equally often right."""
    made = rows("ti2ti", 400, split="train", kinds=[kind])
    for row in made[:20]:
        assert row["answer"] not in row["prompt"] + row["said"]
        (old,) = read_picture(row["image"]()).values()
        assert row["answer"] == old[0 if kind == "colour" else 1]
    counts = Counter(row["answer"] for row in made)
    assert all(abs(count / 400 - 1 / len(counts)) < 0.1 for count in counts.values())


def test_the_figure_stays_in_its_place():
    for row in rows("ti2ti"):
        assert list(read_picture(row["image"]())) == list(read_picture(row["chosen"]()))


def test_what_names_no_figure_is_refused():
    with pytest.raises(ValueError, match="names neither a colour nor a shape"):
        check_picture("a nice picture", rows("t2ti", 1)[0]["chosen"]())
