"""Keys of what a reference said: another one for whatever changes its log-probabilities, the same however a row is padded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2Config, Qwen2ForCausalLM

from aa_lightning.assembly.options import options_of
from aa_lightning.configuration.schema import Model
from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip
from aa_lightning.models.token.encoder import Limits, TokenEncoder
from aa_lightning.models.token.kept import store_of
from aa_lightning.types import Prompt, text
from tests.contract.support import borrow

PICTURE = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
SAMPLES = np.random.default_rng(1).normal(size=16_000).astype(np.float32) / 10
FRAMES = np.random.default_rng(2).integers(0, 256, (4, 28, 28, 3), np.uint8)
SHOWN = {
    "image": {"type": "image", "image": Image.fromarray(PICTURE)},
    "audio": {"type": "audio", "audio": Sound(SAMPLES, 16_000)},
    "video": {"type": "video", "video": Clip(FRAMES, np.arange(4.0))},
}


def asked(medium: str, words: str = "What is this?", **others) -> Prompt:
    shown = [others.get(medium, SHOWN[medium])] if medium in SHOWN else []
    said = [{"role": "user", "content": [*shown, text(words)]}]
    return Prompt(id="row", messages=[*others.get("before", []), *said])


def keys(encoder: TokenEncoder, *rows: tuple[Prompt, str]) -> list[bytes]:
    batch = encoder.collate([encoder.encode(prompt, [[text(answer)]]) for prompt, answer in rows])
    return [row.numpy().tobytes() for row in batch.response["key"][:, 0]]


def encoder_of(model: str) -> TokenEncoder:
    return borrow(model)[1].encoder.with_keys()


@pytest.mark.parametrize(
    ("model", "medium"),
    [("tiny_qwen2", "text"), ("tiny_llava", "image"), ("tiny_qwen2_audio", "audio"), ("tiny_qwen2_vl", "video")],
)
def test_a_row_has_one_key_beside_whatever_row_it_is_padded(model, medium):
    encoder, row, long = encoder_of(model), (asked(medium), "red"), (asked("text", "What? " * 30), "red " * 9)
    (alone,) = keys(encoder, row)
    assert keys(encoder, long, row)[1] == keys(encoder, row, row)[0] == alone
    assert keys(encoder, (replace(row[0], id="other"), "red")) == [alone]  # whatever it is called


def test_a_batch_has_keys_only_where_they_are_asked_for():
    encoder = borrow("tiny_qwen2")[1].encoder
    assert "key" not in encoder.collate([encoder.encode(asked("text"), [[text("red")]])]).response


CHANGED = {
    "a word of the question": ("tiny_llava", asked("image", "What is that?"), "red"),
    "a space": ("tiny_llava", asked("image", "What is  this?"), "red"),
    "a word of the answer": ("tiny_llava", asked("image"), "blue"),
    "a longer answer": ("tiny_llava", asked("image"), "red red"),
    "no picture": ("tiny_llava", asked("text"), "red"),
    "an earlier turn": (
        "tiny_llava",
        asked(
            "image", before=[{"role": "user", "content": [text("a")]}, {"role": "assistant", "content": [text("b")]}]
        ),
        "red",
    ),
    "a system's turn": (
        "tiny_qwen2",
        asked("text", before=[{"role": "system", "content": [text("Be brief.")]}]),
        "red",
    ),
}


@pytest.mark.parametrize("change", CHANGED)
def test_another_row_has_another_key(change):
    model, prompt, answer = CHANGED[change]
    encoder, medium = encoder_of(model), "text" if model == "tiny_qwen2" else "image"
    assert keys(encoder, (prompt, answer)) != keys(encoder, (asked(medium), "red"))


@pytest.mark.parametrize(
    ("model", "medium", "content"),
    [
        ("tiny_llava", "image", Image.fromarray(np.where(np.arange(28)[:, None, None] == 3, PICTURE ^ 1, PICTURE))),
        (
            "tiny_qwen2_audio",
            "audio",
            Sound(np.where(np.arange(16_000) == 8_000, 0.5, SAMPLES).astype(np.float32), 16_000),
        ),
        (
            "tiny_qwen2_vl",
            "video",
            Clip(np.where(np.arange(4)[:, None, None, None] == 2, FRAMES ^ 1, FRAMES), np.arange(4.0)),
        ),
    ],
)
def test_other_bytes_of_a_medium_give_another_key(model, medium, content):
    encoder = encoder_of(model)
    spoiled = asked(medium, **{medium: {"type": medium, medium: content}})
    assert keys(encoder, (spoiled, "red")) != keys(encoder, (asked(medium), "red"))


def test_a_limit_that_cuts_the_answer_gives_another_key():
    encoder, short = encoder_of("tiny_qwen2"), encoder_of("tiny_qwen2")
    short.limits = Limits(response=3, overlong="truncate")
    row = (asked("text"), "red red red red")
    assert keys(encoder, row) != keys(short, row)
    assert keys(encoder, (asked("text"), "red")) == keys(short, (asked("text"), "red"))  # which it does not cut


def test_another_chat_template_gives_another_key(tmp_path):
    (tmp_path / "other.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    other = borrow("tiny_qwen2", f"model.chat_template={tmp_path / 'other.jinja'}")[1].encoder.with_keys()
    row = (asked("text"), "red")
    assert keys(other, row) != keys(encoder_of("tiny_qwen2"), row)


def test_a_picture_of_an_answer_is_part_of_its_key():
    encoder = encoder_of("tiny_emu3")
    first, other = (Image.fromarray(np.full((32, 32, 3), level, np.uint8)) for level in (0, 200))

    def key(picture):
        encoded = encoder.encode(asked("text"), [[{"type": "image", "image": picture}]])
        return encoder.collate([encoded]).response["key"].tolist()

    assert key(first) == key(first) != key(other)


def one_weight(model):
    with torch.no_grad():
        next(model.parameters()).view(-1)[0].add_(1e-3)


def one_buffer(model):
    model.register_buffer("more", torch.zeros(1))


def bfloat16(model):
    model.to(torch.bfloat16)


def a_setting(model):
    model.config.rms_norm_eps = 1e-5


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=16, num_hidden_layers=1, **sizes))


def options(**changed) -> Model:
    return replace(options_of(borrow("tiny_qwen2")[2], "model"), **changed)


@pytest.mark.parametrize("change", [one_weight, one_buffer, bfloat16, a_setting])
def test_another_model_has_another_store(model, change):
    before = store_of(model, [], options()).folder
    assert store_of(model, [], options()).folder == before
    model.config._name_or_path = "elsewhere"
    assert store_of(model, [], options()).folder == before  # the same weights from another folder
    change(model)
    assert store_of(model, [], options()).folder != before


def test_other_arithmetic_has_another_store(model):
    changes = [{}, {"attention": "eager"}, {"prefix_sharing": "never"}, {"dtype": "bfloat16"}]
    folders = [store_of(model, [], options(**changed)).folder for changed in changes]
    assert len({*folders}) == 3 and folders[0] == folders[3]  # a type of weights shows in them
    assert store_of(model, [torch.nn.Linear(2, 2)], options()).folder not in folders
