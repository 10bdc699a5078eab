"""Corruption spoils the media of prompts, always in the same way, and nothing else."""

import re

import numpy as np
import pytest
from hydra.utils import instantiate
from pydantic import TypeAdapter, ValidationError

from aa_lightning.assembly.compatibility import check_compatible, check_spoiled
from aa_lightning.assembly.data import data_options, read_examples
from aa_lightning.configuration.compose import compose
from aa_lightning.data.corruption.options import SPOILS, Corruption, CorruptionOptions
from aa_lightning.data.examples import Examples, load_examples

from .support import ROOT, Memory, options_named, template

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
    with pytest.raises(ValueError, match="finds no other image for row 0"):
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
    options = options_named("shapes_ti2t", "corruption=blank", "train.size=3")
    assert all(pixels(e).std() == 0 for e in load_examples(options, "train", "preference"))
    assert TypeAdapter(Corruption).validate_python({"name": "blur", "blur": 0.2}).blur == 0.2
    with pytest.raises(ValidationError, match="blank"):
        TypeAdapter(Corruption).validate_python("blak")


# ---------------------------------------------------------------- sounds and clips

SOUND_NAMES = ["blank", "noise", "swap", "mute", "reverse"]
CLIP_NAMES = ["blank", "noise", "swap", "shuffle", "drop", "freeze", "reverse"]
HEARD = {"kind": "prompt", "prompt": [{"audio": "audio"}, {"text": "q"}]}
SEEN = {"kind": "prompt", "prompt": [{"video": "video"}, {"text": "q"}]}


def sound(seed):
    """A second of a tone that gets louder, of another pitch for each seed."""
    t = np.arange(8000) / 8000
    return {"array": (t * np.sin(2 * np.pi * (200 + 50 * seed) * t)).astype(np.float32), "sampling_rate": 8000}


def clip(seed):
    """Eight frames, 10 levels lighter from one to the next, at 2 frames per second."""
    return {"frames": [np.full((16, 20, 3), 10 * i + seed, np.uint8) for i in range(8)], "fps": 2}


def heard(count=5, **options):
    return _examples([{"audio": sound(i), "q": f"Q{i}"} for i in range(count)], HEARD, options)


def seen(count=5, **options):
    return _examples([{"video": clip(i), "q": f"Q{i}"} for i in range(count)], SEEN, options)


def _examples(rows, mapping, options):
    corruption = CorruptionOptions(**options) if options else None
    return Examples(Memory(rows), template(**mapping), "prompt", corruption=corruption)


def medium(example, kind):
    return example.messages[0]["content"][0][kind]


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_a_spoiled_sound_keeps_rate_and_length_and_is_the_same_every_time(name):
    plain, spoiled, again = heard(), heard(name=name), heard(name=name)
    for i in reversed(range(5)):
        before, after = medium(plain[i], "audio"), medium(spoiled[i], "audio")
        assert after.rate == 8000 and after.samples.shape == (8000,) and after.samples.dtype == np.float32
        assert np.abs(before.samples - after.samples).mean() > 0.01
        assert np.array_equal(after.samples, medium(again[i], "audio").samples)
        assert spoiled[i].messages[0]["content"][1] == plain[i].messages[0]["content"][1]


def test_silence_mute_reversal_and_noise_of_a_sound():
    """Muting a quarter silences 2000 of 8000 samples; noise of hiss 2 has twice the sound's own deviation."""
    before = medium(heard()[0], "audio").samples
    assert not medium(heard(name="blank")[0], "audio").samples.any()
    muted = medium(heard(name="mute", share=0.25)[0], "audio").samples
    silent = np.flatnonzero((muted == 0) & (before != 0))
    assert 1900 < len(silent) <= 2000 and np.ptp(silent) < 2000
    assert np.array_equal(medium(heard(name="reverse")[0], "audio").samples, before[::-1])
    noise = medium(heard(name="noise", hiss=2.0)[0], "audio").samples - before
    assert noise.std() == pytest.approx(2 * before.std(), rel=0.05)


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_a_spoiled_clip_keeps_the_size_of_its_frames_and_is_the_same_every_time(name):
    plain, spoiled, again = seen(), seen(name=name), seen(name=name)
    for i in reversed(range(5)):
        before, after = medium(plain[i], "video"), medium(spoiled[i], "video")
        assert after.frames.shape[1:] == (16, 20, 3) and after.frames.dtype == np.uint8
        assert len(after.times) == len(after.frames) and (np.diff(after.times) > 0).all()
        assert not np.array_equal(before.frames, after.frames)
        assert np.array_equal(after.frames, medium(again[i], "video").frames)


def test_frames_are_blanked_shuffled_dropped_frozen_and_reversed():
    levels = [10 * i for i in range(8)]

    def shown(**options):
        return medium(seen(**options)[0], "video").frames[:, 0, 0, 0].tolist()

    assert shown() == levels and shown(name="blank") == [128] * 8 and shown(name="reverse") == levels[::-1]
    shuffled = shown(name="shuffle")
    assert sorted(shuffled) == levels and all(a != b for a, b in zip(shuffled, levels, strict=True))
    dropped = medium(seen(name="drop", share=0.5)[0], "video")
    assert len(dropped.frames) == 4 and (dropped.times * 20).tolist() == dropped.frames[:, 0, 0, 0].tolist()
    frozen = shown(name="freeze", share=0.5)
    still = [i for i, level in enumerate(frozen) if level != levels[i]]
    assert len(still) == 3 and {frozen[i] for i in still} == {levels[still[0] - 1]}


def test_swap_takes_sounds_and_clips_of_another_row():
    for plain, swapped, kind in ((heard(), heard(name="swap"), "audio"), (seen(), seen(name="swap"), "video")):
        content = {"audio": lambda m: m.samples.tobytes(), "video": lambda m: m.frames.tobytes()}[kind]
        originals = [content(medium(example, kind)) for example in plain]
        for i, example in enumerate(swapped):
            assert originals.index(content(medium(example, kind))) != i
    with pytest.raises(ValueError, match="finds no other audio for row 0"):
        heard(count=1, name="swap")[0]


def test_media_that_are_not_named_stay_as_they_are():
    both = {"kind": "prompt", "prompt": [{"image": "image"}, {"audio": "audio"}, {"text": "q"}]}
    rows = [{"image": gradient(1), "audio": sound(1), "q": "Q"}]

    def spoiled(**options):
        picture, heard_, _ = _examples(rows, both, options)[0].messages[0]["content"]
        return np.ptp(np.asarray(picture["image"])) > 0, bool(heard_["audio"].samples.any())

    assert spoiled(name="blank") == (False, False)
    assert spoiled(name="blank", media=["audio"]) == (True, False)
    assert spoiled(name="blank", media=["image"]) == (False, True)
    with pytest.raises(ValueError, match="corruption=shuffle spoils the video parts of prompts"):
        spoiled(name="shuffle")
    with pytest.raises(ValueError, match="corruption=blank spoils the video parts of prompts"):
        spoiled(name="blank", media=["video"])
    with pytest.raises(ValidationError, match="corruption blur is for image: name one"):
        CorruptionOptions(name="blur", media=["audio"])


@pytest.mark.parametrize("modality", ["ta2t", "tv2t", "any2t"])
def test_blank_leaves_nothing_to_see_or_hear_in_any_modality(modality):
    for example in load_examples(
        options_named(f"shapes_{modality}", "corruption=blank", "train.size=4"), "train", "prompt"
    ):
        for part in example.messages[0]["content"]:
            if part["type"] == "image":
                assert np.ptp(np.asarray(part["image"])) == 0
            elif part["type"] == "audio":
                assert not part["audio"].samples.any()
            elif part["type"] == "video":
                assert (part["video"].frames == 128).all()


# ---------------------------------------------------------------- for whom


@pytest.mark.parametrize(
    ("modality", "kind", "spoils"),
    [
        ("ti2t", "image", "{name:crop,crop:0.3}"),
        ("ti2t", "image", "{name:blur,media:[image]}"),
        ("ta2t", "audio", "{name:mute,share:0.5}"),
        ("ta2t", "audio", "reverse"),
        ("tv2t", "video", "shuffle"),
        ("tv2t", "video", "{name:freeze,share:0.75}"),
    ],
)
def test_any_preference_data_can_be_spoiled_from_the_command_line(modality, kind, spoils):
    """The medium of every pair changes; what is asked and both answers stay."""
    few = [f"modality={modality}", "data.train.size=6"]
    plain, spoiled = (
        read_examples(data_options(compose([*few, *more])), "train", "preference")
        for more in ([], [f"data.corruption={spoils}"])
    )
    content = {"image": lambda m: m.tobytes(), "audio": lambda m: m.samples.tobytes()}
    content["video"] = lambda m: m.frames.tobytes()
    for before, after in zip(plain, spoiled, strict=True):
        assert (after.id, after.responses) == (before.id, before.responses)
        assert after.messages[0]["content"][1] == before.messages[0]["content"][1]
        assert content[kind](medium(after, kind)) != content[kind](medium(before, kind))


def check(*overrides):
    cfg = compose(overrides)
    check_compatible(cfg, instantiate(cfg.algo, _convert_="all"), data_options(cfg))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            ["algo=mdpo", "modality=ta2t"],
            r"algo.objectives.images.comparison.corruption=crop acts on image, and the prompts of this data set show audio, "
            r".*type '\+\+algo.objectives.images.comparison.corruption={name:blank\|noise\|swap\|mute\|reverse,"
            r"media:\[audio\]}'",
        ),
        (
            ["algo=image_dpo", "modality=tv2t", "++algo.comparison.corruption={name:blur}"],
            r"algo.comparison.corruption=blur acts on image, and .* show video, .*name:blank.*freeze",
        ),
        (["modality=tv2t", "data.corruption=mute"], r"data.corruption=mute acts on audio, and .* show video"),
        (
            ["modality=ti2t", "data.corruption={name:noise,media:[audio]}"],
            r"data.corruption=noise acts on audio, and .* show image, .* type '\+\+data.corruption={name:.*blur.*}'",
        ),
        (
            ["modality=t2t", "data.corruption=blank"],
            r"show no media, .* type '\+\+data.corruption=null', or a data= with",
        ),
        (["algo=v_dpo", "modality=t2t"], "prompts of this data set have none: type modality=ti2t"),
    ],
)
def test_a_corruption_that_would_change_nothing_is_refused_with_those_that_would(typed, says):
    with pytest.raises(ValueError, match=says):
        check(*typed)


def test_what_the_refusal_says_to_type_works_and_so_does_every_corruption_for_its_media():
    check("algo=mdpo", "modality=ta2t", "++algo.objectives.images.comparison.corruption={name:mute,media:[audio]}")
    for name in ("crop", "mute", "shuffle"):  # in the prompt with all media, each has its own
        check("algo=image_dpo", "modality=any2t", f"++algo.comparison.corruption={{name:{name}}}")
    cfg = compose(["algo=image_dpo", "modality=any2t"])
    for name, kinds in SPOILS.items():
        cfg.algo.comparison.corruption.name = name
        check_spoiled(cfg, instantiate(cfg.algo, _convert_="all"), kinds)


def test_what_only_the_columns_tell_is_known_before_weights_load(tmp_path):
    """Rows of a file of one's own: columns in which a row says something are media that prompts show."""
    row = '{"prompt": "Q?", "chosen": "A", "rejected": "B", "image": null, "audio": "a.wav"}\n'
    (tmp_path / "rows.jsonl").write_text(row)
    cfg = compose(["algo=mdpo", "data=local", f"data.train.path={tmp_path / 'rows.jsonl'}"])
    algorithm = instantiate(cfg.algo, _convert_="all")
    assert data_options(cfg).shown == {"audio"}
    check_spoiled(cfg, algorithm, {"image"})
    with pytest.raises(ValueError, match=r"corruption=crop acts on image, and .* show audio"):
        check_spoiled(cfg, algorithm, {"audio"})
    with pytest.raises(ValueError, match="prompts of this data set have none"):
        check_spoiled(cfg, algorithm, set())


def test_the_page_names_every_corruption_beside_the_media_that_it_is_for():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for kind, noun in {"image": "pictures", "audio": "sounds", "video": "clips"}.items():
        named = re.search(rf"^\| {noun} \| (.*?) \|", page, re.MULTILINE)[1]
        assert set(re.findall(r"`(\w+)`", named)) == {name for name, kinds in SPOILS.items() if kind in kinds}
