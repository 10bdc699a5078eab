"""One row of more data sets of text, of other frameworks' formats, and what it must become."""

from __future__ import annotations

from typing import Any

from .rows import Case, assistant, clip, heard, picture, stored, user


def human(value: str) -> dict[str, Any]:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict[str, Any]:
    return {"from": "gpt", "value": value}


_PAIR = {
    "conversations": [human("Q?")],
    "chosen": gpt("good"),
    "rejected": gpt("bad"),
}
_TURNS = {
    "images": [stored("red")],
    "audios": [{"bytes": heard(8000)["bytes"], "path": "a.wav"}],
    "videos": [{"bytes": clip("blue"), "path": "v.mp4"}],
}

CASES: dict[str, Case] = {
    "pkusaferlhf": Case(
        {
            "prompt": "Q?",
            "response_0": "zero",
            "response_1": "one",
            "is_response_0_safe": False,
            "is_response_1_safe": True,
            "better_response_id": 1,
            "safer_response_id": 1,
        },
        "Q?",
        ["one", "zero"],
    ),
    "aligner": Case(
        {"question": "Q?", "answer": "A", "correction": "B"}, "##QUESTION: Q? ##ANSWER: A", ["##CORRECTION: B"]
    ),
    "o1_t2t": Case(  # columnar storage writes a missing title as null
        {
            "prompt": "Q?",
            "answer": "Z",
            "thoughts": [{"title": "T", "content": "X"}, {"title": None, "content": "Y"}],
        },
        "Q?",
        ["<think>**T**\nX\n<next>\nY\n<next>\n</think>Z"],
    ),
    "align_anything_t2t_instruct": Case({"prompt": "Q?", "response": "A"}, "Q?", ["A"]),
    "math_zero_rl": Case(
        {"question": "What is 1/2 + 1/2?", "answer": "1", "level": 3}, "...|What is 1/2 + 1/2?", [], answer="1"
    ),
    "tldr": Case({"content": "A long text.", "summary": "A text."}, "...A long text.", ["A text."]),
    "summarize_from_feedback": Case(
        {
            "info": {"id": "t3", "post": "I lost my keys.", "title": "Keys", "subreddit": "advice", "article": None},
            "summaries": [{"text": "bad", "policy": "x", "note": None}, {"text": "good", "policy": "y", "note": None}],
            "choice": 1,
            "worker": "w",
            "batch": "batch3",
            "split": "train",
        },
        "SUBREDDIT: r/advice\n\nTITLE: Keys\n\nPOST: I lost my keys.\n\nTL;DR:",
        ["good", "bad"],
    ),
    "orca_dpo_pairs": Case(
        {"system": "Be brief.", "question": "Q?", "chosen": "good", "rejected": "bad"}, "Be brief.|Q?", ["good", "bad"]
    ),
    "dpo_en_zh": Case(_PAIR, "Q?", ["good", "bad"]),
    "coig_p": Case(_PAIR, "Q?", ["good", "bad"]),
    "kto_mix": Case({"completion": [user("Q?"), assistant("good")], "label": True, "rating": 5}, "Q?", ["good"]),
    "ultrafeedback_kto": Case({"prompt": "Q?", "completion": "good", "label": False}, "Q?", ["good"]),
    "trl_preference_text": Case({"prompt": "Q?", "chosen": "good", "rejected": "bad"}, "Q?", ["good", "bad"]),
    "alpaca_preference": Case(
        {"instruction": "Translate.", "input": "chat", "chosen": "cat", "rejected": "dog", "system": ""},
        "Translate.\nchat",
        ["cat", "dog"],
    ),
    "sharegpt": Case(
        {"conversations": [human("See <image>, hear <audio>, watch <video>. What?"), gpt("All.")], **_TURNS},
        "See [red], hear [8000 Hz], watch [blue clip]. What?",
        ["All."],
    ),
    "sharegpt_kto": Case(
        {"conversations": [human("What?"), gpt("A."), human("Sure?"), gpt("No.")], "kto_tag": False, **_TURNS},
        "[red][8000 Hz][blue clip]What?|A.|Sure?",
        ["No."],
    ),
    "swift_messages": Case(
        {"messages": [user("<image><image>Which?"), assistant("The red one.")], "images": ["a.png", "b.png"]},
        "[blue][red]Which?",
        ["The red one."],
        files={"a.png": picture("blue"), "b.png": picture("red")},
    ),
    "swift_kto": Case(
        {"messages": [user("<image>What?"), assistant("Red.")], "images": [stored("red")], "label": False},
        "[red]What?",
        ["Red."],
    ),
    "swift_preference": Case(
        {
            "messages": [user("<audio>What?"), assistant("good")],
            "rejected_response": "bad",
            "audios": ["a.wav"],
            "margin": 0.5,
        },
        "[8000 Hz]What?",
        ["good", "bad"],
        margin=0.5,
        files={"a.wav": heard(8000)["bytes"]},
    ),
}
