"""Sounds and clips on their way into processors: rates, times, frames, what is refused, and what stands in for them."""

import functools
import json

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file

from aa_lightning.assembly.options import options_of
from aa_lightning.configuration.compose import compose
from aa_lightning.media.audio import Sound
from aa_lightning.media.video import Clip
from aa_lightning.models import load
from aa_lightning.models.families.table import FAMILIES
from aa_lightning.models.token import processor_inputs
from aa_lightning.models.token.encoder import Limits, TooLong
from aa_lightning.types import Prompt, Sampling, text

HEARING = ["tiny_qwen2_audio", "tiny_audioflamingo3", "tiny_qwen2_5_omni", "tiny_qwen3_omni"]
WATCHING = ["tiny_qwen2_5_vl", "tiny_qwen2_5_omni", "tiny_qwen3_omni"]  # in seconds
EQUAL_FRAMES = ["tiny_llava_next_video", "tiny_video_llava"]
OMNI = ["tiny_qwen2_5_omni", "tiny_qwen3_omni"]
ANSWERS = [[text("Yes.")], [text("The circle is red.")]]
THINKERS = {
    "tiny_qwen2_5_omni": hf.Qwen2_5OmniThinkerForConditionalGeneration,
    "tiny_qwen3_omni": hf.Qwen3OmniMoeThinkerForConditionalGeneration,
}


def policy_of(model: str, *overrides: str):
    """A policy as a run of one process has it."""
    policy = _made(model, *overrides)
    policy.encoder.companions = None
    policy.zero_grad(set_to_none=True)
    return policy


@functools.cache
def _made(model: str, *overrides: str):
    options = options_of(compose(["modality=any2t", f"model={model}", "algo=sft", *overrides]), "model")
    return load.load_policy(options, Limits(), reference=False).eval()


def tone(seconds: float = 0.4, pitch: float = 300.0, rate: int = 16_000) -> dict:
    moments = np.arange(round(seconds * rate)) / rate
    return {"type": "audio", "audio": Sound(np.sin(2 * np.pi * pitch * moments).astype(np.float32) / 2, rate)}


def clip(frames: int = 4, fps: float = 2.0, seed: int = 0) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 48, 48, 3), dtype=np.uint8)
    return {"type": "video", "video": Clip(pixels, np.arange(frames) / fps)}


def picture(seed: int = 0) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return {"type": "image", "image": Image.fromarray(pixels)}


def asked(*parts: dict) -> Prompt:
    return Prompt(id="7", messages=[{"role": "user", "content": [*parts, text("What is this?")]}])


def encoded(policy, *parts: dict):
    return policy.encoder.encode(asked(*parts), ANSWERS)


@torch.no_grad()
def log_likelihood(policy, *parts: dict) -> torch.Tensor:
    return policy.log_likelihood(policy.encoder.collate([encoded(policy, *parts)])).total


@pytest.mark.parametrize("model", WATCHING)
def test_the_same_frames_at_another_rate_are_another_clip(model):
    policy = policy_of(model)
    slow, again, fast = (log_likelihood(policy, clip(fps=fps)) for fps in (1.0, 1.0, 8.0))
    assert torch.equal(slow, again)
    assert (slow - fast).abs().max() > 1e-3


@pytest.mark.parametrize("model", WATCHING)
def test_a_temporal_patch_of_two_frames_lasts_twice_the_time_between_frames(model):
    """Frames at 1, 4 and 0.5 a second: 2, 0.5 and 4 seconds. Two clips of one prompt keep their own rates."""
    policy = policy_of(model)
    key = policy.encoder.family.grid_seconds
    assert encoded(policy, clip(fps=1.0)).prompt[key].tolist() == [2.0]
    assert encoded(policy, clip(fps=4.0), clip(6, fps=0.5)).prompt[key].tolist() == [0.5, 4.0]


def test_processors_are_told_when_each_frame_was_taken():
    """Uneven times, in milliseconds; four frames in two seconds."""
    times = np.array([0.0, 0.25, 0.5, 1.5])
    shown = Clip(np.zeros((4, 8, 8, 3), np.uint8), times)
    policy = policy_of("tiny_qwen2_5_vl")
    given = processor_inputs.arguments({"video": [shown]}, policy.encoder.family, policy.encoder.processor)
    (metadata,) = given["video_metadata"][0]
    assert metadata.timestamps == times.tolist()
    assert metadata.sampled_fps == pytest.approx(shown.fps) == 2.0
    assert given["do_sample_frames"] is False


@pytest.mark.parametrize("model", EQUAL_FRAMES)
def test_clips_of_a_batch_get_as_many_frames_as_each_other(model):
    policy = policy_of(model)
    batch = policy.encoder.collate([encoded(policy, clip(4)), encoded(policy, clip(9))])
    assert batch.prompt["pixel_values_videos"].shape[:2] == (2, 4)
    assert batch.blocks["pixel_values_videos"] == [1, 1]


@pytest.mark.parametrize(("model", "expected"), [("tiny_video_llava", 6), ("tiny_qwen2_5_vl", 6)])
def test_the_number_of_frames_can_be_chosen(model, expected):
    """Of ten frames, six; a patch of Qwen covers two of them."""
    policy = policy_of(model, "model.frames=6")
    prompt = encoded(policy, clip(10)).prompt
    frames = (
        2 * prompt["video_grid_thw"][0, 0] if "video_grid_thw" in prompt else prompt["pixel_values_videos"].shape[1]
    )
    assert frames == expected


@pytest.mark.parametrize("model", HEARING)
def test_a_sound_is_heard_at_the_rate_of_the_feature_extractor(model):
    """The same tone sampled at 48 kHz has the features of the one at 16 kHz; taken for 16 kHz it would last three times
    as long and be lower.
    """
    policy = policy_of(model)
    native, finer = (encoded(policy, tone(rate=rate)).prompt for rate in (16_000, 48_000))
    assert native["input_ids"].shape == finer["input_ids"].shape
    inner = slice(4, 34)  # frames that do not touch the ends of the sound, where resampling rings
    difference = (native["input_features"] - finer["input_features"])[..., :8, inner].abs()
    assert difference.max() < 0.1
    other = encoded(policy, tone(pitch=1500.0)).prompt["input_features"]
    assert (native["input_features"] - other)[..., :8, inner].abs().max() > 0.3


@pytest.mark.parametrize("model", ["tiny_qwen2_audio", "tiny_qwen2_5_omni"])
def test_a_sound_beyond_the_window_is_refused_and_not_cut(model):
    with pytest.raises(
        TooLong,
        match=r"row 7, column 'audio': The audio lasts 2\.5 s, and models of family \w+ read 2 s: .*overlong=skip",
    ):
        encoded(policy_of(model), tone(2.5))


def test_audio_flamingo_reads_long_sounds_in_several_windows():
    """2.5 s are two windows of 2 s and 250 frames of features, of which 62 tokens are left."""
    policy = policy_of("tiny_audioflamingo3")
    prompt = encoded(policy, tone(2.5)).prompt
    assert prompt["input_features"].shape[0] == 2
    assert (prompt["input_ids"] == policy.encoder.placeholders[0]).sum() == 62


def test_audio_flamingo_reads_one_sound_in_a_prompt():
    with pytest.raises(ValueError, match="row 7 holds 2 parts of audio, and models of family audioflamingo3 read 1"):
        encoded(policy_of("tiny_audioflamingo3"), tone(), tone())


def test_sounds_of_other_lengths_in_the_batch_change_nothing():
    """0.25 s are 25 frames; the tower of Qwen3-Omni halves three times, and would see how far they are padded."""
    policy = policy_of("tiny_qwen3_omni")
    short, long = encoded(policy, tone(0.25)), encoded(policy, tone(0.7))
    with torch.no_grad():
        alone = policy.log_likelihood(policy.encoder.collate([short])).total
        beside = policy.log_likelihood(policy.encoder.collate([short, long])).total
    assert torch.allclose(alone[0], beside[0], atol=1e-4)


@pytest.mark.parametrize("model", OMNI)
def test_rollouts_of_prompts_with_unequal_media_are_reproduced(model):
    policy = policy_of(model)
    prompts = [asked(picture(), tone(), clip()), asked(tone(0.8), tone(0.3, 900.0)), asked(clip(6), picture(1))]
    batch = policy.encoder.collate([policy.encoder.encode(p, []) for p in prompts])
    rollout = policy.sample(batch, 3, Sampling(max_new_tokens=5))
    assert rollout.logprobs.shape[:2] == (3, 3)
    assert torch.allclose(policy.action_logprobs(rollout) * rollout.mask, rollout.logprobs, atol=1e-4)


# ---------------------------------------------------------------- what stands in for media


@pytest.mark.parametrize("model", OMNI)
@pytest.mark.parametrize("shown", [[], [picture()], [tone()], [clip()], [picture(), tone(), clip()]])
def test_a_batch_that_lacks_a_medium_passes_through_every_tower(model, shown):
    """All trained weights get a gradient, and the numbers are those of the batch without its companion."""
    policy = policy_of(model)
    expected = log_likelihood(policy, *shown)
    policy.encoder.companions = frozenset({"image", "audio", "video"})
    batch = policy.encoder.collate([encoded(policy, *shown)])
    assert {"pixel_values", "input_features", "pixel_values_videos"} <= batch.prompt.keys()
    assert len(batch.prompt["input_ids"]) == (1 if len(shown) == 3 else 2)
    found = policy.log_likelihood(batch).total
    assert torch.allclose(found, expected, atol=1e-4)
    found.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []


def test_media_that_the_data_do_not_hold_get_no_companion_unless_their_tower_would_be_idle():
    policy = policy_of("tiny_qwen2_5_omni")
    policy.encoder.companions = frozenset({"image", "audio"})
    batch = policy.encoder.collate([encoded(policy, picture(), tone())])
    assert len(batch.prompt["input_ids"]) == 1  # clips share the tower of pictures
    policy.encoder.companions = frozenset({"audio"})
    batch = policy.encoder.collate([encoded(policy, tone())])
    assert len(batch.prompt["input_ids"]) == 2
    assert "pixel_values" in batch.prompt and "pixel_values_videos" not in batch.prompt


@pytest.mark.parametrize("model", ["tiny_qwen2_audio", "tiny_audioflamingo3"])
def test_a_family_that_hears_gets_silence_beside_text(model):
    policy = policy_of(model)
    expected = log_likelihood(policy)
    policy.encoder.companions = frozenset({"audio"})
    batch = policy.encoder.collate([encoded(policy)])
    assert batch.prompt["input_features"].shape[0] == 1
    assert torch.allclose(policy.log_likelihood(batch).total, expected, atol=2e-5)


# ---------------------------------------------------------------- groups and checkpoints


@pytest.mark.parametrize("model", ["tiny_qwen2_audio", "tiny_audioflamingo3", *OMNI, *EQUAL_FRAMES])
def test_freeze_groups_are_disjoint_and_hold_every_parameter(model):
    policy = policy_of(model)
    patterns = {group: policy.encoder.family.parameters(group) for group in policy.encoder.family.groups}
    assert set(patterns) >= {"projector", "language"}
    for name, _ in policy.network.model.named_parameters():
        assert len([group for group, pattern in patterns.items() if pattern.search(name)]) == 1, name
    for group, pattern in patterns.items():
        assert any(pattern.search(name) for name, _ in policy.network.model.named_parameters()), group


@pytest.mark.parametrize("model", OMNI)
def test_the_thinker_trains_of_a_checkpoint_that_also_speaks(model, tmp_path):
    """The full checkpoint has the thinker's weights under another name, and its configuration in a section."""
    policy = policy_of(model)
    thinker = policy.network.model
    kind = FAMILIES[policy.encoder.family.name].whole
    thinker.save_pretrained(tmp_path)
    published = {f"thinker.{name}": value for name, value in load_file(tmp_path / "model.safetensors").items()}
    assert any(name.startswith("thinker.audio_tower.") for name in published)  # and not thinker.model.audio_tower
    speech = {"talker.codec_head.weight": torch.zeros(2, 2), "token2wav.unused": torch.zeros(2)}
    save_file({**published, **speech}, tmp_path / "model.safetensors", {"format": "pt"})
    policy.encoder.processor.save_pretrained(tmp_path)
    own = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "thinker_config": own}))
    whole = policy_of(model, f"model.path={tmp_path}")
    assert type(whole.network.model) is type(thinker) is THINKERS[model]
    for name, weight in thinker.state_dict().items():
        assert torch.equal(whole.network.model.state_dict()[name], weight), name


@pytest.mark.parametrize("model", ["tiny_qwen2_audio", "tiny_audioflamingo3", *OMNI, *EQUAL_FRAMES])
def test_an_export_says_the_same_to_the_bit(model, tmp_path):
    policy = policy_of(model)
    shown = {"audio": tone(), "video": clip(), "image": picture()}
    parts = [shown[medium] for medium in policy.encoder.family.media]
    policy.save(tmp_path)
    again = policy_of(model, f"model.path={tmp_path}")
    assert torch.equal(log_likelihood(policy, *parts), log_likelihood(again, *parts))
