"""Shapes of sounds, clips, several pictures and several media: what it says is what is played and shown."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from pydantic import ValidationError

import aa_lightning  # noqa: F401
from aa_lightning import media
from aa_lightning.data.examples import load_examples
from aa_lightning.data.shapes import Shapes, check_answer
from aa_lightning.data.shapes.kinds import KINDS
from aa_lightning.data.shapes.scenes import COLOURS
from aa_lightning.data.shapes.sounds import GAPS, HERTZ, TONE

from .support import options_named

MODALITIES = ("ta2t", "tv2t", "any2t")
ALL_KINDS = [(modality, kind) for modality in MODALITIES for kind in KINDS[modality]]
ALL_KINDS += [("ti2t", kind) for kind in ("followup", "which", "same")] + [("t2t", "followup")]
NUMBERS = ["zero", "one", "two", "three", "four"]


def rows(modality, split="train", size=300, seed=0, **options):
    source = Shapes(modality=modality, split=split, size=size, seed=seed, **{"max_shapes": 3, **options})
    return [source[i] for i in range(size)]


def truth(row):
    return json.loads(row["scene"])


def words(text):
    return text.lower().rstrip("?.").replace(",", "").split()


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_row_depends_on_nothing_but_seed_split_and_index(modality):
    one, two, other = (Shapes(modality=modality, size=20, seed=seed) for seed in (3, 3, 4))
    for i in reversed(range(20)):
        assert one[i]["scene"] == two[i]["scene"] and one[i]["messages"] == two[i]["messages"]
    assert any(one[i]["scene"] != other[i]["scene"] for i in range(20))
    if "audio" in one[0]:
        assert np.array_equal(one[5]["audio"]().samples, two[5]["audio"]().samples)
    if "video" in one[0]:
        assert np.array_equal(one[5]["video"]().frames, two[5]["video"]().frames)


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_scene_of_one_split_is_in_another_whatever_the_seeds(modality):
    """Scenes are compared without what words do not say: shift, detuning, loudness."""
    unsaid = ("shift", "detune", "loudness")

    def said(value):
        if isinstance(value, dict):
            return {key: said(inner) for key, inner in value.items() if key not in unsaid}
        return [said(inner) for inner in value] if isinstance(value, list) else value

    keys = {
        split: {json.dumps(said(truth(row))) for row in rows(modality, split, 150, seed)}
        for seed, split in enumerate(("train", "val", "test"))
    }
    assert min(map(len, keys.values())) > 50
    assert not keys["train"] & keys["val"] and not keys["train"] & keys["test"] and not keys["val"] & keys["test"]


@pytest.mark.parametrize(("modality", "kind"), ALL_KINDS)
def test_the_checker_accepts_the_right_answer_and_refuses_the_wrong_one(modality, kind):
    for row in rows(modality, size=60, kinds=[kind]):
        assert check_answer(row["answer"], row["chosen"]) and not check_answer(row["answer"], row["rejected"])
        assert check_answer(row["answer"], row["refinement"]) and row["critique_rejected"].startswith("Wrong")
        assert row["messages"][-1] == {"role": "user", "content": row["prompt"]}


@pytest.mark.parametrize(("modality", "kind"), ALL_KINDS)
def test_chosen_and_rejected_answers_have_the_same_distribution(modality, kind):
    """600 rows: a count of n has a standard deviation below sqrt(n); 5 of them are allowed."""
    counts = defaultdict(lambda: [0, 0])
    for row in rows(modality, size=600, kinds=[kind]):
        for side, column in enumerate(("chosen", "rejected")):
            for word in words(row[column]):
                counts[word][side] += 1
    for word, (chosen, rejected) in counts.items():
        assert abs(chosen - rejected) <= 5 * (chosen + rejected) ** 0.5, (word, chosen, rejected)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_guesser_without_the_media_is_at_chance(modality):
    """It counts on 2000 training rows how often an answer won for a question and bets on the more frequent winner.
    For about 500 fair coins the standard deviation of the share is 0.022; 4 of them are allowed."""
    wins = Counter()
    for row in rows(modality, size=2000, seed=1):
        wins[row["prompt"], row["chosen"]] += 1
        wins[row["prompt"], row["rejected"]] -= 1
    held_out = [row for row in rows(modality, "val", 500, seed=2) if row["kind"] != "caption"]
    bets = [
        np.sign(wins[row["prompt"], row["chosen"]] - wins[row["prompt"], row["rejected"]]) / 2 + 0.5 for row in held_out
    ]
    assert 0.41 < np.mean(bets) < 0.59


# ---------------------------------------------------------------- sounds


def heard(sound):
    """Fundamental in Hz, share of the third harmonic, and swelling, of each stretch that is not silent."""
    loud = np.abs(sound.samples) > 0.01
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]])))
    stretches = []
    for start, stop in edges.reshape(-1, 2):
        if stretches and start - stretches[-1][1] < 0.045 * sound.rate:
            stretches[-1][1] = stop
        else:
            stretches.append([start, stop])
    return [(start / sound.rate, *_timbre(sound.samples[start:stop], sound.rate)) for start, stop in stretches]


def _timbre(wave, rate):
    middle = wave[len(wave) // 10 : -len(wave) // 10]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 16))
    peak = int(np.argmax(spectrum))
    third = spectrum[int(2.9 * peak) : int(3.1 * peak)].max() / spectrum[peak]
    envelope = [np.abs(piece).max() for piece in np.array_split(middle, 60)]
    return peak * rate / (1 << 16), third, min(envelope) / max(envelope)


@pytest.mark.parametrize("index", range(24))
def test_every_tone_of_the_ground_truth_is_heard_in_its_place(index):
    """A buzz has a third harmonic of a third of its fundamental, a hum swells from nothing, a beep does neither."""
    row = Shapes(modality="ta2t", size=24)[index]
    told, found = truth(row), heard(row["audio"]())
    assert len(found) == len(told["tones"])
    for number, (tone, (start, hertz, third, floor)) in enumerate(zip(told["tones"], found, strict=True)):
        assert hertz == pytest.approx(HERTZ[tone["pitch"]], rel=0.05)
        assert ("buzz" if third > 0.2 else "hum" if floor < 0.4 else "beep") == tone["timbre"]
        assert start == pytest.approx(number * (TONE + GAPS[told["pace"]]), abs=0.02)


def true_of_its_sound(row):
    order = list(HERTZ)
    tones, asked, answer = truth(row)["tones"], words(row["prompt"]), row["answer"]
    looks = [(tone["pitch"], tone["timbre"]) for tone in tones]
    holds = {
        "pitch": lambda: [pitch for pitch, timbre in looks if timbre == asked[-1]] == [answer],
        "timbre": lambda: [timbre for pitch, timbre in looks if pitch == asked[-1]] == [answer],
        "count": lambda: NUMBERS[sum(asked[2].startswith(timbre) for _, timbre in looks)] == answer,
        "turn": lambda: _turn([order.index(pitch) for pitch, _ in looks]) == answer,
        "pace": lambda: truth(row)["pace"] == answer,
        "first": lambda: looks[0][1] == answer and looks[1][1] in asked,
        "yesno": lambda: (answer == "yes") == ((asked[-1], asked[2]) in looks),
        "caption": lambda: words(answer.replace(" and a ", ", a ")) == [w for p, t in looks for w in ("a", p, t)],
    }
    return holds[row["kind"]]()


def test_answers_about_sounds_are_true():
    for row in rows("ta2t", size=320, max_tones=4):
        assert true_of_its_sound(row), row


def _turn(heights):
    steps = set(np.sign(np.diff(heights)).astype(int).tolist())
    return {(1,): "rising", (-1,): "falling"}[tuple(steps)]


def test_hiss_is_the_same_every_time():
    plain, noisy = (Shapes(modality="ta2t", hiss=hiss)[0]["audio"]() for hiss in (0.0, 0.05))
    assert (noisy.samples - plain.samples).std() == pytest.approx(0.05, rel=0.05)
    assert np.array_equal(noisy.samples, Shapes(modality="ta2t", hiss=0.05)[0]["audio"]().samples)


# ---------------------------------------------------------------- clips


def centre_of(frame, colour):
    """(x, y) of the pixels of a colour as shares of the frame, or None where there are hardly any."""
    near = np.abs(frame.astype(int) - np.array(COLOURS[colour])).max(-1) < 30
    ys, xs = np.nonzero(near)
    return (xs.mean() / frame.shape[1], ys.mean() / frame.shape[0]) if near.mean() > 0.003 else None


@pytest.mark.parametrize("index", range(42))
def test_every_mover_of_the_ground_truth_is_seen_where_and_when_it_is(index):
    row = Shapes(modality="tv2t", size=42, max_shapes=3, image_size=96, frames=6)[index]
    clip, movers = row["video"](), truth(row)
    assert clip.frames.shape == (6, 96, 96, 3) and clip.times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    steps = {"left": (-2 / 3, 0), "right": (2 / 3, 0), "up": (0, -2 / 3), "down": (0, 2 / 3), "stays": (0, 0)}
    for mover in movers:
        colour = mover["figure"]["colour"]
        if sum(m["figure"]["colour"] == colour for m in movers) > 1:
            continue
        seen = [centre_of(frame, colour) for frame in clip.frames]
        there = [mover["enters"] <= i / 5 <= mover["leaves"] for i in range(6)]
        assert [place is not None for place in seen] == there
        if all(there):
            moved = np.array(seen[-1]) - np.array(seen[0])
            assert moved == pytest.approx(np.array(steps[mover["motion"]]), abs=0.02)


def true_of_its_clip(row):
    movers, asked, answer = truth(row), words(row["prompt"]), row["answer"]
    shapes = {mover["figure"]["shape"]: mover for mover in movers}
    holds = {
        "motion": lambda: shapes[asked[4]]["motion"] == answer,
        "mover": lambda: [s for s, m in shapes.items() if m["motion"] != "stays"] == [answer],
        "first": lambda: min(shapes, key=lambda s: shapes[s]["enters"]) == answer,
        "appears": lambda: [s for s, m in shapes.items() if m["enters"] > 0] == [answer],
        "disappears": lambda: [s for s, m in shapes.items() if m["leaves"] < 1] == [answer],
        "count": lambda: NUMBERS[sum(m["motion"] != "stays" for m in movers)] == answer,
        "caption": lambda: words(answer.replace(" and a ", ", a ")) == _told(movers),
    }
    return holds[row["kind"]]()


def test_answers_about_clips_are_true():
    for row in rows("tv2t", size=280):
        assert true_of_its_clip(row), row


def _told(movers):
    return [word for m in movers for word in ("a", m["figure"]["colour"], m["figure"]["shape"], "moves", m["motion"])]


# ---------------------------------------------------------------- several media, several pictures, several turns


def test_questions_about_two_media_need_both():
    for row in rows("any2t", size=120, kinds=["as_many", "same"]):
        told = truth(row)
        if row["kind"] == "as_many":
            same = len(told["image"]) == len(told["audio"]["tones"])
        else:
            (still,), (moving,) = told["image"], told["video"]
            same = (still["colour"], still["shape"]) == (moving["figure"]["colour"], moving["figure"]["shape"])
        assert row["answer"] == ("yes" if same else "no")


def test_a_caption_of_all_media_names_what_is_in_each():
    for row in rows("any2t", size=60, kinds=["caption"], max_shapes=1):
        told = truth(row)
        picture, sound, video = row["chosen"].lower().split(", in the ")
        assert f"{told['image'][0]['colour']} {told['image'][0]['shape']}" in picture
        assert all(f"{tone['pitch']} {tone['timbre']}" in sound for tone in told["audio"]["tones"])
        assert f"moves {told['video'][0]['motion']}" in video
        differs = [a != b for a, b in zip(row["chosen"].split(","), row["rejected"].split(","), strict=True)]
        assert sum(differs) == 1


def test_questions_about_several_pictures_are_true():
    places = ("first", "second", "third")
    for row in rows("ti2t", size=80, kinds=["which", "same"]):
        looks = [(scene[0]["colour"], scene[0]["shape"]) for scene in truth(row)]
        assert len(row["image"]) == len(looks)
        if row["kind"] == "which":
            assert places[looks.index(tuple(words(row["prompt"])[-2:]))] == row["answer"]
        else:
            assert (row["answer"] == "yes") == (looks[0] == looks[1])


def test_a_followup_is_asked_in_the_second_turn_and_means_what_the_first_did():
    for row in rows("ti2t", size=60, kinds=["followup"]):
        first, answered, last = (turn["content"] for turn in row["messages"])
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant", "user"] and last.startswith("And ")
        shape, figures = words(last)[-1].removesuffix("s"), truth(row)
        matching = [f["colour"] for f in figures if f["shape"] == shape]
        if first.startswith("What colour"):
            assert matching == [row["answer"]]
        else:
            assert NUMBERS[len(matching)] == row["answer"]
        assert shape not in answered


def test_every_medium_and_turn_arrives_in_the_prompt():
    examples = load_examples(options_named("shapes_any2t", "train.size=2"), "train", "feedback")
    (turn,) = examples[0].messages
    assert [part["type"] for part in turn["content"]] == ["image", "audio", "video", "text"]
    assert turn["content"][2]["video"].frames.shape == (4, 48, 48, 3) and turn["content"][1]["audio"].rate == 16_000
    follow = load_examples(
        options_named("shapes_ti2t", "train.size=2", "train.kinds=[followup]"), "train", "preference"
    )
    assert [[part["type"] for part in turn["content"]] for turn in follow[0].messages] == [
        ["image", "text"],
        ["text"],
        ["text"],
    ]
    album = load_examples(options_named("shapes_ti2t", "train.size=2", "train.kinds=[which]"), "train", "preference")
    assert [part["type"] for part in album[0].messages[0]["content"]] == ["image", "image", "image", "text"]


def test_media_of_a_row_decode_as_any_other():
    row = Shapes(modality="any2t", size=1)[0]
    for kind in media.MEDIA:
        media.check({"type": kind, kind: row[kind]})
        assert media.decode({"type": kind, kind: row[kind]})[kind] is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"modality": "ta2t", "kinds": ["colour"]}, "kinds has colour, and ta2t has only pitch, timbre"),
        ({"modality": "ta2t", "max_tones": 1}, "kinds count need max_tones of 2 or more"),
        ({"modality": "any2t", "max_shapes": 1}, "kinds as_many need max_tones and max_shapes of 2 or more"),
        ({"modality": "ta2t", "min_tones": 4}, "min_tones=4 is above max_tones=3"),
        ({"modality": "ta2t", "pitches": ["low", "low"]}, "names something twice"),
        ({"modality": "tv2t", "frames": 3}, "greater than or equal to 4"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        Shapes(**options)
