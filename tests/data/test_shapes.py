"""Shapes: what it says is what it draws, splits are disjoint, and nobody guesses without looking."""

import json
from collections import Counter, defaultdict
from hashlib import sha256

import numpy as np
import pytest
from pydantic import ValidationError

import aa_lightning  # noqa: F401
from aa_lightning.data.shapes import Figure, Scene, Shapes, check_answer, draw
from aa_lightning.data.shapes.language import RELATIONS
from aa_lightning.data.shapes.render import centre
from aa_lightning.data.shapes.scenes import COLOURS
from aa_lightning.data.shapes.source import split_of

MODALITIES = ("t2t", "ti2t", "t2i")


def figures_of(row):
    return [Figure(**{**f, "cell": tuple(f["cell"]), "shift": tuple(f["shift"])}) for f in json.loads(row["scene"])]


def share_of_colour(image, colour):
    """Share of pixels within 30 levels of a colour."""
    distance = np.abs(np.asarray(image, dtype=int) - np.array(COLOURS[colour])).max(-1)
    return float((distance < 30).mean())


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_row_depends_on_nothing_but_seed_split_and_index(modality):
    one, two = (Shapes(modality=modality, size=8, seed=3) for _ in range(2))
    other = Shapes(modality=modality, size=8, seed=4)
    for i in reversed(range(8)):
        assert one[i]["scene"] == two[i]["scene"] and one[i]["prompt"] == two[i]["prompt"]
    assert any(one[i]["scene"] != other[i]["scene"] for i in range(8))
    column = "chosen" if modality == "t2i" else "image"
    if modality != "t2t":
        assert np.array_equal(one[5][column](), two[5][column]())


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_scene_of_one_split_is_in_another_whatever_the_seeds(modality):
    keys = {
        split: {Scene(tuple(figures_of(row))).key for row in _rows(modality, split, 300, seed=seed)}
        for seed, split in enumerate(("train", "val", "test"))
    }
    assert len(keys["train"]) > 200
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["test"] and not keys["val"] & keys["test"]
    assert {split_of(Scene(tuple(figures_of(row)))) for row in _rows(modality, "val", 50)} == {"val"}


@pytest.mark.parametrize("index", range(24))
def test_every_figure_of_the_ground_truth_is_seen_at_its_place_and_no_other_colour(index):
    row = Shapes(modality="ti2t", size=24, image_size=96)[index]
    image = row["image"]()
    assert image.size == (96, 96) and image.mode == "RGB"
    figures = figures_of(row)
    for figure in figures:
        x, y = centre(figure)
        assert image.getpixel((int(x * 96), int(y * 96))) == COLOURS[figure.colour]
    for colour in ("red", "green", "blue", "yellow"):
        seen = share_of_colour(image, colour) > 0.005
        assert seen == (colour in {f.colour for f in figures})


def test_shapes_fill_their_analytic_share_of_the_picture():
    """A large figure has radius r = 0.4 * 40 = 16 of 120 pixels: circle pi r^2, square (1.7 r)^2, triangle
    2 r * 1.85 r / 2, diamond 1.5 r * 2 r / 2, cross 2 * 0.6 r * 2 r - (0.6 r)^2."""
    r2 = 16**2
    areas = {"circle": np.pi * r2, "square": 2.89 * r2, "triangle": 1.85 * r2, "diamond": 1.5 * r2, "cross": 2.04 * r2}
    for shape, area in areas.items():
        picture = draw(Scene((Figure(shape, "blue", True, (1, 1)),)), 120)
        red = np.asarray(picture, dtype=float)[..., 0]
        covered = ((245 - red) / (245 - COLOURS["blue"][0])).sum()  # pixels, edges in part
        assert covered == pytest.approx(area, rel=0.05), shape


def _rows(modality, split="train", size=600, **options):
    source = Shapes(modality=modality, split=split, size=size, **options)
    return [source[i] for i in range(size)]


@pytest.mark.parametrize("row", _rows("ti2t", size=120), ids=lambda row: row["prompt"])
def test_answers_are_true_of_the_scene(row):
    figures, words = figures_of(row), row["prompt"].rstrip("?").split()
    if row["kind"] == "colour":
        assert [f.colour for f in figures if f.shape == words[-1]] == [row["answer"]]
    if row["kind"] == "shape":
        assert [f.shape for f in figures if f.colour == words[-1]] == [row["answer"]]
    if row["kind"] == "count":
        count = sum(words[2].startswith(f.shape) for f in figures)
        assert ["zero", "one", "two", "three", "four"][count] == row["answer"]
    if row["kind"] == "yesno":
        assert (row["answer"] == "yes") == ((words[-1], words[2]) in {f.look for f in figures})
    if row["kind"] == "caption":
        assert [f"{f.colour} {f.shape}" in row["answer"] for f in figures] == [True] * len(figures)
        assert all(f"{f.colour} {f.shape}" in row["chosen"].lower() for f in figures)
    if row["kind"] == "relation":
        subject, anchor = (next(f for f in figures if f.look == tuple(pair)) for pair in (words[2:4], words[-2:]))
        (sx, sy), (ax, ay) = centre(subject), centre(anchor)
        holds = {"left": sx < ax - 0.2, "right": sx > ax + 0.2, "above": sy < ay - 0.2, "below": sy > ay + 0.2}
        assert [name for name, true in holds.items() if true] == [row["answer"]]
    assert check_answer(row["answer"], row["chosen"]) and not check_answer(row["answer"], row["rejected"])
    assert check_answer(row["answer"], row["refinement"]) and row["critique_rejected"].startswith("Wrong: ")


@pytest.mark.parametrize("row", _rows("t2i", size=60), ids=lambda row: row["prompt"])
def test_captions_are_true_of_the_chosen_scene(row):
    figures = figures_of(row)
    if row["kind"] == "count":
        (look,) = {f.look for f in figures}
        number, colour, shape = row["prompt"].split()
        assert (colour, shape.removesuffix("s")) == look
        assert ["one", "two", "three", "four"][len(figures) - 1] == number
    elif row["kind"] == "relation":
        words = row["prompt"].removeprefix("a ").replace(" of ", " ").replace(" a ", " ").split()
        subject, anchor = (next(f for f in figures if f.look == tuple(pair)) for pair in (words[:2], words[-2:]))
        (sx, sy), (ax, ay) = centre(subject), centre(anchor)
        holds = {"left": sx < ax - 0.2, "right": sx > ax + 0.2, "above": sy < ay - 0.2, "below": sy > ay + 0.2}
        assert [name for name, true in holds.items() if true] == [words[2]] and len(figures) == 2
    else:
        told = row["prompt"].replace(" and ", ", ").split(", ")
        assert told == [f"a {f.colour} {f.shape}" for f in figures]


def test_the_rejected_picture_differs_from_the_chosen_one_in_a_single_place():
    for row in _rows("t2i", size=40, kinds=["colour", "shape"], image_size=90):
        differs = (np.asarray(row["chosen"]()) != np.asarray(row["rejected"]())).any(-1)
        ys, xs = np.nonzero(differs)
        assert len(xs) > 0 and np.ptp(xs) <= 30 and np.ptp(ys) <= 30  # within one cell of 90 / 3 pixels


def test_a_guesser_without_the_picture_is_at_chance():
    """It counts, on 3000 training rows, how often a response won for a question, and bets on the more frequent winner.
    For 600 fair coins the standard deviation of the share is 0.02."""
    wins = Counter()
    for row in _rows("ti2t", size=3000, seed=1):
        wins[row["prompt"], row["chosen"]] += 1
        wins[row["prompt"], row["rejected"]] -= 1
    held_out = [row for row in _rows("ti2t", "val", 600, seed=2) if row["kind"] != "caption"]
    bets = [
        np.sign(wins[row["prompt"], row["chosen"]] - wins[row["prompt"], row["rejected"]]) / 2 + 0.5 for row in held_out
    ]
    assert 0.44 < np.mean(bets) < 0.56


@pytest.mark.parametrize("kind", ["colour", "shape", "count", "relation", "yesno", "caption"])
def test_chosen_and_rejected_answers_have_the_same_distribution(kind):
    """1200 rows: a count of n has a standard deviation below sqrt(n); 5 of them are allowed."""
    rows = _rows("ti2t", size=1200, kinds=[kind])
    lengths = [len(row["chosen"]) - len(row["rejected"]) for row in rows]
    assert abs(np.mean(lengths)) < 5 * np.std(lengths) / 1200**0.5 + 1e-9
    counts = defaultdict(lambda: [0, 0])
    for row in rows:
        for side, column in enumerate(("chosen", "rejected")):
            for word in row[column].split():
                counts[word][side] += 1
    for word, (chosen, rejected) in counts.items():
        assert abs(chosen - rejected) <= 5 * (chosen + rejected) ** 0.5, (word, chosen, rejected)


@pytest.mark.parametrize("kind", ["colour", "shape", "count", "relation"])
def test_chosen_and_rejected_pictures_have_the_same_distribution_of_ink(kind):
    rows = _rows("t2i", size=300, kinds=[kind], image_size=32)
    ink = np.array(
        [[(np.asarray(row[side]()).min(-1) < 200).mean() for side in ("chosen", "rejected")] for row in rows]
    )
    difference = ink[:, 0] - ink[:, 1]
    assert abs(difference.mean()) <= 5 * difference.std() / 300**0.5 + 1e-9


def test_kinds_take_turns():
    kinds = ("colour", "shape", "count", "relation", "yesno", "caption")
    assert Counter(row["kind"] for row in _rows("ti2t", size=60)) == dict.fromkeys(kinds, 10)


def test_the_text_world_says_the_whole_scene():
    for row in _rows("t2t", size=60):
        told = row["prompt"].split(". ")[0]
        assert all(f"{'large' if f.large else 'small'} {f.colour} {f.shape}" in told for f in figures_of(row))
        assert "image" not in row


@pytest.mark.parametrize(
    ("expected", "said", "right"),
    [
        ("red", "Red", True),
        ("red", "The circle is red.", True),
        ("red", "It is red or blue.", False),
        ("red", "", False),
        ("two", "There are 2 circles.", True),
        ("two", "There are two circles, no, three.", False),
        ("left", "The red circle is left of the blue square.", True),
        ("left", "It is right of it.", False),
        ("no", "No, the circle is not red.", True),
        ("a red circle", "A red circle.", True),
        ("a red circle", "A red circle and a blue square.", False),
    ],
)
def test_an_answer_is_right_when_it_gives_the_expected_word_and_no_other_of_its_kind(expected, said, right):
    assert check_answer(expected, said) is right


def test_relations_are_all_asked_for_equally():
    answers = Counter(row["answer"] for row in _rows("ti2t", size=400, kinds=["relation"]))
    assert set(answers) == set(RELATIONS) and min(answers.values()) > 60


def test_noise_moves_pixels_and_is_the_same_every_time():
    plain, noisy = (Shapes(modality="ti2t", noise=noise)[0]["image"] for noise in (0.0, 6.0))
    moved = np.abs(np.asarray(plain(), int) - np.asarray(noisy(), int))
    assert 2 < moved.mean() < 8 and np.array_equal(noisy(), noisy())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kinds": ["color"]}, "kinds has color, and ti2t has only colour, shape, count"),
        ({"kinds": ["yesno"], "modality": "t2i"}, "kinds has yesno, and t2i has only colour, shape, count, relation"),
        ({"colours": ["red"]}, "at least 2 items"),
        ({"colours": ["red", "red"]}, "names something twice"),
        ({"max_shapes": 1}, "kinds count and relation need max_shapes of 2"),
        ({"min_shapes": 3, "max_shapes": 2}, "above max_shapes"),
        ({"sise": 3}, "sise"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        Shapes(**{"modality": "ti2t", **options})


# ---------------------------------------------------------------- more than a pair

TOLD = (
    *("prompt", "messages", "said", "image", "audio", "video", "chosen", "rejected", "critique_chosen"),
    *("critique_rejected", "refinement", "answer", "scene", "score_chosen", "score_rejected", "kind"),
)
FIRST = {  # of 40 rows each
    "t2t": "d1914f43f0bbccf4",
    "ti2t": "1f6d52dada0defd5",
    "ta2t": "b23d8e03b00b1706",
    "tv2t": "d46c839148fcc606",
    "any2t": "872e718548e551e2",
    "t2i": "07c0b055ef380b0d",
    "t2ti": "5df005cca97d7b31",
    "ti2ti": "41a4755bf06d2f42",
    "t2a": "cad59258601ed525",
}


def _told(row):
    return {name: "medium" if callable(row[name]) else row[name] for name in TOLD if name in row}


@pytest.mark.parametrize(("modality", "expected"), FIRST.items())
def test_the_pairs_of_a_seed_are_what_they_always_were(modality, expected):
    source = Shapes(modality=modality, size=40, seed=7)
    rows = [json.dumps(_told(source[i]), default=lambda medium: "medium") for i in range(40)]
    assert sha256("".join(rows).encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize("modality", ["t2t", "ti2t", "ta2t", "tv2t", "any2t"])
def test_answers_of_a_listing_have_no_one_and_two_facts_wrong(modality):
    """Worked again from the words: the answers are as long, and so many words differ but for a and an."""
    for row in _rows(modality, size=60, kinds=["caption"]):
        assert row["answers"][:2] == [row["chosen"], row["rejected"]] and row["wrong_facts"] == [0, 1, 2]
        words = [[w for w in answer.rstrip(".").split() if w.lower() not in ("a", "an")] for answer in row["answers"]]
        assert [sum(a != b for a, b in zip(words[0], said, strict=True)) for said in words] == [0, 1, 2]
        for answer, claims, right in zip(row["answers"], row["claims"], row["claims_right"], strict=True):
            said = " and ".join(claim.rstrip(".").lower() for claim in claims)
            assert said == answer.rstrip(".").lower().replace(", ", " and ")
            assert [float(a == b) for a, b in zip(claims, row["claims"][0], strict=True)] == right
        assert [[1 - each for each in right] for right in row["claims_right"]] == row["claims_wrong"]
        assert [all(right) for right in zip(*row["ratings"].values(), strict=True)] == [True, False, False]


def test_other_questions_have_one_claim_and_a_wrong_answer_in_other_words():
    for row in _rows("ti2t", size=60):
        if row["kind"] != "caption":
            assert row["wrong_facts"] == [0, 1, 1] and row["claims_right"] == [[1.0], [0.0], [0.0]]
            assert len(set(row["answers"])) == 3
            assert [check_answer(row["answer"], said) for said in row["answers"]] == [True, False, False]


def test_steps_are_right_in_half_of_the_rows_and_answers_are_tied_in_a_third():
    """600 rows: 5 standard deviations of the shares are 0.1."""
    rows = _rows("ti2t", size=600, kinds=["caption"])
    assert np.mean([all(row["steps_right"]) for row in rows]) == pytest.approx(1 / 2, abs=0.1)
    assert np.mean([row["score_other"] for row in rows]) == pytest.approx(1 / 3, abs=0.1)
    for row in rows:
        assert sum(not right for right in row["steps_right"]) in (0, 1) and row["other"] != row["chosen"]
        assert check_answer(row["answer"], row["other"]) == (row["score_other"] == 1.0)


def test_a_pair_costs_nothing_of_what_is_told_beyond_it(monkeypatch):
    row = Shapes(modality="ti2t")[0]
    monkeypatch.setattr("aa_lightning.data.shapes.source.graded", lambda *_: 1 / 0)
    assert {"answers", "chosen"} <= set(row) and "steps" in row and row["chosen"] and row["safe_rejected"] is False
    with pytest.raises(ZeroDivisionError):
        row["answers"]
