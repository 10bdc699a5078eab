"""One row of data sets that ask about pictures, sounds and videos, and what it must become."""

from __future__ import annotations

from typing import Any

from .rows import Case, clip, heard, picture, sound, stored
from .rows_text import gpt, human


def rated(model: str, response: str, *ratings: str) -> tuple[str, str, dict[str, Any]]:
    """One answer of VLFeedback with its three ratings."""
    aspects = ("Helpfulness", "Visual Faithfulness", "Ethical Considerations")
    return model, response, {a: {"Rating": r, "Rationale": "..."} for a, r in zip(aspects, ratings, strict=True)}


_RATED = [rated("m", "worse", "2", "2", "5"), rated("n", "best", "5", "4", "N/A"), rated("o", "equal", "3", "3", "3")]
_BEAVER = {
    "question": "Q?",
    "image": stored("red"),
    "category": "animal_abuse",
    "image_severity": 2,
    "response_1": "one",
    "response_2": "two",
    "more_helpful_response_id": "2",
    "safer_response_id": "1",
    "is_response_1_safe": "yes",
    "is_response_2_safe": "no",
    "response_1_harmless_rate": 2,
    "response_2_harmless_rate": -1,
}
_RATES = {
    f"{name}_rate_{i}": rate
    for i, rate in ((1, 1), (2, 3))
    for name in ("prompt_following", "objective_rules", "clarity", "information_richness", "safety")
}
_WATCHED = {
    "prompt": "<video>\nWhat happens?",
    "video_path": "./a/b.mp4",
    "response_1": "one",
    "response_2": "two",
    "overall_response": 2,
    "model_1": "m",
    "model_2": "n",
    **_RATES,
    "text_critique_1": "Wrong.",
    "text_critique_2": "Right.",
    "overall_textfeedback": "The second.",
}
_MANY = {"image": stored("red"), "questions": ["Who?", "When?"], "answers": ["Ada", "1843"]}

CASES: dict[str, Case] = {
    "geometry3k": Case(
        {"images": [stored("red")], "problem": "<image>Find x.", "answer": "2 \\sqrt { 3 }"},
        "...|[red]Find x.",
        [],
        answer="2 \\sqrt { 3 }",
    ),
    "refcoco_r1": Case(
        {"id": 1, "image": "a/1.jpg", "conversations": [human("<image>Where is the cup?"), gpt("[1, 2, 3, 4]")]},
        "...|[red]Where is the cup?",
        [],
        answer="[1, 2, 3, 4]",
        files={"a/1.jpg": picture("red")},
    ),
    "open_r1_video": Case(
        {"video": "a/b.mp4", "problem": "Who moves? A. a cat B. a dog", "solution": "<answer> B </answer>"},
        "...|[red clip]Who moves? A. a cat B. a dog",
        [],
        answer="B",
        files={"a/b.mp4": clip("red")},
    ),
    "refinements": Case(
        {"prompt": "Q?", "response": "draft", "refinement": "better", "image": picture("red")},
        "[red]Q?",
        ["better", "draft"],
    ),
    "saferlhf_v_reward": Case(_BEAVER, "[red]Q?", ["two", "one"]),
    "saferlhf_v_cost": Case(_BEAVER, "[red]Q?", ["one", "two"]),
    "beavertails_v": Case(
        {
            "question": "Q?",
            "image": stored("red"),
            "category": "animal_abuse",
            "image_severity": 2,
            "response": "A",
            "is_response_safe": "yes",
        },
        "[red]Q?",
        ["A"],
    ),
    "llava_pretrain": Case(
        {"id": "1", "image": "00/1.jpg", "conversations": [human("Describe it.\n<image>"), gpt("A red square.")]},
        "Describe it.[red]",
        ["A red square."],
        files={"00/1.jpg": picture("red")},
    ),
    "llava_instruct_mix": Case(
        {
            "conversations": "[{'from': 'human', 'value': '<image>\\nWhat is it?'}, {'from': 'gpt', 'value': \"It's red.\"}]",
            "image": stored("red"),
        },
        "[red]What is it?",
        ["It's red."],
    ),
    "better_worse": Case(
        {"question": "Q?", "image": "a.png", "better_response": "good", "worse_response": "bad"},
        "[red]Q?",
        ["good", "bad"],
        files={"a.png": picture("red")},
    ),
    "janus_ti2t_instruct": Case(
        {"prompt": "Look: <image_placeholder>\nWhat?", "response": "Red.", "image": "a.png"},
        "Look: [red]What?",
        ["Red."],
        files={"a.png": picture("red")},
    ),
    "gqa": Case(
        {"question": "Is it red?", "answer": "yes", "image_path": "images/1.jpg"},
        "[red]Is it red?",
        ["yes"],
        answer="yes",
        files={"images/1.jpg": picture("red")},
    ),
    "ok_vqa": Case(
        {"question": "Q?", "answers": ["surf", "swim", "swim", "ski"], "image": stored("blue")},
        "[blue]Q?",
        ["swim"],
        answer="swim",
    ),
    "a_okvqa": Case(
        {
            "question": "Q?",
            "choices": ["cat", "dog"],
            "correct_choice_idx": 1,
            "rationales": ["It barks.", "It has a leash."],
            "image": stored("red"),
        },
        "[red]Q? Give your reasons.",
        ["dog. It barks. It has a leash."],
    ),
    "ocrvqa": Case(_MANY, "[red]Answer the following questions, one line each.\nWho?\nWhen?", ["Ada\n1843"]),
    "sharegpt_4o": Case(
        {"image": "a.png", "conversations": [human("<image>\nDescribe."), gpt("Red.")]},
        "[red]Describe.",
        ["Red."],
        files={"a.png": picture("red")},
    ),
    "vlfeedback": Case(  # the hub's loader stores a sequence of structs as a struct of lists
        {
            "id": "1",
            "prompt": "Q?",
            "models": ["m", "n", "o"],
            "completions": {
                "model": [m for m, _, _ in _RATED],
                "response": [r for _, r, _ in _RATED],
                "annotations": [a for _, _, a in _RATED],
            },
            "img_path": "a.png",
        },
        "[red]Q?",
        ["best", "worse"],
        files={"a.png": picture("red")},
    ),
    "mm_rlhf": Case(
        {"prompt": "Q?", "chosen": "good", "rejected": "bad", "image": None, "video": "v/1.mp4"},
        "[blue clip]Q?",
        ["good", "bad"],
        files={"v/1.mp4": clip("blue")},
    ),
    "align_anything_ta2t": Case(
        {
            "prompt": "Q?",
            "audio_path": heard(16000),
            "response_1": "one",
            "response_2": "two",
            "overall_response": 1,
        },
        "You are a helpful assistant.|[16000 Hz]Q?",
        ["one", "two"],
    ),
    "aa_ta2t_llf": Case(
        {"prompt": "Q?", "audio": "a.wav", "refinement": "better", "response": "draft"},
        "You are a helpful assistant.|[8000 Hz]Q?",
        ["better", "draft"],
        files={"a.wav": sound(8000)},
    ),
    "align_anything_tv2t": Case(_WATCHED, "[red clip]What happens?", ["two", "one"], files={"a/b.mp4": clip("red")}),
    "align_anything_tv2t_feedback": Case(
        _WATCHED, "[red clip]What happens?", ["two", "one"], files={"a/b.mp4": clip("red")}
    ),
    "qwen2_vl": Case(
        {"prompt": "Q?", "video_path": ["a.mp4", "b.mp4"], "better_output": "good", "worse_output": "bad"},
        "You are a helpful assistant.|[red clip][blue clip]Q?",
        ["good", "bad"],
        files={"a.mp4": clip("red"), "b.mp4": clip("blue")},
    ),
    "qwen2_vl_instruct": Case(
        {"prompt": "Q?", "video_path": "a.mp4", "output": "A"},
        "You are a helpful assistant.|[red clip]Q?",
        ["A"],
        files={"a.mp4": clip("red")},
    ),
    "openaqa": Case(
        {"instruction": "Q?", "audio_id": "a.wav", "output": "A"},
        "You are a helpful assistant.|[8000 Hz]Q?",
        ["A"],
        files={"a.wav": sound(8000)},
    ),
    "audiocaps": Case(
        {"caption": "A dog barks.", "audiocap_path": "a.wav"},
        "[8000 Hz]...",
        ["A dog barks."],
        files={"a.wav": sound(8000)},
    ),
    "audioset": Case(
        {"captions": ["Bark", "Dog"], "audio": "a.wav"},
        "[8000 Hz]...",
        ["The content of audio is Bark, Dog."],
        files={"a.wav": sound(8000)},
    ),
    "librispeech": Case(
        {"text": "HELLO WORLD", "audio": heard(16000)}, "[16000 Hz]...", ["hello world"], answer="hello world"
    ),
}
