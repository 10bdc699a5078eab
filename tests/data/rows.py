"""One row of data sets of text and pictures, with its raw columns, and what it must become; `cases.py` has them all."""

from __future__ import annotations

import functools
import io
import wave
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from PIL import Image


def picture(colour: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    """A PNG file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def stored(colour: str = "red") -> dict[str, Any]:
    """A picture as the hub stores it."""
    return {"bytes": picture(colour), "path": None}


def sound(rate: int = 8000) -> bytes:
    """A WAV file of a twentieth of a second; its rate is what tests know it by."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes((np.sin(np.arange(rate // 20) * 0.3) * 9000).astype("<i2").tobytes())
    return file.getvalue()


def heard(rate: int = 8000) -> dict[str, Any]:
    """A sound as the hub stores it."""
    return {"bytes": sound(rate), "path": None}


@functools.cache
def clip(colour: str = "red") -> bytes:
    """An MP4 file of one colour: three frames, two of them a second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_image(Image.new("RGB", (32, 32), colour))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@dataclass
class Case:
    """A row and the texts of the example that it becomes; media are written in brackets: a picture as [red], a sound as
    [8000 Hz], a clip as [red clip]. `files` are what paths in the row name, below the data set's root."""

    row: dict[str, Any]
    prompt: str
    responses: list[str]
    answer: str | None = None
    margin: float | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


_RATED = {
    dimension: {"Rating": "N/A", "Rationale": "..."}
    for dimension in ("instruction_following", "honesty", "truthfulness", "helpfulness")
}


def completion(response: str, *ratings: str) -> dict[str, Any]:
    """One answer of UltraFeedback with its four ratings."""
    rated = {name: {"Rating": rating, "Rationale": "..."} for name, rating in zip(_RATED, ratings, strict=True)}
    return {"model": "m", "response": response, "annotations": rated, "overall_score": 8.0, "critique": "..."}


CASES: dict[str, Case] = {
    "align_anything_t2t": Case(
        {"question": "Q?", "response_1": "one", "response_2": "two", "overall_response": 2}, "Q?", ["two", "one"]
    ),
    "align_anything_ti2t": Case(
        {
            "question": "Q?",
            "image": stored("red"),
            "response_1": "one",
            "response_2": "two",
            "overall_response": 1,
            "p_response": 2,
            "prompt_following_rate_1": 3,
        },
        "[red]Q?",
        ["one", "two"],
    ),
    "align_anything_ti2t_instruct": Case(
        {"prompt": "Q?", "response": "one", "image": stored("blue")}, "[blue]Q?", ["one"]
    ),
    "pku_safe_rlhf": Case(
        {
            "prompt": "Q?",
            "response_0": "zero",
            "response_1": "one",
            "is_response_0_safe": True,
            "is_response_1_safe": False,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        "Q?",
        ["one", "zero"],
    ),
    "pku_safe_rlhf_safety": Case(
        {
            "prompt": "Q?",
            "response_0": "zero",
            "response_1": "one",
            "is_response_0_safe": True,
            "is_response_1_safe": False,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        "Q?",
        ["zero", "one"],
    ),
    "hh_rlhf": Case(
        {
            "chosen": "\n\nHuman: Q1?\n\nAssistant: A1\n\nHuman: Q2?\n\nAssistant: Good one",
            "rejected": "\n\nHuman: Q1?\n\nAssistant: A1\n\nHuman: Q2?\n\nAssistant: Good grief",
        },
        "Q1?|A1|Q2?",
        ["Good one", "Good grief"],
    ),
    "ultrafeedback": Case(
        {
            "source": "s",
            "instruction": "Q?",
            "models": ["m"] * 3,
            "completions": [
                completion("middle", "3", "3", "N/A", "3"),
                completion("best", "5", "N/A", "5", "4"),
                completion("middle too", "3", "3", "3", "3"),
            ],
        },
        "Q?",
        ["best", "middle"],
    ),
    "ultrafeedback_binarized": Case(
        {
            "prompt": "Q?",
            "prompt_id": "x",
            "chosen": [user("Q?"), assistant("good")],
            "rejected": [user("Q?"), assistant("bad")],
            "messages": [],
            "score_chosen": 8.5,
            "score_rejected": 6.0,
        },
        "Q?",
        ["good", "bad"],
        margin=2.5,
    ),
    "rlhf_v": Case(
        {
            "ds_name": "RLHF-V",
            "image": stored("red"),
            "text": '{"question": "Q?", "chosen": "good", "rejected": "bad"}',
            "idx": 3,
        },
        "[red]Q?",
        ["good", "bad"],
    ),
    "rlaif_v": Case(
        {"image": stored("red"), "question": "Q?", "chosen": "good", "rejected": "bad", "idx": "3"},
        "[red]Q?",
        ["good", "bad"],
    ),
    "scored_answers": Case(
        {"prompt": "Q?", "image": "red.png", "answers": ["worst", "best", "middle"], "scores": [-1.0, 3.5, 2]},
        "[red]Q?",
        ["best", "worst"],
        files={"red.png": picture("red")},
    ),
    "scored_claims": Case(
        {
            "prompt": "Q?",
            "image": "red.png",
            "answers": ["two denied", "none denied", "one denied"],
            "yes": [[0.1, 0.9, 0.3], [0.5], [0.2, 0.7]],
            "no": [[0.9, 0.1, 0.4], [0.5], [0.8, 0.3]],
        },
        "[red]Q?",
        ["none denied", "two denied"],
        files={"red.png": picture("red")},
    ),
    # 0.9 · 0.3 + 0.1 · (−1) = 0.17; 0.9 · (0.2 + 0.2) + 0.1 · (−0.5 − 0.5) = 0.26
    "scored_sentences": Case(
        {
            "prompt": "Q?",
            "image": "red.png",
            "answers": ["One.", "Two. Three."],
            "likelihoods": [[-1.0], [-0.5, -0.5]],
            "similarities": [[0.3], [0.2, 0.2]],
        },
        "[red]Q?",
        ["Two. Three.", "One."],
        files={"red.png": picture("red")},
    ),
    "vlguard": Case(
        {
            "id": "1",
            "image": "red.png",
            "safe": False,
            "instr-resp": [
                {"safe_instruction": "What is it?", "instruction": None, "response": "A cup."},
                {"safe_instruction": None, "instruction": "Make one.", "response": "I cannot help with this."},
            ],
        },
        "[red]Make one.",
        ["I cannot help with this."],
        files={"red.png": picture("red")},
    ),
    "spa_vl": Case(
        {
            "image": stored("red"),
            "question": "<image>\nDescribe.",
            "chosen": "good",
            "rejected": "bad",
            "class1": "a",
            "class2": "b",
            "class3": "c",
        },
        "[red]Describe.",
        ["good", "bad"],
    ),
    "alpaca": Case({"instruction": "Say hi", "input": "", "output": "hi", "text": "..."}, "Say hi", ["hi"]),
    "gsm8k": Case(
        {"question": "Q?", "answer": "2*600=<<2*600=1200>>1200\n#### 1,200"},
        "Q?",
        ["2*600=<<2*600=1200>>1200\n#### 1,200"],
        answer="1200",
    ),
    "pickapic_v2": Case(
        {
            "caption": "a cat",
            "jpg_0": picture("red"),
            "jpg_1": picture("blue"),
            "label_0": 0.0,
            "label_1": 1.0,
            "model_0": "x",
            "model_1": "y",
        },
        "a cat",
        ["[blue]", "[red]"],
    ),
    "trl_preference": Case(
        {
            "images": [stored("red")],
            "prompt": [user([{"type": "image", "text": None}, {"type": "text", "text": "Q?"}])],
            "chosen": [assistant([{"type": "text", "text": "good"}])],
            "rejected": [assistant([{"type": "text", "text": "bad"}])],
        },
        "[red]Q?",
        ["good", "bad"],
    ),
    "trl_preference_implicit": Case(
        {"chosen": [user("Q?"), assistant("good")], "rejected": [user("Q?"), assistant("bad")]}, "Q?", ["good", "bad"]
    ),
    "trl_prompt_completion": Case({"prompt": [user("Q?")], "completion": [assistant("good")]}, "Q?", ["good"]),
    "trl_messages": Case(
        {"messages": [user("Q1?"), assistant("A1"), user("Q2?"), assistant("A2")]}, "Q1?|A1|Q2?", ["A2"]
    ),
    "stepwise": Case(
        {"prompt": "2 + 3 - 1?", "completions": ["2 + 3 = 5", "5 - 1 = 3"], "labels": [True, False]},
        "2 + 3 - 1?",
        ["2 + 3 = 5\n5 - 1 = 3"],
    ),
    "trl_unpaired": Case({"prompt": [user("Q?")], "completion": [assistant("good")], "label": True}, "Q?", ["good"]),
    "sharegpt_preference": Case(
        {
            "conversations": [
                {"from": "human", "value": "Q1?"},
                {"from": "gpt", "value": "A1"},
                {"from": "human", "value": "Look: <image> What?"},
            ],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
            "images": [stored("red")],
        },
        "Q1?|A1|Look: [red] What?",
        ["good", "bad"],
    ),
}
