"""Tiny models that hear and watch: built offline from the real classes, the same every time, loaded by Auto classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf

from aa_lightning.models.tiny.families import build

CLASSES = {
    "qwen2_audio": hf.Qwen2AudioForConditionalGeneration,
    "audioflamingo3": hf.AudioFlamingo3ForConditionalGeneration,
    "llava_next_video": hf.LlavaNextVideoForConditionalGeneration,
    "video_llava": hf.VideoLlavaForConditionalGeneration,
    "qwen2_5_omni": hf.Qwen2_5OmniThinkerForConditionalGeneration,
    "qwen3_omni": hf.Qwen3OmniMoeThinkerForConditionalGeneration,
}
HEARS = ["qwen2_audio", "audioflamingo3", "qwen2_5_omni", "qwen3_omni"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    for family in CLASSES:
        build(family, root / family)
    return {family: root / family for family in CLASSES}


def inputs(folder: Path, seed: int):
    """A tone of a second, or a clip of four frames of noise, and a question."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    medium = "audio" if folder.name in HEARS else "video"
    content = [{"type": medium}, {"type": "text", "text": "What is this?"}]
    asked = [{"role": "user", "content": content}]
    prompt = processor.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    if medium == "audio":
        tone = np.sin(2 * np.pi * (300 + 900 * seed) * np.arange(16_000) / 16_000).astype(np.float32)
        return processor(text=[prompt], audio=[tone], return_tensors="pt")
    frames = np.random.default_rng(seed).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    return processor(text=[prompt], videos=[[frames]], return_tensors="pt")


@torch.no_grad()
def last_logits(model, batch) -> torch.Tensor:
    return model(**batch).logits[0, -1]


@pytest.mark.parametrize("family", CLASSES)
def test_another_sound_or_clip_moves_the_logits_of_the_answer(folders, family):
    model = CLASSES[family].from_pretrained(folders[family]).eval()
    one, same, other = (last_logits(model, inputs(folders[family], seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 0.02
    assert one.std() > 0.3


@pytest.mark.parametrize("family", [family for family in CLASSES if family != "audioflamingo3"])
def test_the_auto_class_of_models_with_media_gives_the_real_class_and_the_same_bits(folders, family):
    batch = inputs(folders[family], 0)
    model = hf.AutoModelForMultimodalLM.from_pretrained(folders[family]).eval()
    assert type(model) is CLASSES[family]
    assert torch.equal(last_logits(model, batch), last_logits(CLASSES[family].from_pretrained(folders[family]), batch))


def test_audio_flamingo_is_in_no_auto_class_and_named_by_its_configuration(folders):
    config = hf.AutoConfig.from_pretrained(folders["audioflamingo3"])
    assert config.architectures == ["AudioFlamingo3ForConditionalGeneration"]
    with pytest.raises(ValueError, match="AudioFlamingo3Config"):
        hf.AutoModelForMultimodalLM.from_pretrained(folders["audioflamingo3"])


def test_a_process_that_is_not_the_first_builds_a_whole_folder(folders, tmp_path, monkeypatch):
    """transformers would write the processor alone there, and others would find a folder without a model."""
    monkeypatch.setattr("transformers.distributed.mixin._is_torch_distributed_initialized", lambda: True)
    monkeypatch.setattr("transformers.distributed.mixin._get_torch_distributed_rank", lambda: 1)
    build("qwen2_audio", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in folders["qwen2_audio"].iterdir())


@pytest.mark.parametrize(("family", "expected"), [("qwen2_audio", 25), ("audioflamingo3", 25), ("qwen2_5_omni", 25)])
def test_a_second_of_sound_is_25_tokens(folders, family, expected):
    """100 frames of features, halved by a convolution and halved by a pooling."""
    processor = hf.AutoProcessor.from_pretrained(folders[family])
    token = processor.tokenizer.convert_tokens_to_ids(processor.audio_token)
    assert (inputs(folders[family], 0)["input_ids"] == token).sum() == expected
