"""Models put together from parts: any tower before any causal language model, a LLaVA where transformers has that shape."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file

from aa_lightning.assembly.options import options_of
from aa_lightning.assembly.stages import starting_point
from aa_lightning.configuration.compose import compose
from aa_lightning.media.audio import Sound
from aa_lightning.models.composed.processor import ComposedProcessor, Sizes, with_parts
from aa_lightning.models.load import load_policy, outline
from aa_lightning.models.source import source_of
from aa_lightning.models.tiny.backbone import rescale
from aa_lightning.models.tiny.cache import tiny_folder
from aa_lightning.models.tiny.tokenizers import plain_tokenizer
from aa_lightning.models.token.encoder import Limits, TooLong
from aa_lightning.models.token.layouts import repeat
from aa_lightning.models.token.lean import slim
from aa_lightning.train import train
from aa_lightning.types import Prompt, text
from tests.contract.support import change, composed, read_jointly

ANSWERS = [[text("The circle is red.")], [text("No.")]]
SEES = ["model.components.audio=null"]
HEARS = ["model.components.vision=null", "model.components.read_video=false"]
LLAVA = [*SEES, "model.components.read_video=false"]
DEFAULT_SIZES = "model.tiny={language: {}, vision: {}, audio: {}}"


def options(*overrides: str):
    cfg = composed("modality=any2t", "algo=sft", "init=null", "model=tiny_compose")
    change(cfg, *overrides)
    return options_of(cfg, "model")


def policy_of(*overrides: str):
    return load_policy(options(*overrides), Limits(), reference=False).eval()


def picture(seed: int) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return {"type": "image", "image": Image.fromarray(pixels)}


def tone(seed: int, seconds: float = 0.5) -> dict:
    moments = np.arange(round(seconds * 16_000)) / 16_000
    return {
        "type": "audio",
        "audio": Sound(np.sin(2 * np.pi * (300 + 900 * seed) * moments).astype(np.float32), 16_000),
    }


def asked(policy, *media: dict):
    """A batch of one prompt with two answers."""
    prompt = Prompt(id="row", messages=[{"role": "user", "content": [*media, text("What is this?")]}])
    return policy.encoder.collate([policy.encoder.encode(prompt, ANSWERS)])


@torch.no_grad()
def says(policy, *media: dict) -> torch.Tensor:
    return policy.log_likelihood(asked(policy, *media)).total[0]


# ---------------------------------------------------------------- the shape of LLaVA

PAIRS = [("clip", "llama"), ("siglip", "qwen2"), ("clip", "mistral")]


@pytest.mark.parametrize(("vision", "language"), PAIRS, ids=map("-".join, PAIRS))
def test_a_clip_or_siglip_tower_before_a_plain_text_model_is_saved_as_a_llava_of_transformers(
    vision, language, tmp_path
):
    parts = [f"model.components.vision=tiny:{vision}", f"model.components.language=tiny:{language}", *LLAVA]
    policy = policy_of(*parts)
    policy.save(tmp_path)
    batch = asked(policy, picture(0), picture(1))
    ours = policy.log_likelihood(batch).terms[0]
    model = hf.AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert type(model) is hf.LlavaForConditionalGeneration
    assert type(hf.AutoProcessor.from_pretrained(tmp_path)) is hf.LlavaProcessor
    again = load_policy(options(*parts, f"model.path={tmp_path}"), Limits(), reference=False).encoder
    prompt = Prompt(id="row", messages=[{"role": "user", "content": [picture(0), picture(1), text("What is this?")]}])
    read = again.collate([again.encode(prompt, ANSWERS)])
    assert all(torch.equal(value, read.prompt[key]) for key, value in batch.prompt.items())
    assert batch.prompt["pixel_values"].shape == (2, 3, 48, 48)
    for k in range(2):
        expected = read_jointly(model, policy.encoder.family, read, k)
        assert torch.allclose(ours[k, : len(expected)], expected, atol=1e-5)


def test_our_own_class_gives_the_numbers_of_llava_for_the_same_parts():
    llava, ours = policy_of(*LLAVA), policy_of(*SEES)  # which reads clips besides
    assert (llava.encoder.family.name, ours.encoder.family.name) == ("llava", "compose")
    assert torch.allclose(says(llava, picture(0)), says(ours, picture(0)), atol=1e-5)
    assert torch.equal(asked(llava, picture(0)).prompt["pixel_values"], asked(ours, picture(0)).prompt["pixel_values"])


def test_freeze_groups_of_composed_models_hold_for_the_shape_of_llava_too():
    everything_but_the_projector = "model.freeze=[vision,audio,language]"
    for parts in (LLAVA, SEES, HEARS, []):
        trained = [
            name for name, p in policy_of(*parts, everything_but_the_projector).named_parameters() if p.requires_grad
        ]
        assert trained and all(name.startswith("network.model.model.multi_modal_projector.") for name in trained)


# ---------------------------------------------------------------- parts of any make


def clip_pair(folder: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**sizes, "image_size": 28, "patch_size": 14}
    write(folder, hf.CLIPModel(hf.CLIPConfig(vision_config=vision, text_config=sizes, projection_dim=32)), pictures(28))


def dinov2_with_registers(folder: Path) -> None:
    config = hf.Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, num_register_tokens=4
    )
    write(folder, hf.Dinov2WithRegistersModel(config), pictures(28))


def convnext(folder: Path) -> None:
    config = hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=64)
    write(folder, hf.ConvNextModel(config), pictures(64))


def clap_pair(folder: Path) -> None:
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4,
        "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 32,
        "num_hidden_layers": 2, "projection_dim": 32, "enable_fusion": False,
    }  # fmt: skip
    text_part = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    extractor = hf.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, max_length_s=2, hop_length=128, truncation="rand_trunc"
    )
    write(folder, hf.ClapModel(hf.ClapConfig(audio_config=audio, text_config=text_part)), extractor)


def spectrogram_transformer(folder: Path) -> None:
    config = hf.ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=100,
        num_mel_bins=16,
    )
    write(folder, hf.ASTModel(config), hf.ASTFeatureExtractor(num_mel_bins=16, max_length=100))


def pictures(side: int) -> hf.CLIPImageProcessor:
    return hf.CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False)


def write(folder: Path, model, prepare) -> None:
    rescale(model, 0.12)
    model.save_pretrained(folder)
    prepare.save_pretrained(folder)


SEEING = {clip_pair: (-2, 4), dinov2_with_registers: (-1, 4), convnext: ("null", 4)}  # the layer, tokens of a picture
HEARING = {clap_pair: 32, spectrogram_transformer: 5}


@pytest.mark.parametrize("tower", [*SEEING, *HEARING], ids=lambda tower: tower.__name__)
def test_towers_of_any_make_are_heard_and_seen_trained_and_saved(tower, tmp_path):
    torch.manual_seed(0)
    tower(tmp_path / "tower")
    if tower in SEEING:
        layer, tokens = SEEING[tower]
        parts = [*SEES, f"model.components.vision={tmp_path / 'tower'}", f"model.components.vision_layer={layer}"]
        one, other, token = picture(0), picture(1), "image_token"
    else:
        parts, tokens = [*HEARS, f"model.components.audio={tmp_path / 'tower'}"], HEARING[tower]
        one, other, token = tone(0), tone(1), "audio_token"
    policy = policy_of(*parts)
    place = policy.encoder.tokenizer.convert_tokens_to_ids(getattr(policy.encoder.processor, token))
    batch = asked(policy, one)
    assert int((batch.prompt["input_ids"] == place).sum()) == tokens
    assert (says(policy, one) - says(policy, other)).abs().max() > 1e-3
    quiet = says(policy, one)
    assert torch.equal(says(policy.train(), one), quiet)  # no dropout, no statistics of the batch
    policy.log_likelihood(batch).total.sum().backward()
    assert [name for name, p in policy.named_parameters() if p.requires_grad and p.grad is None] == []
    policy.save(tmp_path / "export")
    again = load_policy(options(f"model.path={tmp_path / 'export'}"), Limits(), reference=False).eval()
    assert torch.allclose(says(again, one), quiet, atol=1e-5)


def gpt2(tokenizer) -> hf.PreTrainedModel:
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=len(tokenizer), **sizes, **ends))


def gemma3(tokenizer) -> hf.PreTrainedModel:
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    config = hf.Gemma3TextConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, sliding_window=8, tie_word_embeddings=True, **sizes,
        layer_types=["sliding_attention", "full_attention"], pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return hf.Gemma3ForCausalLM(config)


@pytest.mark.parametrize("language", [gpt2, gemma3], ids=lambda language: language.__name__)
def test_language_models_with_tied_tables_stay_tied_and_are_saved(language, tmp_path):
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = hf.AutoTokenizer.from_pretrained(tiny_folder("llama")).chat_template
    torch.manual_seed(0)
    write(tmp_path / "language", language(tokenizer), tokenizer)
    policy = policy_of(f"model.components.language={tmp_path / 'language'}", DEFAULT_SIZES)
    model = policy.network.model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert len(model.lm_head.weight) == len(tokenizer) + 3  # <image>, <video>, <audio>
    before = says(policy, picture(0), tone(0))
    assert (before - says(policy, picture(1), tone(0))).abs().max() > 1e-3
    assert torch.equal(says(policy.train(), picture(0), tone(0)), before)  # no dropout unless asked for
    policy.save(tmp_path / "export")
    again = load_policy(options(f"model.path={tmp_path / 'export'}"), Limits(), reference=False).eval()
    assert again.network.model.lm_head.weight is again.network.model.get_input_embeddings().weight
    assert torch.allclose(says(again, picture(0), tone(0)), before, atol=1e-5)


# ---------------------------------------------------------------- what parts keep


def test_the_language_model_says_of_text_what_it_said_before():
    policy, alone = (
        policy_of(),
        hf.AutoModelForCausalLM.from_pretrained(tiny_folder("llama", options().tiny["language"])),
    )
    ids = asked(policy).prompt["input_ids"]
    slim(alone.eval())  # norms round as they do in ours
    with torch.no_grad():
        ours, theirs = policy.network.model(ids).logits, alone(ids).logits
    assert torch.equal(ours[..., : theirs.shape[-1]], theirs)
    assert ours.shape[-1] == theirs.shape[-1] + 3


def test_towers_keep_their_weights_and_the_projector_hangs_on_its_seed_alone():
    made = options()
    state = torch.random.get_rng_state()
    first = source_of(made).model()
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(5)
    again = source_of(made).model()
    other = source_of(options("model.components.seed=1")).model()
    tower = hf.CLIPVisionModel.from_pretrained(tiny_folder("clip", made.tiny["vision"]))
    assert all(torch.equal(w, tower.state_dict()[n]) for n, w in first.model.vision_tower.state_dict().items())
    for (name, w), same, seeded in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(w, same)
        assert torch.equal(w, seeded) != ("multi_modal_projector" in name)


def test_a_linear_projector_is_one_matrix_and_sounds_are_stacked():
    source = source_of(options("model.components.projector=linear", "model.components.audio_pool=5"))
    model, processor = source.model(), source.processor()
    shapes = {name: tuple(w.shape) for name, w in model.model.multi_modal_projector.named_parameters()}
    assert shapes == {"vision.weight": (64, 64), "vision.bias": (64,), "audio.weight": (64, 320), "audio.bias": (64,)}
    assert processor.sizes == Sizes(picture=9, sound=20, window=2.0)  # 100 states of two seconds, five in a token


def test_an_outline_has_the_sizes_of_the_model_and_no_memory():
    made = options()
    empty, real = outline(made), source_of(made).model()
    assert all(p.device.type == "meta" for p in empty.parameters())
    shapes = {name: p.shape for name, p in empty.named_parameters()}
    assert shapes == {name: p.shape for name, p in real.named_parameters()}


def test_dropout_reaches_every_part():
    model = source_of(options("model.dropout=0.25")).model()
    assert model.model.language_model.config.attention_dropout == 0.25
    assert model.model.vision_tower.config.attention_dropout == 0.25
    assert model.model.audio_tower.config.dropout == 0.25


def test_an_adapter_on_a_model_from_parts_is_saved_with_the_whole_model(tmp_path):
    policy = policy_of("model.lora.rank=2")
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    policy.save(tmp_path)
    again = load_policy(options(f"model.path={tmp_path}"), Limits(), reference=False).eval()
    assert torch.allclose(says(again, picture(0), tone(0)), says(policy, picture(0), tone(0)), atol=1e-5)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 2
    assert "model=compose model.path=" in (tmp_path / "README.md").read_text()


def test_rows_of_all_media_side_by_side_have_the_numbers_that_they_have_alone():
    policy = policy_of()
    rows = [(picture(0),), (picture(1), tone(1), picture(2)), (), (tone(0),)]
    content = [[*media, text("What is this?")] for media in rows]
    prompts = [Prompt(id=str(i), messages=[{"role": "user", "content": parts}]) for i, parts in enumerate(content)]
    batch = policy.encoder.collate([policy.encoder.encode(prompt, ANSWERS) for prompt in prompts])
    assert batch.blocks == {"pixel_values": [1, 2, 0, 0], "input_features": [0, 1, 0, 1]}
    assert repeat(batch, 2)["pixel_values"].shape[0] == 6
    with torch.no_grad():
        together = policy.log_likelihood(batch).total
    assert torch.allclose(together, torch.stack([says(policy, *media) for media in rows]), atol=2e-5)


# ---------------------------------------------------------------- the processor


def test_parts_stand_where_they_are_in_the_message_and_strings_stay():
    template = with_parts("{% for m in messages %}[{{ m['role'] }}: {{ m['content'] }}]{% endfor %}")
    tokenizer = plain_tokenizer()
    content = [{"type": "image"}, text("Before"), {"type": "audio"}, text("after.")]
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
    shown = tokenizer.apply_chat_template(said, chat_template=template, tokenize=False)
    assert shown == "[system: Be brief.][user: <image>\nBefore<audio>\nafter.]"
    assert with_parts(template) == template


def test_a_placeholder_without_its_medium_is_refused():
    processor = ComposedProcessor(
        plain_tokenizer(), None, source_of(options(*HEARS)).processor().feature_extractor, Sizes(sound=3)
    )
    with pytest.raises(ValueError, match="the texts hold <audio> 2 times, and 1 media were given"):
        processor(["<audio> or <audio>?"], audio=[np.zeros(1600, np.float32)])


def test_a_sound_longer_than_the_window_is_refused():
    with pytest.raises(TooLong, match="The audio lasts 3.0 s, and models of family compose read 2.0 s"):
        asked(policy_of(), tone(0, seconds=3.0))


def test_media_without_a_tower_are_refused_by_name():
    with pytest.raises(ValueError, match="holds audio, and models of family compose read text, image, video"):
        asked(policy_of(*SEES), tone(0))


# ---------------------------------------------------------------- parts that do not go together


def test_what_cannot_be_put_together_is_refused(tmp_path):
    fused = tmp_path / "fused"
    clap_pair(fused)
    written = json.loads((fused / "config.json").read_text())
    written["audio_config"]["enable_fusion"] = True
    (fused / "config.json").write_text(json.dumps(written))
    broken = tmp_path / "broken"
    clip_pair(broken)
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if name.startswith("vision_model.") and "layers.0" in name)
    save_file({name: w for name, w in weights.items() if name != lost}, broken / "model.safetensors", {"format": "pt"})
    refused = {
        r"one of them is not named: type model.components.language=": [
            "model.components.vision=null",
            "model.components.audio=null",
        ],
        r"read_video=true reads video with the vision tower": ["model.components.vision=null"],
        r"is a model of type 'qwen2_vl', which reads media already": [
            "model.components.language=tiny:qwen2_vl",
            DEFAULT_SIZES,
        ],
        r"images of different sizes different shapes": ["model.components.vision=tiny:qwen2_vl", DEFAULT_SIZES],
        r"fuses random parts of long audio": [f"model.components.audio={fused}"],
        r"lacks weights of CLIPVisionModel": [f"model.components.vision={broken}"],
    }
    for message, overrides in refused.items():
        with pytest.raises(ValueError, match=message):
            source_of(options(*overrides)).model()


# ---------------------------------------------------------------- learning in two stages

FAST = [
    "evaluation.num_generations=0",
    "evaluation.num_examples=256",
    "evaluation.samples=0",
    "logger.tensorboard=false",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modality", "tower", "questions"),
    [
        ("ti2t", [*LLAVA], ["data.train.kinds=[colour]", "data.train.max_shapes=1"]),
        ("ta2t", [*HEARS], ["data.train.kinds=[turn]", "data.train.max_tones=2", "data.train.pitches=[low,high]"]),
    ],
)
def test_the_projector_alone_learns_first_and_then_the_rest_learns_more(modality, tower, questions, tmp_path):
    """The language model knows the answers' words; a frozen tower and a frozen language model learn to be joined."""
    common = [*FAST, *questions, "data.train.size=1000", "data.val.size=256", "trainer.enable_progress_bar=false"]
    words = [f"modality={modality}", "model=tiny_compose", *tower, "data.corruption=blank"]
    train(
        compose([*words, "algo=sft", *common, "trainer.max_steps=150", "evaluation.before=false"]), tmp_path / "words"
    )
    model = ["model=tiny_compose", *tower, f"model.path={tmp_path / 'words' / 'export'}"]
    first = [*common, f"modality={modality}", "algo=sft", *model, "trainer.max_steps=200"]
    joined = train(compose([*first, "model.freeze=[vision,audio,language]"]), tmp_path / "first")
    last = [*common, f"modality={modality}", "algo=dpo", "model=tiny_compose", *tower, "trainer.max_steps=150"]
    aligned = train(compose([*last, f"init={tmp_path / 'first'}"]), tmp_path / "last")
    assert joined["after"]["heldout/likelihood_accuracy"] > joined["before"]["heldout/likelihood_accuracy"] + 0.2
    assert aligned["after"]["heldout/preference_accuracy"] > 0.85
    assert aligned["after"]["heldout/blank/preference_accuracy"] < 0.6  # a blind guess may well be below a half


@pytest.mark.slow
def test_the_stages_of_the_experiment_train_the_projector_first_and_then_the_rest():
    run = ["modality=ti2t", "algo=dpo", "experiment=compose_two_stages"]
    begun = source_of(options_of(compose(run), "model")).model().state_dict()

    def moved(stage: str) -> set[str]:
        found = load_file(Path(starting_point(compose([*run, f"init=stage:{stage}"]))) / "model.safetensors")
        assert found.keys() == begun.keys()
        return {name for name, weight in found.items() if not torch.equal(weight, begun[name])}

    assert {name.rpartition(".")[0] for name in moved("shapes_projector")} == {
        "model.multi_modal_projector.vision.0",
        "model.multi_modal_projector.vision.2",
    }
    assert {name.split(".")[1] for name in moved("shapes_two_stages")} >= {"vision_tower", "language_model", "weight"}
