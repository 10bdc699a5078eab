"""Rows drawn at random: none ends in a traceback, and whatever a row holds is in its tokens or the row is named."""

import base64
import copy
import io
import json
import tempfile
import wave
from functools import cache, reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.launch.job import describe

FOLDER = Path(tempfile.mkdtemp())
FEW, MANY = 60, 300


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 32), (200, 30, 90)).save(file, "PNG")
    return file.getvalue()


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16000)
        written.writeframes((np.sin(np.arange(4000)) * 9000).astype("<i2").tobytes())
    return file.getvalue()


def uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


NONE = st.sampled_from([None, "", [], [""], [None], "  ", "[]"])
ODD = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.just("gone.png"), st.just({}), st.just({"a": 1}), st.just([1, "x"])
)
NESTED = reduce(lambda inner, _: [inner], range(150), "x")
BROKEN = st.sampled_from(["half \ud800", "\udcff", "a\0b", float("nan"), float("-inf"), NESTED, [{"role": "\udfff"}]])
GOOD = {
    "image": ["p.png", uri("image/png", picture()), {"path": "p.png"}, {"url": "p.png"}, f"file://{FOLDER}/p.png"],
    "audio": [
        "s.wav",
        uri("audio/wav", sound()),
        {"path": "s.wav"},
        {"array": [0.1, -0.1] * 900, "sampling_rate": 16000},
    ],
    "video": ["p.png", ["p.png", "p.png", "p.png"], {"frames": ["p.png", "p.png"], "fps": 2.0}],
}
WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=30).filter(lambda s: s.strip())
SAYS = st.one_of(WORDS, st.integers(-9, 9), st.just("Is <b>it</b> {red}? [x] 3 < 4 $y$ \\n"))


@st.composite
def cells(draw, kind):
    """A cell of a media column with how many media it holds; None: something that is none and must be named."""
    which = draw(st.sampled_from(["none", "one", "two", "odd"]))
    if which == "none":
        return draw(NONE), 0
    if which == "odd":
        return draw(st.one_of(ODD, BROKEN)), None
    one = draw(st.sampled_from(GOOD[kind]))
    if which == "one":
        return one, 1
    other = draw(st.sampled_from(GOOD[kind]))
    if kind == "video" and all(isinstance(value, str) for value in (one, other)):
        return [one, other], 1  # frames
    return [one, other], 2


@st.composite
def turns(draw, with_answer):
    """A conversation with how many media its parts hold."""
    count, messages = 0, []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(WORDS)})
    for place in range(draw(st.integers(1, 2))):
        if place:
            messages.append({"role": "assistant", "content": draw(WORDS)})
        parts = [{"type": "text", "text": draw(WORDS)}]
        for kind in draw(st.lists(st.sampled_from(["image", "audio", "video"]), max_size=2)):
            value = draw(st.sampled_from(GOOD[kind]))
            parts.insert(draw(st.integers(0, len(parts))), {"type": kind, kind: value})
            count += 1
        messages.append({"role": "user", "content": parts if count or draw(st.booleans()) else parts[0]["text"]})
    if with_answer:
        messages.append({"role": "assistant", "content": draw(WORDS)})
    return messages, count


@st.composite
def rows(draw):
    """A row, the algorithm that reads it, and how many media it holds; None where something in it must be named."""
    algo = draw(st.sampled_from(["dpo", "sft", "kto"]))
    row, count, fine = {}, 0, True
    if draw(st.booleans()):
        row["prompt"], count = draw(turns(with_answer=False))
    else:
        row["prompt"] = draw(SAYS)
    for kind in draw(st.sets(st.sampled_from(["image", "audio", "video"]), max_size=2)):
        value, held = draw(cells(kind))
        row[draw(st.sampled_from([kind, f"{kind}s"]))] = value
        fine, count = fine and held is not None, count + (held or 0)
    answers = {"dpo": ["chosen", "rejected"], "sft": ["response"], "kto": ["completion"]}[algo]
    for column in answers:
        row[column] = draw(st.one_of(SAYS, st.builds(lambda said: [{"role": "assistant", "content": said}], WORDS)))
    if algo == "kto":
        row["label"] = draw(st.sampled_from([True, "no", 1, "TRUE", "0.0", "perhaps", None]))
        fine = fine and row["label"] not in ("perhaps", None)
    if draw(st.integers(0, 4)) == 0:
        row[draw(st.sampled_from(["prompt", *answers]))], fine = draw(BROKEN), False
    row.update(
        draw(
            st.dictionaries(
                st.sampled_from(["system", "answer", "id", "margin", "tools"]), st.one_of(ODD, BROKEN, WORDS, NONE)
            )
        )
    )
    return row, algo, count if fine else None


@cache
def config(algo):
    typed = [
        "modality=any2t",
        "model=tiny_qwen2_5_omni",
        "data=local",
        "data.val_share=null",
        "data.train.path=x.jsonl",
    ]
    return compose([*typed, f"algo={algo}", "show=0", "loader.max_prompt_tokens=4000"], "check")


def media_of(example):
    return sum(part["type"] != "text" for message in example.messages for part in message["content"])


def read_whole_or_named(drawn):
    row, algo, count = drawn
    (FOLDER / "p.png").write_bytes(picture())
    (FOLDER / "s.wav").write_bytes(sound())
    path = FOLDER / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    cfg = copy.deepcopy(config(algo))
    cfg.data.train.path = str(path)
    try:
        found = check(cfg)
    except (ValueError, OSError, TypeError) as error:
        message, expected, story = describe(error)
        assert expected, story
        assert message
        event(f"refused: {message[:90]}")
        return
    assert count is not None, f"{row} holds something that is no medium or label, and trains"
    event(f"trains with {count} media")
    examples = [found.train[i] for i in range(len(found.train))]
    assert [media_of(example) for example in examples] == [count] * len(examples)
    told = sum(found.trained.showing.values()) - found.trained.showing[""]
    assert (told > 0) == (count > 0)


relaxed = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@settings(relaxed, max_examples=FEW)
@given(rows())
def test_a_row_at_random_is_read_whole_or_named(drawn):
    read_whole_or_named(drawn)


@pytest.mark.slow
@settings(relaxed, max_examples=MANY)
@given(rows())
def test_many_rows_at_random_are_read_whole_or_named(drawn):
    read_whole_or_named(drawn)
