"""Rows of a user's own, as the field writes them: each is read whole, or refused by row and column with what to type."""

import base64
import copy
import json
import wave
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aa_lightning.assembly.data import data_options, only_fitting, read_examples
from aa_lightning.assembly.policy import build_encoder
from aa_lightning.check import check
from aa_lightning.configuration.compose import compose
from aa_lightning.configuration.wording import ConfigError
from aa_lightning.data.errors import BadRow
from aa_lightning.models.families.table import FAMILIES
from aa_lightning.training.datamodule import EncodedExamples

CASES = Path(__file__).parent / "cases"
SEEING = [f"tiny_{name}" for name, family in FAMILIES.items() if "image" in family.media and name != "compose"]


def found(path, *overrides):
    """What `check` finds in a file."""
    return check(configured(path, *overrides))


def configured(path, *overrides):
    """The configuration of a file of rows."""
    cfg = copy.deepcopy(composed(*overrides))
    cfg.data.train.path = str(path)
    return cfg


@cache
def composed(*overrides):
    typed = ["data=local", "data.val_share=null", "data.train.path=rows.jsonl", "show=0", *overrides]
    return compose(typed, "check")


def rows(folder, *lines):
    """A file of rows beside two pictures."""
    for name, colour in {"r": "red", "b": "blue"}.items():
        Image.new("RGB", (64, 48), colour).save(folder / f"{name}.png")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def written(path, *overrides):
    """The prompts (placeholders counted) and the learnt answers of all rows, as text."""
    encoder = build_encoder(composed(*overrides))
    texts = []
    for example in found(path, *overrides).train:
        encoded = encoder.encode(example, example.responses)
        prompt = encoder.tokenizer.decode(encoded.prompt["input_ids"][0])
        texts.append((prompt, *(encoder.tokenizer.decode(tokens) for tokens in encoded.responses)))
    return texts


# ---------------------------------------------------------------- what only columns tell


def test_labels_are_words_in_any_case_and_both_classes_are_counted():
    survey = found(CASES / "kto_text.csv", "algo=kto", "model=tiny_qwen2").trained
    assert dict(survey.labels) == {True: 2, False: 2}
    assert "labels: 2 desirable, 2 undesirable" in survey.sentences()


@pytest.mark.parametrize(
    "words", [("yes", "no"), ("Yes", "NO"), ("1", "0"), ("1.0", "0.0"), (True, False), (1, 0), (1.0, 0.0)]
)
def test_every_usual_pair_of_words_is_a_label(tmp_path, words):
    path = rows(tmp_path, *({"prompt": "Say.", "completion": "Hm.", "label": word} for word in words))
    assert [example.desirable for example in found(path, "algo=kto", "model=tiny_qwen2").train] == [True, False]


def test_another_word_is_no_label_and_one_class_alone_is_said(tmp_path):
    path = rows(tmp_path, {"prompt": "Say.", "completion": "Hm.", "label": "good"})
    with pytest.raises(ValueError, match="Row 0, column 'label': True or false was expected, and 'good'"):
        found(path, "algo=kto", "model=tiny_qwen2")
    path = rows(tmp_path, *({"prompt": "Say.", "completion": "Hm.", "label": "yes"} for _ in range(2)))
    said = found(path, "algo=kto", "model=tiny_qwen2").trained.sentences()
    assert any(line.startswith("every answer is desirable") for line in said)


def test_columns_that_only_later_rows_have_are_read():
    told = found(CASES / "later_columns.jsonl", "algo=dpo")
    assert told.trained.showing == {"image": 2, "": 2}
    assert "of the examples 2 show image, 2 show no medium" in told.trained.sentences()


@pytest.mark.parametrize(
    ("later", "model", "reads"),
    [
        ({"system": "Be brief."}, "tiny_qwen2", lambda example: example.messages[0]["role"]),
        ({"margin": 2}, "tiny_qwen2", lambda example: example.margin),
        ({"audio": "s.wav"}, "tiny_qwen2_audio", lambda example: example.messages[0]["content"][0]["type"]),
        ({"videos": [["r.png", "b.png"]]}, "tiny_qwen2_vl", lambda example: example.messages[0]["content"][0]["type"]),
    ],
)
def test_so_are_system_margin_sounds_and_clips(tmp_path, later, model, reads):
    pair = {"prompt": "Say.", "chosen": "Hm.", "rejected": "Ha."}
    path = rows(tmp_path, pair, {**pair, **later})
    sound(tmp_path / "s.wav", 8000)
    plain, full = (reads(found(path, "algo=dpo", f"model={model}").train[i]) for i in (0, 1))
    assert plain != full and full in ("system", 2.0, "audio", "video")


def test_a_margin_that_not_every_row_says_does_not_serve_what_needs_it(tmp_path):
    pair = {"prompt": "Say.", "chosen": "Hm.", "rejected": "Ha."}
    path = rows(tmp_path, {**pair, "margin": 1}, pair)
    with pytest.raises(ValueError, match="needs by how much each chosen response is better"):
        found(path, "algo=odpo", "model=tiny_qwen2")
    assert found(CASES / "margin.jsonl", "algo=odpo").trained.margins == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]


def test_a_negative_margin_is_refused_by_row(tmp_path):
    path = rows(tmp_path, {"prompt": "Say.", "chosen": "Hm.", "rejected": "Ha.", "margin": -1})
    with pytest.raises(ValueError, match="Row 0, column 'margin': The margin is -1, as if the chosen response"):
        found(path, "model=tiny_qwen2")


def test_a_model_that_cannot_read_what_rows_show_is_refused_before_any_is_encoded():
    with pytest.raises(
        ValueError, match=r"show image, and models of family qwen2 read text: type a model= that reads image"
    ):
        found(CASES / "margin.jsonl", "model=tiny_qwen2")


# ---------------------------------------------------------------- chat templates

_TURN = "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
_START = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\nOPENED' -}}{%- endif -%}"
_THOUGHTFUL = f"""{{%- for message in messages -%}}
{_TURN}
{{%- if message['role'] == 'assistant' -%}}
{{%- set thought, content = '', message['content'] -%}}
{{%- if '</think>' in content -%}}
{{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip() -%}}
{{%- set content = content.split('</think>')[-1].lstrip() -%}}
{{%- endif -%}}
{{{{- BLOCK + content -}}}}
{{%- else -%}}{{{{- message['content'] -}}}}{{%- endif -%}}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endfor -%}}
{_START}"""


def template(folder, source):
    path = folder / "template.jinja"
    path.write_text(source, encoding="utf-8")
    return f"model.chat_template={path}"


def test_thoughts_are_learnt_as_the_template_writes_them(tmp_path):
    """It takes the block out of an answer and writes one of its own, empty where the answer has none."""
    own = _THOUGHTFUL.replace("BLOCK", "'<think>\\n' + thought + '\\n</think>\\n\\n'").replace("OPENED", "")
    texts = written(CASES / "thinking.jsonl", "algo=sft", "model=tiny_qwen3", template(tmp_path, own))
    assert [answer for _, answer in texts] == [
        "<think>\nTwo and two make four.\n</think>\n\nFour.<|im_end|>",
        "<think>\n\n</think>\n\nThree.<|im_end|>",
    ]


def test_a_tag_that_the_generation_prompt_opened_stands_once(tmp_path):
    """It drops the block of every answer, and its generation prompt ends in the opening tag."""
    own = _THOUGHTFUL.replace("BLOCK + ", "").replace("OPENED", "<think>\\n")
    texts = written(CASES / "thinking.jsonl", "algo=sft", "model=tiny_qwen3", template(tmp_path, own))
    assert [prompt.endswith("assistant\n<think>\n") for prompt, _ in texts] == [True, True]
    assert [answer for _, answer in texts] == [
        "Two and two make four.\n</think>\n\nFour.<|im_end|>",
        "\n</think>\n\nThree.<|im_end|>",
    ]


def test_a_template_that_drops_what_is_to_be_learnt_is_refused_by_row(tmp_path):
    own = _THOUGHTFUL.replace("BLOCK", "'<think>\\n\\n</think>\\n\\n'").replace("OPENED", "")
    told = found(
        CASES / "thinking.jsonl", "algo=sft", "model=tiny_qwen3", template(tmp_path, own), "data.on_bad_row=skip"
    )
    (lost,) = told.left_out
    assert (lost.row, lost.column) == ("0", "response")
    assert lost.reason.startswith("The chat template leaves out a part of the answer (from 'Two' on)")


def test_a_template_that_refuses_system_turns_names_the_row_and_can_be_skipped(tmp_path):
    own = "{%- if messages[0]['role'] == 'system' -%}{{- raise_exception('no system turns') -}}{%- endif -%}"
    own += f"{{%- for message in messages -%}}{_TURN}{{{{- message['content'] + '<|im_end|>\\n' -}}}}{{%- endfor -%}}"
    given = ["algo=sft", "model=tiny_qwen2", template(tmp_path, own + _START.replace("OPENED", ""))]
    with pytest.raises(ValueError, match=r"training would stop at 1 of the rows left out \(0\)"):
        found(CASES / "system.jsonl", *given)
    told = found(CASES / "system.jsonl", *given, "data.on_bad_row=skip")
    (refused,) = told.left_out
    assert (refused.row, refused.column) == ("0", "system")
    assert "refuses these turns (system, user): no system turns" in refused.reason


@pytest.mark.parametrize("broken", ["{{ messages[0]['content'", "{{ raise_exception('never') }}"])
def test_a_template_that_cannot_say_anything_is_refused_before_any_row(tmp_path, broken):
    with pytest.raises(
        ValueError, match=r"the chat template cannot say a question and its answer .*model.chat_template"
    ):
        found(CASES / "plain.jsonl", "algo=sft", "model=tiny_qwen2", template(tmp_path, broken))


def test_no_token_of_a_post_processor_stands_between_prompt_and_answer(tmp_path):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    from aa_lightning.models.token.encoder import TokenEncoder
    from aa_lightning.types import Prompt, text

    cfg = compose(["model=tiny_llama", "modality=t2t"])
    tokenizer = build_encoder(cfg).tokenizer
    begin, end = tokenizer.bos_token, tokenizer.eos_token
    usual = TokenEncoder(tokenizer, FAMILIES["llama"])
    prompt, answer = Prompt(id="0", messages=[{"role": "user", "content": [text("Say hello.")]}]), [text("Hello.")]
    expected = usual.encode(prompt, [answer])
    tokenizer.save_pretrained(tmp_path)
    appending = AutoTokenizer.from_pretrained(tmp_path)
    special = [(begin, tokenizer.bos_token_id), (end, tokenizer.eos_token_id)]
    appending._tokenizer.post_processor = TemplateProcessing(single=f"{begin} $A {end}", special_tokens=special)
    assert appending("Say")["input_ids"][-1] == tokenizer.eos_token_id
    got = TokenEncoder(appending, FAMILIES["llama"]).encode(prompt, [answer])
    ids = got.prompt["input_ids"][0].tolist()
    assert ids[:1] == [tokenizer.bos_token_id] and ids.count(tokenizer.bos_token_id) == 1
    assert ids[1:] == [i for i in expected.prompt["input_ids"][0].tolist() if i != tokenizer.bos_token_id]
    assert got.prompt["attention_mask"].shape == got.prompt["input_ids"].shape
    assert got.responses[0].tolist() == expected.responses[0].tolist()


@pytest.mark.parametrize("model", ["tiny_qwen2", "tiny_llama", "tiny_llava", "tiny_qwen2_5_vl"])
@pytest.mark.parametrize("place", ["prompt", "response"])
def test_control_tokens_in_texts_are_refused_by_row_in_every_family(tmp_path, model, place):
    token = build_encoder(compose([f"model={model}", "modality=ti2t"])).tokenizer.eos_token
    path = rows(
        tmp_path,
        {"prompt": "Say hello.", "response": "Hello.", place: f"What is {token}?"},
        {"prompt": "Q", "response": "A"},
    )
    told = found(path, "algo=sft", f"model={model}", "data.on_bad_row=skip")
    (refused,) = told.left_out
    assert (refused.row, refused.column) == ("0", place)
    assert f"holds '{token}', which is a control token" in refused.reason


def test_a_picture_token_in_an_answer_is_refused_before_training(tmp_path):
    path = rows(tmp_path, {"prompt": "Say hello.", "response": "An <image> is."})
    with pytest.raises(ValueError, match="training would stop at 1"):
        found(path, "algo=sft", "model=tiny_llava")
    with pytest.raises(ValueError, match="training would stop at 1"):
        found(CASES / "control_tokens.jsonl", "algo=sft", "model=tiny_qwen2")


def test_tools_and_their_calls_reach_the_chat_template():
    ((prompt, answer),) = written(CASES / "tool_calls.jsonl", "algo=sft", "model=tiny_qwen3")
    assert '{"type": "function", "function": {"name": "weather"}}' in prompt
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>' in prompt
    assert "<|im_start|>tool\nRain.<|im_end|>" in prompt
    assert answer == "It rains.<|im_end|>"


def test_a_call_may_be_what_is_learnt_and_arguments_may_be_text(tmp_path):
    call = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    turns = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    ((_, answer),) = written(rows(tmp_path, {"messages": turns}), "algo=sft", "model=tiny_qwen3")
    assert answer == '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call><|im_end|>'


def test_what_a_template_cannot_say_is_refused_by_row(tmp_path):
    own = f"{{%- for message in messages -%}}{_TURN}{{{{- message['content'] + '<|im_end|>\\n' -}}}}{{%- endfor -%}}"
    given = template(tmp_path, own + _START.replace("OPENED", ""))
    with pytest.raises(ValueError, match="training would stop"):
        found(CASES / "tool_calls.jsonl", "algo=sft", "model=tiny_qwen3", given)


# ---------------------------------------------------------------- media


def sound(path, samples, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.sin(np.arange(samples)) * 9000).astype("<i2").tobytes())


def test_a_list_of_pictures_in_a_column_of_clips_is_one_clip():
    (example,) = found(CASES / "frames.jsonl", "algo=sft", "model=tiny_qwen2_vl").train
    clips = [part["video"] for part in example.messages[0]["content"] if part["type"] == "video"]
    assert [len(clip.frames) for clip in clips] == [4]


def test_a_list_of_such_lists_is_several_clips_and_rows_of_pixels_are_a_picture(tmp_path):
    frames = ["r.png", "b.png"]
    path = rows(tmp_path, {"prompt": "What moves?", "video": [frames, [*frames, *frames]], "response": "It."})
    (example,) = found(path, "algo=sft", "model=tiny_qwen2_vl").train
    assert [len(p["video"].frames) for p in example.messages[0]["content"] if p["type"] == "video"] == [2, 4]
    path = rows(tmp_path, {"prompt": "What?", "image": [[[250, 0, 0]] * 8] * 6, "response": "It."})
    (example,) = found(path, "algo=sft").train
    assert example.messages[0]["content"][0]["image"].size == (8, 6)


def test_a_list_of_samples_has_no_rate_and_says_so(tmp_path):
    path = rows(tmp_path, {"prompt": "What?", "audio": [0.1, 0.2, 0.3], "response": "It."})
    with pytest.raises(ValueError, match="An array of samples has no rate: give {array: ..., sampling_rate: ...}"):
        found(path, "algo=sft", "model=tiny_qwen2_audio")


@pytest.mark.parametrize("case", ["part_url", "data_uri", "image_url"])
def test_pictures_are_read_where_the_field_writes_them(case):
    assert found(CASES / f"{case}.jsonl", "algo=sft").trained.showing == {"image": 1}


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("tiny_llava", lambda folder: {"type": "image", "path": "r.png"}),
        ("tiny_llava", lambda folder: {"type": "image", "image": f"file://{folder}/r.png"}),
        (
            "tiny_llava",
            lambda folder: {"type": "input_image", "image_url": f"data:image/png;base64,{encoded(folder / 'r.png')}"},
        ),
        ("tiny_llava", lambda folder: {"type": "image_url", "image_url": "r.png"}),
        ("tiny_llava", lambda folder: {"type": "image", "base64": encoded(folder / "r.png")}),
        ("tiny_llava", lambda folder: {"image": "r.png"}),
        (
            "tiny_llava",
            lambda folder: {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": encoded(folder / "r.png")},
            },
        ),
        ("tiny_qwen2_vl", lambda folder: {"type": "video_url", "video_url": {"url": "r.png"}}),
        ("tiny_qwen2_vl", lambda folder: {"type": "video", "video": ["r.png", "b.png"], "image": None}),
        (
            "tiny_qwen2_audio",
            lambda folder: {"type": "input_audio", "input_audio": {"data": encoded(folder / "s.wav"), "format": "wav"}},
        ),
        ("tiny_qwen2_audio", lambda folder: {"type": "audio_url", "audio_url": {"url": "s.wav"}}),
    ],
)
def test_so_are_parts_of_every_kind(tmp_path, model, part):
    sound(tmp_path / "s.wav", 8000)
    rows(tmp_path)
    content = [part(tmp_path), {"type": "text", "text": "What is it?"}]
    path = rows(tmp_path, {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "It."}]})
    told = found(path, "algo=sft", f"model={model}")
    assert sum(count for medium, count in told.trained.showing.items() if medium) == 1


def test_addresses_are_fetched_only_where_the_user_allows_it(tmp_path):
    path = rows(tmp_path, {"prompt": "What?", "image": "http://127.0.0.1:9/r.png", "response": "It."})
    with pytest.raises(ValueError, match="It is an address: set data.media.fetch=true to fetch"):
        found(path, "algo=sft")
    allowed = ["data.media.fetch=true", "data.on_bad_row=skip"]
    told = found(path, "algo=sft", *allowed)
    assert ["which is no public address" in row.reason for row in told.left_out] == [True]
    told = found(path, "algo=sft", *allowed, "data.media.fetching.private=true")
    assert ["could not be fetched" in row.reason for row in told.left_out] == [True]


def test_a_file_of_a_service_is_refused_by_row(tmp_path):
    content = [{"type": "input_image", "file_id": "file-1"}, {"type": "text", "text": "What?"}]
    path = rows(tmp_path, {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "It."}]})
    with pytest.raises(ValueError, match="names a file of a service"):
        found(path, "algo=sft")


def test_an_empty_cell_is_no_picture():
    assert found(CASES / "empty_cell.csv", "algo=sft").trained.showing == {"image": 1, "": 1}


@pytest.mark.parametrize(
    ("cell", "pictures"),
    [
        ("", 0),
        ([], 0),
        ([""], 0),
        ([None], 0),
        (None, 0),
        ("[]", 0),
        ('["r.png", "b.png"]', 2),
        ("['r.png']", 1),
        ("r.png", 1),
    ],
)
def test_so_are_empty_lists_and_a_list_may_be_written_in_a_cell(tmp_path, cell, pictures):
    path = rows(
        tmp_path,
        {"prompt": "What?", "images": "r.png", "response": "A"},
        {"prompt": "What?", "images": cell, "response": "It."},
    )
    example = found(path, "algo=sft").train[1]
    assert [part["type"] for part in example.messages[0]["content"]].count("image") == pictures


def test_turns_may_be_written_in_a_cell_of_a_table(tmp_path):
    turns = json.dumps([{"from": "human", "value": "Say hello."}, {"from": "gpt", "value": "Hello."}])
    path = tmp_path / "rows.csv"
    path.write_text('conversations\n"' + turns.replace('"', '""') + '"\n', encoding="utf-8")
    (example,) = found(path, "algo=sft", "model=tiny_qwen2").train
    assert example.response[0]["text"] == "Hello."


def test_a_picture_that_a_processor_refuses_names_row_column_and_size_and_can_be_skipped():
    given = [CASES / "aspect_ratio.jsonl", "algo=dpo", "model=tiny_qwen2_vl"]
    told = found(*given, "data.on_bad_row=skip")
    (refused,) = told.left_out
    assert (refused.row, refused.column) == ("1", "image")
    assert "cannot read an image of 900 × 3 pixels" in refused.reason
    with pytest.raises(ValueError, match=r"training would stop at 1 of the rows left out \(1\)"):
        found(*given)


def test_training_leaves_out_what_check_leaves_out(tmp_path):
    path = rows(tmp_path, *({"prompt": "What?", "image": f"{n}.png", "response": "It."} for n in ("r", "thin", "b")))
    Image.new("RGB", (900, 3)).save(tmp_path / "thin.png")
    typed = ["data=local", f"data.train.path={path}", "algo=sft", "model=tiny_qwen2_vl"]
    cfg = compose([*typed, "data.val_share=null", "data.on_bad_row=skip"])
    fitting = only_fitting(cfg, read_examples(data_options(cfg), "train", "demonstration"), build_encoder(cfg))
    assert [fitting[i].id for i in range(len(fitting))] == ["0", "2"]
    assert [(row.row, row.column) for row in fitting.dropped] == [("1", "image")]


def test_training_names_the_row_that_it_stops_at_and_how_to_leave_it_out():
    cfg = compose(["data=local", f"data.train.path={CASES / 'aspect_ratio.jsonl'}", "model=tiny_qwen2_vl"])
    data = replace(data_options(cfg), val_share=None)
    encoded = EncodedExamples(read_examples(data, "train", "preference"), build_encoder(cfg))
    assert encoded[0].example.id == "0"
    said = r"row 1, column 'image': Models of family qwen2_vl cannot read an image of 900 × 3 .*data.on_bad_row=skip"
    with pytest.raises(BadRow, match=said):
        encoded[1]


@pytest.mark.parametrize("model", ["tiny_qwen2_5_omni", "tiny_qwen2_audio", "tiny_qwen3_omni", "tiny_audioflamingo3"])
@pytest.mark.parametrize("samples", [2, 161, 400, 1599])
def test_no_sound_is_too_short_to_be_heard(tmp_path, model, samples):
    sound(tmp_path / "s.wav", samples)
    path = rows(tmp_path, {"prompt": "What?", "audio": "s.wav", "chosen": "Yes.", "rejected": "No."})
    cfg = configured(path, f"model={model}")
    encoder = build_encoder(cfg)
    example = read_examples(data_options(cfg), "train", "preference")[0]
    ids = encoder.encode(example, example.responses).prompt["input_ids"]
    assert sum((ids == place).sum().item() for place in encoder.placeholders) >= 1


@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("model", SEEING)
def test_thin_pictures_are_read_right_or_refused_by_row(tmp_path, model, height):
    """A picture of one colour looks the same however it is cut, so that a thin one read right has the colour's pixels."""
    Image.new("RGB", (40, height), (200, 30, 90)).save(tmp_path / "thin.png")
    Image.new("RGB", (40, 40), (200, 30, 90)).save(tmp_path / "square.png")
    path = rows(tmp_path, *({"prompt": "What?", "image": f"{n}.png", "response": "It."} for n in ("square", "thin")))
    cfg = configured(path, f"model={model}", "algo=sft")
    encoder = build_encoder(cfg)
    square, thin = read_examples(data_options(cfg), "train", "demonstration")
    expected = encoder.encode(square, []).prompt["pixel_values"]
    try:
        pixels = encoder.encode(thin, []).prompt["pixel_values"]
    except BadRow as bad:
        assert bad.column == "image" and f"an image of 40 × {height} pixels" in bad.reason
        return
    colour = _by_channel(expected)[:, :1]
    nearest = (_by_channel(pixels) - colour).abs().amax(0).min().item()
    assert nearest < 1e-3  # some family fills the rest of a square with black


def _by_channel(pixels):
    """(3, N) of pixels, or of patches (N, 3 · …)."""
    planes = pixels.unflatten(-1, (3, -1)).movedim(-2, 0) if pixels.ndim == 2 else pixels.movedim(-3, 0)
    return planes.flatten(1)


@pytest.mark.parametrize("model", ["tiny_qwen3_vl", "tiny_qwen2_vl", "tiny_qwen2_5_vl", "tiny_qwen2_5_omni"])
def test_a_clip_of_one_frame_is_read_as_if_the_frame_came_twice(tmp_path, model):
    path = rows(tmp_path, *({"prompt": "What?", "video": [["r.png"] * n], "response": "It."} for n in (1, 2)))
    cfg = configured(path, f"model={model}", "algo=sft")
    encoder = build_encoder(cfg)
    one, two = (encoder.encode(e, []).prompt for e in read_examples(data_options(cfg), "train", "demonstration"))
    assert one["pixel_values_videos"].tolist() == two["pixel_values_videos"].tolist()


# ---------------------------------------------------------------- formats of the field


QUESTION, RED = "Which colour?", [{"role": "assistant", "content": "Red."}]
ASKED = [{"role": "user", "content": QUESTION}]
SEEN = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
HUMAN = [{"from": "human", "value": f"<image>\n{QUESTION}"}]
BLUE = [{"role": "assistant", "content": "Blue."}]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": QUESTION, "image": "r.png", "chosen": "Red.", "rejected": "Blue."}, "preference"),
        ({"prompt": ASKED, "images": ["r.png"], "chosen": RED, "rejected": BLUE}, "preference"),  # TRL
        ({"prompt": SEEN, "images": ["r.png"], "chosen": RED, "rejected": BLUE}, "preference"),
        ({"images": ["r.png"], "chosen": SEEN + RED, "rejected": SEEN + BLUE}, "preference"),  # its implicit prompt
        ({"prompt": QUESTION, "image": "r.png", "chosen": ASKED + RED, "rejected": ASKED + BLUE}, "preference"),
        ({"prompt": ASKED, "images": ["r.png"], "completion": RED, "label": True}, "rating"),  # its unpaired preference
        ({"prompt": ASKED, "images": ["r.png"], "completion": RED}, "demonstration"),
        ({"messages": SEEN + RED, "images": ["r.png"]}, "demonstration"),
        ({"messages": SEEN + RED, "images": ["r.png"], "label": False}, "rating"),  # ms-swift
        ({"messages": SEEN + RED, "images": ["r.png"], "rejected_response": "Blue."}, "preference"),
        (
            {"conversations": [*HUMAN, {"from": "gpt", "value": "Red."}], "images": ["r.png"]},
            "demonstration",
        ),  # ShareGPT
        (
            {
                "conversations": HUMAN,
                "images": ["r.png"],
                "chosen": {"from": "gpt", "value": "Red."},
                "rejected": {"from": "gpt", "value": "Blue."},
            },
            "preference",
        ),
        ({"conversations": [*HUMAN, {"from": "gpt", "value": "Red."}], "images": ["r.png"], "kto_tag": True}, "rating"),
        ({"instruction": QUESTION, "input": "", "output": "Red.", "image": "r.png"}, "demonstration"),  # Alpaca
        ({"question": QUESTION, "answer": "Red.", "image": "r.png"}, "demonstration"),
        (
            {
                "input": {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image_url", "image_url": {"url": "r.png"}},
                                {"type": "text", "text": QUESTION},
                            ],
                        }
                    ],
                    "tools": [],
                },
                "preferred_output": RED,
                "non_preferred_output": BLUE,
            },
            "preference",
        ),  # OpenAI's preference fine-tuning
    ],
)
def test_rows_of_every_format_need_nothing_but_their_path(tmp_path, row, kind):
    path = rows(tmp_path, row, row)
    algo = {"preference": "dpo", "rating": "kto", "demonstration": "sft"}[kind]
    told = found(path, f"algo={algo}")
    assert len(told.train) == 2 and told.trained.showing == {"image": 2}
    example = told.train[0]
    assert "".join(p["text"] for p in example.messages[-1]["content"] if p["type"] == "text").strip() == QUESTION
    assert "".join(p["text"] for p in example.responses[0]) == "Red."


def test_columns_that_nobody_reads_are_named(tmp_path, capsys):
    found(
        rows(tmp_path, {"prompt": QUESTION, "response": "Red.", "photo": "r.png", "id": 7}),
        "algo=sft",
        "model=tiny_qwen2",
    )
    assert "columns: prompt, response; not read: photo, id" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["text", "list"])
def test_an_answer_with_a_place_for_a_medium_that_is_not_given_is_refused(tmp_path, fault):
    answer = {"text": 5.5, "list": [{"role": "assistant", "content": [{"type": "image"}]}]}[fault]
    path = rows(tmp_path, {"prompt": QUESTION, "chosen": answer, "rejected": "Blue."})
    if fault == "text":
        assert found(path, "model=tiny_qwen2").train[0].chosen[0]["text"] == "5.5"
        return
    with pytest.raises(ValueError, match="Row 0, column 'chosen': The answer has a place for image"):
        found(path, "model=tiny_qwen2")


# ---------------------------------------------------------------- what would be lost in silence


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        ({"role": "user", "content": "What?", "images": ["r.png"]}, "Turn 0 has 'images' beside its content"),
        ({"role": "user", "content": "What?", "image": "r.png"}, "Turn 0 has 'image' beside its content"),
        (
            {"role": "user", "content": [{"type": "text", "text": "What?", "image": "r.png"}]},
            "A part holds text and image",
        ),
        (
            {"role": "user", "content": [{"type": "image", "image": "r.png", "audio": "s.wav"}]},
            "A part holds image and audio",
        ),
    ],
)
def test_what_stands_where_nobody_looks_is_refused_by_row(tmp_path, turn, says):
    path = rows(tmp_path, {"messages": [turn, {"role": "assistant", "content": "It."}]})
    with pytest.raises(ValueError, match=f"Row 0, column 'messages': {says}"):
        found(path, "algo=sft")


def test_an_answer_that_is_marked_as_not_learnt_or_thoughts_that_no_template_writes_are_refused(tmp_path):
    asked = {"role": "user", "content": "What?"}
    for mark in ({"loss": False}, {"weight": 0}):
        path = rows(tmp_path, {"messages": [asked, {"role": "assistant", "content": "It.", **mark}]})
        with pytest.raises(ValueError, match="marked as one that is not learnt"):
            found(path, "algo=sft", "model=tiny_qwen2")
    thinking = {"role": "assistant", "content": "It.", "reasoning_content": "Because."}
    path = rows(tmp_path, {"messages": [asked, thinking]})
    told = found(path, "algo=sft", "model=tiny_qwen2", "data.on_bad_row=skip")
    assert ["from 'Because' on" in row.reason for row in told.left_out] == [True]


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
def test_a_list_of_texts_is_not_glued_together(tmp_path, column):
    path = rows(tmp_path, {"prompt": "What?", "chosen": "It.", "rejected": "No.", column: ["one", "two"]})
    with pytest.raises(ValueError, match=f"Row 0, column '{column}': A list of 2 texts was found where one is read"):
        found(path, "model=tiny_qwen2")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("promt", "prompt"), ("chosn", "chosen"), ("imag", "image"), ("Image", "image"), ("labels", "label")],
)
def test_a_column_that_is_nearly_one_that_is_read_is_refused(tmp_path, typed, meant):
    row = {"prompt": "What?", "chosen": "It is.", "rejected": "It is not.", "image": "r.png"}
    path = rows(tmp_path, {typed if key == meant else key: value for key, value in {**row, "label": True}.items()})
    with pytest.raises(ValueError, match=f"the column {typed} is not read: did you mean {meant}"):
        found(path)


def test_two_files_of_one_name_are_not_one_part(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rows(tmp_path / name, {"prompt": name, "chosen": "It.", "rejected": "No."})
    parts = ",".join(str(tmp_path / name / "rows.jsonl") for name in ("a", "b"))
    with pytest.raises(ConfigError, match="has two parts that are called rows"):
        compose(["data=mixture", f"data.parts=[{parts}]"], "check")


def test_a_folder_with_metadata_may_be_named_from_where_one_stands(tmp_path, monkeypatch):
    rows(tmp_path, {})
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "r.png", "prompt": "What?", "response": "It."}\n')
    monkeypatch.chdir(tmp_path.parent)
    assert found(tmp_path.name, "algo=sft").trained.showing == {"image": 1}


def test_a_table_may_be_cut_at_semicolons_and_a_mistyped_file_is_no_id_of_the_hub(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt;response\nWhat, then?;It.\n")
    assert (
        found(tmp_path / "rows.csv", "algo=sft", "model=tiny_qwen2").train[0].messages[0]["content"][0]["text"]
        == "What, then?"
    )
    with pytest.raises(FileNotFoundError, match="there is no pairs.josnl"):
        found("pairs.josnl", "algo=sft", "model=tiny_qwen2")


@pytest.mark.parametrize("call", ["5", "not json", '["a"]'])
def test_a_call_that_is_none_is_refused_by_row(tmp_path, call):
    turns = [{"from": "human", "value": "Weather?"}, {"from": "function_call", "value": call}]
    path = rows(
        tmp_path,
        {"conversations": [*turns, {"from": "observation", "value": "Rain."}, {"from": "gpt", "value": "Rain."}]},
    )
    with pytest.raises(ValueError, match="A turn that calls a tool is JSON with a name and arguments"):
        found(path, "algo=sft", "model=tiny_qwen3")


def test_odd_tools_end_in_no_traceback(tmp_path):
    row = {"prompt": "Weather?", "response": "Rain.", "tools": [{"function": "weather"}, {"name": 5}]}
    assert '{"function": "weather"}' in written(rows(tmp_path, row), "algo=sft", "model=tiny_qwen3")[0][0]
