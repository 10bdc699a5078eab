"""Tiny token models: built offline from the real classes, saved, found again, the same every time."""

import functools
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from aa_lightning.data.shapes.questions import QUESTIONS
from aa_lightning.models.tiny import cache
from aa_lightning.models.tiny.families import build
from aa_lightning.models.tiny.tokenizers import plain_tokenizer, qwen_tokenizer
from aa_lightning.models.tiny.words import VOCABULARY

TEXT = ["llama", "qwen2", "qwen3", "qwen3_moe", "mistral", "phi3", "gemma", "gemma2", "gemma3_text"]
IMAGE_TEXT = {
    **dict.fromkeys(["llava", "llava_next", "llava_onevision"], "<image>\n"),
    **dict.fromkeys(["qwen2_vl", "qwen2_5_vl", "qwen3_vl"], "<|vision_start|><|image_pad|><|vision_end|>"),
    **dict.fromkeys(["idefics3", "smolvlm"], "<image>"),
    "mllama": "<|image|>",
    "gemma3": "<start_of_image>",
    "internvl": "<IMG_CONTEXT>\n",
    "mistral3": "[IMG]",
}
VISION = list(IMAGE_TEXT)
FAMILIES = TEXT + VISION
BEGINS = ("gemma", "gemma2", "gemma3_text", "gemma3", "mllama")  # their templates write the token that opens a text


@functools.cache
def load(family: str):
    """Model and processor of a build; no test changes them."""
    return load_from(cache.tiny_folder(family), family)


def load_from(folder: Path, family: str):
    auto = hf.AutoModelForImageTextToText if family in VISION else hf.AutoModelForCausalLM
    return auto.from_pretrained(folder), hf.AutoProcessor.from_pretrained(folder)


def user(*parts: str) -> dict:
    shown = {"type": "image"}
    return {"role": "user", "content": [shown if p == "image" else {"type": "text", "text": p} for p in parts]}


def inputs(processor, family: str, seed: int = 0) -> dict:
    asked = user("image", "What colour is the circle?") if family in VISION else user("What colour is the circle?")
    text = processor.apply_chat_template([asked], tokenize=False, add_generation_prompt=True)
    if family in TEXT:
        return processor(text, return_tensors="pt")
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return processor(text=[text], images=[[Image.fromarray(noise)]], return_tensors="pt")


@torch.no_grad()
def logits(model, batch) -> torch.Tensor:
    return model(**batch).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_build_loads_through_the_auto_classes_with_logits_equal_to_the_bit(family, tmp_path):
    model, processor = load(family)
    batch = inputs(processor, family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, its_processor = load_from(tmp_path, family)
    assert torch.equal(inputs(its_processor, family)["input_ids"], batch["input_ids"])
    assert torch.equal(logits(again, batch), logits(model, batch))


@pytest.mark.parametrize("family", VISION)
def test_another_picture_moves_the_logits_of_the_answer(family):
    model, processor = load(family)
    one, same, other = (logits(model, inputs(processor, family, seed))[0, -1] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 0.02


@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_logits_differ_enough_for_comparisons_to_see_something(family):
    model, processor = load(family)
    assert logits(model, inputs(processor, family))[0, -1].std() > 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_ends_at_the_end_of_a_turn(family):
    _, processor = load(family)
    tokenizer = processor.tokenizer if family in VISION else processor
    config = hf.GenerationConfig.from_pretrained(cache.tiny_folder(family))
    assert tokenizer.convert_ids_to_tokens(config.eos_token_id) == "<|im_end|>" == tokenizer.eos_token
    assert config.pad_token_id == tokenizer.pad_token_id != config.eos_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_renders_system_turns_pictures_and_the_generation_prompt(family):
    _, processor = load(family)
    image = IMAGE_TEXT.get(family, "")
    turns = [
        {"role": "system", "content": "Be brief."},
        user("image", "What is  this?") if image else user("What is  this?"),
        {"role": "assistant", "content": [{"type": "text", "text": " a circle\n"}]},
        user("Sure?"),
    ]
    assert processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == (
        f"{'<s>' if family in BEGINS else ''}"
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{image}What is  this?<|im_end|>\n"
        "<|im_start|>assistant\n a circle\n<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("family", TEXT)
def test_the_generation_markers_cover_the_answer_and_its_end_and_nothing_else(family):
    _, tokenizer = load(family)
    turns = [user("Is it red?"), {"role": "assistant", "content": [{"type": "text", "text": "Yes, it is red."}]}]
    encoded = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    said = [token for token, own in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(said) == "Yes, it is red.<|im_end|>"


@pytest.mark.parametrize("make", [plain_tokenizer, qwen_tokenizer])
def test_words_of_shapes_are_one_token_each_and_any_text_round_trips(make):
    tokenizer = make()
    for word in VOCABULARY:
        assert [len(tokenizer(form)["input_ids"]) for form in (word, f" {word}", word.capitalize())] == [1, 1, 1], word
    for text in ("Grüße, 世界 🙂", "tab\tand\r\nlines", "x = 3.14159"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_no_word_of_a_shapes_question_or_answer_is_split():
    from aa_lightning.data.shapes import Shapes

    tokenizer = plain_tokenizer()
    rows = Shapes(modality="t2t", size=30 * len(QUESTIONS))
    for row in rows:
        for column in ("prompt", "chosen", "rejected"):
            words = row[column].replace(",", " ,").replace(".", " .").replace("?", " ?").split()
            assert len(tokenizer(row[column])["input_ids"]) == len(words), row[column]


def test_an_unknown_family_or_size_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(ValueError, match=r"tiny:lava .*tiny:llava"):
        build("lava", tmp_path)
    with pytest.raises(ValueError, match=r"no size named patchsize.*patch_size"):
        build("llava", tmp_path, patchsize=8)


def _ask(root: str, barrier, answers) -> None:
    import os

    os.environ["AA_LIGHTNING_CACHE"] = root
    barrier.wait()
    answers.put(str(cache.tiny_folder("llama", {"width": 16})))


def test_processes_that_build_at_once_share_one_whole_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_ask, args=(str(tmp_path), barrier, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = {answers.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(found) == 1
    (folder,) = (tmp_path / "tiny").glob("[!.]*")
    assert [path.name for path in (tmp_path / "tiny").glob(".*")] == [f".{folder.name}.json"]  # nothing half-built
    assert found == {str(folder)}
    assert hf.AutoModelForCausalLM.from_pretrained(folder).config.hidden_size == 16


def test_the_cache_builds_once_and_tells_sizes_and_seeds_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    first = cache.tiny_folder("llama", {"width": 16})
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert cache.tiny_folder("llama", {"width": 16}) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    others = {cache.tiny_folder("llama", {"width": 24}), cache.tiny_folder("llama", {"width": 16}, seed=1)}
    assert len(others - {first}) == 2


def test_a_build_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("AA_LIGHTNING_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="no size named depth"):
        cache.tiny_folder("llama", {"depth": 3})
    assert list((tmp_path / "tiny").iterdir()) == []
