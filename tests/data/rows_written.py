"""One row of data sets whose answers are pictures, sounds, videos, or text with pictures, and what it must become."""

from __future__ import annotations

from .rows import Case, clip, heard, picture, sound, stored

_PICKED = {
    "caption": "a cat",
    "jpg_0": picture("red"),
    "jpg_1": picture("blue"),
    "label_0": 0.0,
    "label_1": 1.0,
    "best_image_uid": "u",
    "model_0": "x",
    "model_1": "y",
}
_FOUR = {f"{name}.png": picture(name) for name in ("red", "blue", "green", "grey")}
_SAFE = {
    "prompt_text": "a cat",
    "video_0": {"video_path": "v/0.mp4", "video_id": "0"},
    "video_1": {"video_path": "v/1.mp4", "video_id": "1"},
    "helpfulness": "video_1",
    "harmlessness": "video_0",
}
_TWO_CLIPS = {"v/0.mp4": clip("red"), "v/1.mp4": clip("blue")}
_INTERLEAVED = {
    "input_text": "From <image> to <image>?",
    "input_image": ["red.png", "blue.png"],
    "better_text": "Like this.",
    "better_img": "green.png",
    "worse_text": "No.",
    "worse_img": None,
}
_ANSWERED = {
    "input_text": "Mix <image> with <image>.",
    "input_image": ["red.png", "blue.png"],
    "output_text": "Here.",
    "output_image": "green.png",
}

CASES: dict[str, Case] = {
    "align_anything_t2i": Case(
        {
            "prompt": "a cat",
            "image_1": stored("red"),
            "image_2": stored("blue"),
            "image_1_model": "x",
            "image_2_model": "y",
            "overall_image": 2,
        },
        "a cat",
        ["[blue]", "[red]"],
    ),
    "align_anything_t2a": Case(
        {"prompt": "a bell", "response_1": heard(8000), "response_2": heard(16000), "overall_audio": 2},
        "a bell",
        ["[16000 Hz]", "[8000 Hz]"],
    ),
    "align_anything_t2v": Case(
        {"prompt": "a cat", "video_1_path": "./v/0.mp4", "video_2_path": "./v/1.mp4", "overall_video": 2},
        "a cat",
        ["[blue clip]", "[red clip]"],
        files=_TWO_CLIPS,
    ),
    "align_anything_ti2ti": Case(
        {
            "question": "Q?",
            "image_url": "./red.png",
            "response_1": "one",
            "response_2": "two",
            "output_image_url_1": "./blue.png",
            "output_image_url_2": "./green.png",
            "overall_response": 2,
            "overall_image": 1,
        },
        "[red]Q?",
        ["two[green]", "one[blue]"],
        files=_FOUR,
    ),
    "align_anything_judgements": Case(
        {
            "question": "Q?",
            "image_url": "red.png",
            "response_1": "one",
            "response_2": "two",
            "output_image_url_1": "blue.png",
            "output_image_url_2": "green.png",
            "feedback": "The second, since ...",
        },
        "Judge two answers to a question and say which one is better, and why."
        "[red]Question: Q?\nFirst answer: one[blue]Second answer: two[green]",
        ["The second, since ..."],
        files=_FOUR,
    ),
    "diffusiondb": Case({"prompt": "a cat", "image": stored("red")}, "a cat", ["[red]"]),
    "diffusiondbcanny": Case({"text": "a cat", "image": stored("red")}, "a cat", ["[red]"]),
    "pickapic": Case(_PICKED, "a cat", ["[blue]", "[red]"]),
    "pickapic_v1": Case(_PICKED, "a cat", ["[blue]", "[red]"]),
    "hpdv2": Case(
        {"prompt": "a cat", "file_path": ["red.png", "blue.png"], "human_preference": [0, 1]},
        "a cat",
        ["[blue]", "[red]"],
        files=_FOUR,
    ),
    "hpdv2_test": Case(
        {
            "prompt": "a cat",
            "image_path": ["red.png", "blue.png", "green.png"],
            "rank": [2.5, 1.0, 2.5],
            "raw_annotations": [{"rank": [2, 1, 3], "user_hash": "h"}],
        },
        "a cat",
        ["[blue]", "[red]"],  # and blue before green; red and green are equal
        files=_FOUR,
    ),
    "janus_t2i": Case({"prompt": "a cat", "image": "red.png"}, "a cat", ["[red]"], files=_FOUR),
    "better_worse_images": Case(
        {"prompt": "a cat", "better_image": "red.png", "worse_image": "blue.png"},
        "a cat",
        ["[red]", "[blue]"],
        files=_FOUR,
    ),
    "wavcaps": Case({"answer": "a bell", "context": heard(32000)}, "a bell", ["[32000 Hz]"]),
    "somos": Case(
        {"prompt": "Hello.", "better_data_path": "a.wav", "worse_data_path": "b.wav"},
        "Hello.",
        ["[8000 Hz]", "[16000 Hz]"],
        files={"a.wav": sound(8000), "b.wav": sound(16000)},
    ),
    "webvid": Case({"caption": "a cat", "video_path": "v/0.mp4"}, "a cat", ["[red clip]"], files=_TWO_CLIPS),
    "safesora": Case(_SAFE, "a cat", ["[blue clip]", "[red clip]"], files=_TWO_CLIPS),
    "safesora_safety": Case(_SAFE, "a cat", ["[red clip]", "[blue clip]"], files=_TWO_CLIPS),
    "videofeedback": Case(  # addresses are fetched when used; here the cell holds a file's bytes
        {
            "id": "1",
            "text prompt": "a cat",
            "video link": clip("red"),
            "visual quality": 3,
            "temporal consistency": 3,
            "dynamic degree": 2,
            "text-to-video alignment": 3,
            "factual consistency": 2,
        },
        "a cat",
        ["[red clip]"],
    ),
    "ti2ti_preference": Case(_INTERLEAVED, "From [red] to [blue]?", ["[green]Like this.", "No."], files=_FOUR),
    "ti2ti": Case(_ANSWERED, "Mix [red] with [blue].", ["Here.[green]"], files=_FOUR),
    "anything_ti2ti": Case(
        {"question": "Q?", "response": "Here.", "image_url": "red.png", "output_image_url": ["blue.png", "green.png"]},
        "[red]Q?",
        ["Here.[blue][green]"],
        files=_FOUR,
    ),
}
